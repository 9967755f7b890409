"""What nodes' probes found: each target of a period in a row, the diagnosis of its failures, or the results."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from speedtest_logger.archive.cli.options import Verb, add_form, add_period, period
from speedtest_logger.archive.cli.output import show, where
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.errors import EXIT_OK, UsageError
from speedtest_logger.record import utc_text

COLUMNS = ("node", "probe", "target", "results", "loss_pct", "median_ms", "p90_ms", "worst_ms", "failed", "failed_s")
FAILURES = ("node", "probe", "target", "from", "until", "reason", "diagnosis")


def arguments(parser: argparse.ArgumentParser) -> None:
    """See `show_probes`."""
    parser.add_argument("--node", help="this node's results only")
    parser.add_argument("--location", help="results of this location's line only")
    parser.add_argument("--probe", help="results of this probe only, such as ping")
    parser.add_argument("--target", help="results of this target only")
    add_period(parser)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--failures", action="store_true", help="when a target did not answer, and whose fault that was")
    what.add_argument("--results", action="store_true", help="the results themselves, to export them")
    add_form(parser)


def show_probes(args: argparse.Namespace) -> int:
    """Each target in a row: loss, round trips, and how often and how long it failed."""
    from speedtest_logger.archive.read import probes, render

    layout = Layout(args.root)
    start, end = period(args, 86_400)
    if end <= start:
        raise UsageError("--from has to lie before --to")
    nodes = None if args.node is None else frozenset((args.node,))
    found = probes.results(layout, probes.Wanted(start, end, nodes, args.location, args.probe, args.target))
    for day in found.unreadable:
        print(f"speedtest-archive: the results of {day} cannot be read", file=sys.stderr)
    if not found.rows.num_rows and not found.unreadable:
        nothing = "no such results: see --last, --node and --location"
        print(nothing if layout.probe_files() else probes.NO_RESULTS_YET, file=sys.stderr)
    if args.results:
        render.write(found.rows, args.format, where(args))
    elif args.failures:
        show(args, failures(layout, args, found.rows), FAILURES)
    else:
        show(args, table(found.rows), COLUMNS)
    return EXIT_OK


def table(rows: Any) -> list[dict[str, Any]]:
    """A row for each target."""
    from speedtest_logger.archive.read import probes

    return [
        {
            "node": each.node, "probe": each.probe, "target": each.target, "results": each.results,
            "loss_pct": each.loss, "median_ms": each.median, "p90_ms": each.p90, "worst_ms": each.worst,
            "failed": each.failed, "failed_s": each.failed_seconds,
        }
        for each in probes.summaries(rows, probes.spans(rows))
    ]  # fmt: skip


def failures(layout: Layout, args: argparse.Namespace, rows: Any) -> list[dict[str, Any]]:
    """A row for each time in which a target did not answer, with what all results of the node then say."""
    from speedtest_logger.archive.read import diagnosis, probes

    start, end = period(args, 86_400)
    nodes = None if args.node is None else frozenset((args.node,))
    wanted = probes.Wanted(start - diagnosis.AROUND, end + diagnosis.AROUND, nodes, args.location)
    around = probes.results(layout, wanted).rows
    spans = probes.spans(rows)
    return [
        {
            "node": span.node, "probe": span.probe, "target": span.target, "from": utc_text(span.start),
            "until": utc_text(span.until), "reason": span.reason or "",
            "diagnosis": said.sentence,
        }
        for span, said in zip(spans, diagnosis.of_spans(around, spans), strict=True)
    ]  # fmt: skip


PROBES = Verb(
    "probes",
    "what nodes' probes found: losses, round trips, and when a target did not answer",
    "speedtest-archive probes --location home --last 1d",
    arguments,
    show_probes,
)
