"""What brings rows in: deliveries of nodes, and files of other programs."""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import suppress
from pathlib import Path

from speedtest_logger.archive.arrive import log_lines, probe_results
from speedtest_logger.archive.cli import repeated
from speedtest_logger.archive.cli.options import Verb, no_arguments
from speedtest_logger.archive.cli.output import progress
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.errors import EXIT_OK, EXIT_UNHEALTHY, StorageError
from speedtest_logger.files import read_bounded, write_durably
from speedtest_logger.record import utc_text


def make(args: argparse.Namespace) -> int:
    """Where no role makes them: of whoever asks."""
    Layout(args.root).prepare()
    return EXIT_OK


INIT = Verb(
    "init",
    "make an archive's folders, where there are none: as the account whose it shall be",
    "speedtest-archive --root /srv/speedtest-archive init",
    no_arguments,
    make,
)


def ingest_arguments(parser: argparse.ArgumentParser) -> None:
    """See `take_in`."""
    parser.add_argument(
        "--every",
        type=repeated.seconds,
        metavar="SECONDS",
        help="go on so often until SIGTERM, where no timer starts this; a run under way is finished first",
    )


def take_in(args: argparse.Namespace) -> int:
    """Once, or for as long as this is wanted."""
    layout = Layout(args.root)
    return repeated.every(args.every, lambda: once(layout)) if args.every else once(layout)


def once(layout: Layout) -> int:
    """Every minute there mostly is nothing: then not even the libraries are imported."""
    waiting, now = sum(1 for _ in layout.inbox.glob("*/*.jsonl")), time.time()
    due = (side.are_due(layout, now) for side in (log_lines, probe_results))
    if not waiting and not any(layout.raw_inbox.glob("*/*.jsonl")) and not any(due):
        note_that_it_ran(layout, now)
        return EXIT_OK
    from speedtest_logger.archive.write import ingest

    ingest.clear_leftovers(layout)
    with progress(waiting, "ingest") as advance:
        outcome = ingest.ingest(layout, advance, wait=300)  # a backup's or a pruning's seconds
    if outcome.files or outcome.log_lines or outcome.probe_results or outcome.damaged:
        print(json.dumps(vars(outcome)))
    if outcome.damaged:
        raise StorageError("what belongs there waits in the inbox: " + "; ".join(outcome.damaged))
    return EXIT_OK


def note_that_it_ran(layout: Layout, now: float) -> None:
    """Whoever looks must not take an ingest that finds nothing for one that does not run."""
    file = layout.state / "ingest.json"
    with suppress(OSError, ValueError, TypeError, RecursionError):  # nothing is there yet: the first ingest makes it
        state = {**json.loads(read_bounded(file)), "at": utc_text(now)}
        write_durably(file, json.dumps(state).encode())


INGEST = Verb(
    "ingest",
    "move receipted records from the inbox into the Parquet files",
    "speedtest-archive ingest",
    ingest_arguments,
    take_in,
)


def import_arguments(parser: argparse.ArgumentParser) -> None:
    """See `bring_in`."""
    parser.add_argument("--node", help="the node that measured, where the rows do not say it")
    parser.add_argument("--location", help="its location; default what the rows say, or unknown-location")
    parser.add_argument(
        "--location-map",
        action="append",
        default=[],
        metavar="NAME=ID",
        help="the id of a place that rows name differently; again for another, or a file of such lines",
    )
    parser.add_argument("--at", metavar="TIME", help="the time of a single test that does not say its own")
    parser.add_argument(
        "--zone", metavar="ZONE", help="time zone of times that name none, such as Europe/Berlin; default UTC"
    )
    parser.add_argument(
        "--external-ip",
        choices=("full", "shortened", "none"),
        default="shortened",
        help="how much of public addresses is kept, default %(default)s",
    )
    parser.add_argument(
        "--format",
        metavar="NAME",
        help="the format, where columns alone do not tell; docs/how-to/bring-in-old-results.md has the names",
    )
    parser.add_argument("--dry-run", action="store_true", help="show medians and first rows, change nothing")
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="files, or folders of them")


def bring_in(args: argparse.Namespace) -> int:
    """Take files in."""
    from speedtest_logger.archive.write.importing import asked, run

    source = asked.source(args)
    files = run.find(args.paths)
    with progress(run.sizes(files), "import") as advance:
        outcome, shown = run.run(Layout(args.root), files, source, dry_run=args.dry_run, progress=advance)
    for problem in outcome.problems:
        print(f"speedtest-archive: {problem}", file=sys.stderr)
    if args.dry_run and outcome.rows:
        print(shown.text(), file=sys.stderr)
    print(json.dumps({"dry_run": args.dry_run, **{k: v for k, v in vars(outcome).items() if k != "problems"}}))
    if not outcome.formats:
        print("speedtest-archive: nothing was recognised: no row has a known format", file=sys.stderr)
    return EXIT_UNHEALTHY if outcome.refused or outcome.different or not outcome.formats else EXIT_OK


IMPORT = Verb(
    "import",
    "import what other programs measured",
    "speedtest-archive import --node attic --location home --dry-run /tmp/rows.csv",
    import_arguments,
    bring_in,
)
