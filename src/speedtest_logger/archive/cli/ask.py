"""What people ask: SQL, nodes, coverage, outages, reports, exports, and the fleet's state."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speedtest_logger.archive.cli.options import (
    Verb,
    add_form,
    add_period,
    add_rows,
    add_store,
    duration,
    no_arguments,
    period,
)
from speedtest_logger.archive.cli.output import show, where
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.errors import EXIT_OK, EXIT_UNHEALTHY, StorageError, UsageError

if TYPE_CHECKING:
    from speedtest_logger.archive.read.dataset import Archive


def archive_of(args: argparse.Namespace, **narrower: Any) -> Archive:
    """The archive with the rows that were asked for; `narrower` takes the place of what was said of them."""
    from speedtest_logger.archive.read.dataset import open_archive

    scope = {"node": args.node, "location": args.location, **narrower}
    if getattr(args, "store", None):
        return published_of(args).only(**scope)
    archive = open_archive(args.root, fresh=args.fresh).only(**scope)
    if (version := archive.newer_than_this_program()) is not None:
        print(f"speedtest-archive: a later version wrote this archive (schema {version})", file=sys.stderr)
    return archive


def published_of(args: argparse.Namespace) -> Archive:
    """The archive with the records that it published; what else it knows it has from its own folder."""
    from speedtest_logger.archive.cli.carry import packages_needed
    from speedtest_logger.archive.read.dataset import Archive

    with packages_needed():
        from speedtest_logger.distributed.store import opened
    if args.fresh:
        raise UsageError("--fresh is of the archive's inbox, which is not in the store: ask without --store")
    if args.verb != "query" and not Layout(args.root).archive.is_dir():
        raise UsageError(
            f"{args.verb} needs the fleet's schedules, which {args.root} does not have: ask it on the archive host"
        )
    store = opened(args.store, args.engine, args.cluster_keys, only_split=args.only_distributed)
    return Archive(Layout(args.root), elsewhere=store)


def started_in(args: argparse.Namespace) -> dict[str, float | None]:
    """The period that rows have to have started in."""
    start = (args.end or time.time()) - args.last if args.last else args.start
    return {"start": start, "end": args.end}


def query_arguments(parser: argparse.ArgumentParser) -> None:
    """See `query`."""
    add_rows(parser)
    add_store(parser)
    add_period(parser)
    parser.add_argument("sql")
    add_form(parser)


def query(args: argparse.Namespace) -> int:
    """SQL."""
    from speedtest_logger.archive.read import render
    from speedtest_logger.archive.read.dataset import speaks_of_raw

    answer = archive_of(args, **started_in(args)).query(args.sql)
    render.write(answer, args.format, where(args))
    if not answer.num_rows and not args.store and speaks_of_raw(args.sql) and not Layout(args.root).raw_files():
        print("no raw output is kept here: nodes deliver it with speedtest_logger_archive_raw: true", file=sys.stderr)
    return EXIT_OK


QUERY = Verb(
    "query",
    "SQL over the view `records`",
    'speedtest-archive query "SELECT node, count(*) AS n FROM records GROUP BY node"',
    query_arguments,
    query,
)


def nodes_arguments(parser: argparse.ArgumentParser) -> None:
    """See `nodes`."""
    add_rows(parser)
    add_form(parser)


def nodes(args: argparse.Namespace) -> int:
    """A row per node and location; `aside` is what ingest put into the node's quarantine."""
    from speedtest_logger.archive.arrive import aside
    from speedtest_logger.archive.read import questions, render

    rows = questions.nodes(archive_of(args))
    lies = aside.of(Layout(args.root))
    counts = [found.different + found.failed if (found := lies.get(node)) else 0 for node in rows["node"].to_pylist()]
    render.write(rows.append_column("aside", [counts]), args.format, where(args))
    return EXIT_OK


NODES = Verb(
    "nodes",
    "every node: where it measures, how many records, from when to when",
    "speedtest-archive nodes",
    nodes_arguments,
    nodes,
)


def latest_arguments(parser: argparse.ArgumentParser) -> None:
    """See `latest`."""
    add_rows(parser)
    add_period(parser)
    parser.add_argument("--count", type=int, default=1, help="records of each node, default %(default)s")
    add_form(parser)


def latest(args: argparse.Namespace) -> int:
    """The newest rows of each node."""
    from speedtest_logger.archive.read import questions, render

    render.write(questions.latest(archive_of(args, **started_in(args)), args.count), args.format, where(args))
    return EXIT_OK


LATEST = Verb(
    "latest",
    "each node's last records",
    "speedtest-archive latest --count 3",
    latest_arguments,
    latest,
)


def coverage_arguments(parser: argparse.ArgumentParser) -> None:
    """See `show_coverage`."""
    add_rows(parser)
    add_store(parser)
    add_period(parser)
    parser.add_argument("--grace", type=duration, default=900, help="a younger slot is pending, not missed; 15min")
    parser.add_argument("--by-day", action="store_true", help="a row per node and day (UTC)")
    parser.add_argument("--strict", action="store_true", help="exit 1 when slots were missed")
    add_form(parser)


def show_coverage(args: argparse.Namespace) -> int:
    """Slots and what became of them."""
    from speedtest_logger.archive.read import coverage

    covers = coverage.coverage(archive_of(args), *period(args, 86_400), args.grace, by_day=args.by_day)
    show(args, [cover.to_row() for cover in covers], ["node", "expected"])
    return EXIT_UNHEALTHY if args.strict and any(cover.outcomes["missed"] for cover in covers) else EXIT_OK


COVERAGE = Verb(
    "coverage",
    "what became of every slot",
    "speedtest-archive coverage --last 24h",
    coverage_arguments,
    show_coverage,
)


def outages_arguments(parser: argparse.ArgumentParser) -> None:
    """See `show_outages`."""
    add_rows(parser)
    add_period(parser)
    parser.add_argument("--grace", type=duration, default=900, help="a younger slot is pending, not missed; 15min")
    parser.add_argument("--shortest", type=int, default=1, metavar="SLOTS", help="default %(default)s")
    add_form(parser)


def show_outages(args: argparse.Namespace) -> int:
    """Slots in a row without a measurement."""
    from speedtest_logger.archive.read import coverage

    start, end = period(args, 7 * 86_400)
    found = list(coverage.accounts(archive_of(args, node=None), start, end, args.grace))  # neighbours are witnesses
    outages = [o for o in coverage.outages(found, args.shortest) if args.node in (None, o.node)]
    show(args, [outage.to_row(min(time.time(), end)) for outage in outages], ["node", "from", "until"], "no outages")
    return EXIT_OK


OUTAGES = Verb(
    "outages",
    "when a node could not measure, and whether the line or the node failed",
    "speedtest-archive outages",
    outages_arguments,
    show_outages,
)


def report_arguments(parser: argparse.ArgumentParser) -> None:
    """See `make_report`."""
    parser.add_argument("--location", required=True, help="the place whose line is reported on")
    parser.set_defaults(node=None, fresh=False)
    add_store(parser)
    add_period(parser)
    for name in ("download", "upload"):
        parser.add_argument(f"--plan-{name}", type=float, metavar="MBPS", help="default what the inventory says")
    parser.add_argument("--zone", metavar="NAME", help="time zone of its clocks; default the inventory's, or UTC")
    parser.add_argument("out", type=Path, help="the HTML file; - is standard output, without the CSV")


def make_report(args: argparse.Namespace) -> int:
    """A page for people, or for a provider."""
    from speedtest_logger.archive.read.local_time import Zone
    from speedtest_logger.archive.report import report
    from speedtest_logger.archive.report.page import Plan

    archive = archive_of(args)
    known = report.planned(archive, args.location)
    plan = Plan(args.plan_download or known.download, args.plan_upload or known.upload)
    zone = Zone.named(args.zone) if args.zone else report.zone_of(archive, args.location)
    page, *rows = args.outputs
    rows_file = args.out.with_suffix(report.ROWS_SUFFIX)
    named = (rows_file.name, rows[0]) if rows else None
    left_out = report.write_to(archive, period(args, 30 * 86_400), plan, page, named, zone=zone)
    for node, count in left_out.items():
        print(f"speedtest-archive: left out {count} records of node '{node}': not of this location", file=sys.stderr)
    if rows:
        print(f"{args.out} is ready, its rows are in {rows_file}", file=sys.stderr)
    return EXIT_OK


REPORT = Verb(
    "report",
    "what a line delivered, as one HTML file to send, with a CSV beside it",
    "speedtest-archive report --location home --last 30d /tmp/home.html",
    report_arguments,
    make_report,
)


def export_arguments(parser: argparse.ArgumentParser) -> None:
    """See `export_rows`."""
    add_rows(parser)
    add_period(parser)
    forms = ["csv", "jsonl", "json", "parquet", "sqlite", "speedsnake", "openmetrics"]
    parser.add_argument("--format", choices=forms, default="csv")
    parser.add_argument("out", type=Path, help="a file; a new folder for speedsnake")


def export_rows(args: argparse.Namespace) -> int:
    """Write rows out."""
    from speedtest_logger.archive.read import exporters

    archive = archive_of(args, **started_in(args))
    count = exporters.export(archive, args.format, where(args) or args.out)
    print(f"{count} rows in {args.out}", file=sys.stderr)
    return EXIT_OK


EXPORT = Verb(
    "export",
    "write rows to a file",
    "speedtest-archive export --format csv --from 2026-01-01 /tmp/rows.csv",
    export_arguments,
    export_rows,
)


def fleet(args: argparse.Namespace) -> int:
    """What playbooks/status.yml asks for."""
    from speedtest_logger.archive.arrive import aside, limits, standing
    from speedtest_logger.archive.care import backup, verify
    from speedtest_logger.archive.read import audited, coverage, parts, sharing
    from speedtest_logger.archive.read.dataset import open_archive
    from speedtest_logger.archive.write import ingest, logs, probes

    layout = Layout(args.root)
    problems = [problem for of in (ingest, logs, probes, aside, verify, audited) for problem in of.problems(layout)]
    problems += standing.problems(layout, time.time()) + limits.load(layout)[1] + layout.strangers()
    problems += [f"object store: {part.sentence}" for part in parts.store(layout, time.time()) if not part.ok]
    problems += sharing.problems(layout, time.time())
    state: dict[str, Any] = {"nodes": {}, "backup": backup.last(layout), "problems": problems}
    try:
        state["nodes"] = coverage.fleet(open_archive(args.root))
    except StorageError as error:
        state["problems"].append(str(error))
    if (shared := sharing.state(layout)) is not None:
        state["shared"] = {name: shared.get(name) for name in ("leads", "holder", "term", "waiting", "out", "at")}
    print(json.dumps(state, indent=2))
    return EXIT_OK


FLEET = Verb(
    "fleet",
    "each node's last record and last 24 hours, and the last backup, as JSON",
    "speedtest-archive fleet",
    no_arguments,
    fleet,
)
