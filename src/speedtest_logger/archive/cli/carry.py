"""What carries an archive to an object store, and back."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

from speedtest_logger import domains
from speedtest_logger.archive.cli.options import Verb
from speedtest_logger.archive.cli.output import progress
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.read import followed
from speedtest_logger.errors import EXIT_OK, EXIT_UNHEALTHY, UsageError

if TYPE_CHECKING:
    from speedtest_logger.sinks.table import Digests
    from speedtest_logger.sinks.tree import Tree

MOST_BUCKETS = 4096
SHOWN = 20  # differences


@contextmanager
def packages_needed() -> Iterator[None]:
    """Say what is to be installed where it is not."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{error.name} is not installed: on an archive host set speedtest_archive_store_address and run site.yml; "
            "elsewhere pip install 'speedtest-telemetry[store]'"
        ) from error


def publish_arguments(parser: argparse.ArgumentParser) -> None:
    """See `publish`."""
    parser.add_argument("address", metavar="ADDRESS", help="s3://BUCKET/FOLDER, or an absolute path")
    parser.add_argument("--buckets", type=int, default=16, metavar="N", help="of a new table, default %(default)s")
    parser.add_argument(
        "--tree", metavar="ADDRESS", help="also keep plain Parquet files there, in uploads/: s3://BUCKET, or a path"
    )
    parser.add_argument("--results", action="store_true", help="with --tree: today's runs too, as CSV in results/")
    parser.add_argument("--remember", action="store_true", help="for the System page how it went, as timers do")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--rebuild", action="store_true", help="the whole archive takes the place of the table's rows")
    what.add_argument("--check", action="store_true", help="compare the table with the archive")
    what.add_argument("--maintain", action="store_true", help="put small files together, remove what nobody uses")


def publish(args: argparse.Namespace) -> int:
    """What the publish timer runs."""
    with packages_needed():
        from speedtest_logger.sinks import state
        from speedtest_logger.sinks.delta import Publisher
        from speedtest_logger.sinks.place import Place
        from speedtest_logger.sinks.tree import Tree
    if not 1 <= args.buckets <= MOST_BUCKETS:
        raise UsageError(f"--buckets {args.buckets}: a number from 1 to {MOST_BUCKETS} is expected")
    if args.results and not args.tree:
        raise UsageError("--results goes with --tree ADDRESS")
    if args.tree and (problem := domains.in_each_others_way(args.address, args.tree)):
        raise UsageError(f"--tree {args.tree}: {problem}")
    layout, place = Layout(args.root), Place.of(args.address)
    tree = Tree(layout, Place.of(args.tree), args.results) if args.tree else None
    if args.check:
        return check(layout, args.address, tree)
    publisher = Publisher(layout, place, args.buckets)

    def carried() -> dict[str, Any]:
        if args.maintain:
            return publisher.maintain()
        with progress(publisher.size(rebuild=args.rebuild), "publish") as advance:
            done = vars(publisher.publish(rebuild=args.rebuild, advance=advance))
        if tree is None:
            return done
        with progress(tree.size(rebuild=args.rebuild), "tree") as advance:
            return {**done, "tree": vars(tree.publish(rebuild=args.rebuild, advance=advance))}

    if not args.remember:
        print(json.dumps(carried()))
        return EXIT_OK
    file = layout.store / (followed.MAINTAIN if args.maintain else followed.PUBLISH)
    with state.alone(layout.store), state.kept(file, address=place.address) as known:
        known.update(carried())
    print(json.dumps(known))
    return EXIT_OK


def check(layout: Layout, address: str, tree: Tree | None = None) -> int:
    """Whether a table and a tree hold what their archive does, and nobody else has written to the table."""
    from speedtest_logger.sinks import table as tables
    from speedtest_logger.sinks.place import Place

    table = Place.of(address).existing()
    found = [*tables.broken_links(table), *tables.compared(table, layout), *(tree.compared() if tree else ())]
    well = "the table holds what the archive does, and each of its commits follows from the one before"
    say(found, f"{well}; the tree has each run of each day that is over once" if tree else well)
    return EXIT_UNHEALTHY if found else EXIT_OK


def say(problems: list[str], well: str) -> None:
    """What is wrong, as far as anybody would read it."""
    for problem in islice(problems, SHOWN):
        print(problem)
    if len(problems) > SHOWN:
        print(f"… and {len(problems) - SHOWN} more")
    print(f"{len(problems)} differences" if problems else well, file=sys.stderr)


PUBLISH = Verb(
    "publish",
    "carry what is new to a Delta table in an object store, for other engines to read",
    "speedtest-archive publish s3://measurements/records",
    publish_arguments,
    publish,
)


def fetch_arguments(parser: argparse.ArgumentParser) -> None:
    """See `fetch`."""
    parser.add_argument("address", metavar="ADDRESS", help="s3://BUCKET/FOLDER, or an absolute path")


def fetch(args: argparse.Namespace) -> int:
    """Fill an empty archive from a table; what nodes delivered meanwhile stays in the inbox and comes behind it."""
    from speedtest_logger.archive.ledger import manifest
    from speedtest_logger.archive.write import store

    with packages_needed():
        from speedtest_logger.sinks import table as tables
        from speedtest_logger.sinks.place import Place
    layout = Layout(args.root)
    table = Place.of(args.address).existing()
    rows = 0
    with store.single_writer(layout, "fetch", wait=60):
        started = layout.state / "fetching"  # a fetch that was killed goes on: each run comes in once
        if layout.month_files() and not started.exists():
            raise UsageError(f"{layout.archive} holds records: nothing was changed. A table fills an empty archive")
        started.touch()
        with progress(tables.rows_in(table), "fetch") as advance:
            for batch in tables.partitions(table):
                rows += store.commit(layout, "fetch", tables.checked(batch)).added
                advance(batch.num_rows)
        started.unlink()
    differ = unlike(tables.digests_told(table), {name: dict(of.days) for name, of in manifest.state(layout).items()})
    print(json.dumps({"rows": rows, "version": table.version(), "months": len(layout.month_files())}))
    say(differ, "each day has the rows that the commits of the table say")
    return EXIT_UNHEALTHY if differ else EXIT_OK


def unlike(told: Digests, there: Digests) -> list[str]:
    """Days of an archive that are not what commits said of them."""
    return [
        f"{name} {day}: its commit tells of {known[0]} rows, {there.get(name, {}).get(day, (0, ''))[0]} are there"
        for name, days in sorted(told.items())
        for day, known in sorted(days.items())
        if there.get(name, {}).get(day) != known
    ]


FETCH = Verb(
    "fetch",
    "bring a published table back into an empty archive",
    "speedtest-archive fetch s3://measurements/records",
    fetch_arguments,
    fetch,
)
