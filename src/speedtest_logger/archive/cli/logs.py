"""What nodes' logs say: the lines that nodes deliver behind their records."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from speedtest_logger import registry
from speedtest_logger.archive.cli.options import Verb, add_period, no_arguments, period
from speedtest_logger.archive.cli.output import where
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.errors import EXIT_OK, StorageError, UsageError
from speedtest_logger.log import PRIORITIES
from speedtest_logger.text import printable

if TYPE_CHECKING:
    import pyarrow as pa

FORMS = ("text", "json", "csv")
AT_ONCE = 2_000  # lines that are written together
MOST = 1_000_000


def arguments(parser: argparse.ArgumentParser) -> None:
    """See `show_logs`."""
    parser.add_argument("--node", help="this node's lines only")
    parser.add_argument("--location", help="lines of this location's nodes only")
    add_period(parser)
    parser.add_argument("--level", choices=tuple(PRIORITIES), default="info", help="and above, default %(default)s")
    parser.add_argument("--grep", metavar="TEXT", default="", help="lines with this text, capitals or not")
    parser.add_argument("--limit", type=limit, default=1000, metavar="N", help="the newest N, default %(default)s")
    parser.add_argument("--format", choices=FORMS, default="text", help="json is an object a line")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default, and -, is standard output")


def limit(text: str) -> int:
    """Argparse type: how many lines."""
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:10]) <= MOST:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of lines: from 1 to {MOST}")
    return int(text)


def show_logs(args: argparse.Namespace) -> int:
    """Lines, the newest last."""
    from speedtest_logger.archive.read import logs

    layout = Layout(args.root)
    start, end = period(args, 86_400)
    if end <= start:
        raise UsageError("--from has to lie before --to")
    wanted = logs.Wanted(start, end, nodes_of(layout, args), args.level, args.grep, args.limit)
    found = logs.search(layout, wanted)
    stream = where(args) or sys.stdout.buffer
    write(found.lines, args.format, stream)
    for day in found.unreadable:
        print(f"speedtest-archive: the lines that came in on {day} cannot be read", file=sys.stderr)
    if found.before:
        print(f"these are the newest {args.limit}: there are older ones, see --limit", file=sys.stderr)
    elif not found.lines.num_rows and not found.unreadable:
        print(nothing(layout, args.node), file=sys.stderr)
    return EXIT_OK


def nodes_of(layout: Layout, args: argparse.Namespace) -> frozenset[str] | None:
    """Whose lines are asked for; None: all nodes'. Raises UsageError for a location that nobody knows."""
    if args.location is None:
        return None if args.node is None else frozenset((args.node,))
    try:
        known = registry.read(layout.root)
    except StorageError as error:
        raise UsageError(f"which nodes are at '{args.location}' is not known: {error}") from error
    current = (known.inventory or {}).items() if known else ()
    there = frozenset(name for name, entry in current if entry.get("location") == args.location)
    if not there:
        raise UsageError(f"no node is at '{args.location}' now: name one with --node")
    return there & {args.node} if args.node else there


def nothing(layout: Layout, node: str | None) -> str:
    """Why there may be no line."""
    if not layout.log_files():
        return (
            "no lines came in yet: nodes deliver their logs behind their records, "
            "unless speedtest_logger_log_delivery_enabled is false"
        )
    return f"no such lines{f' of node {printable(node)}' if node else ''}: see --last, --level and --grep"


def write(lines: pa.Table, form: str, stream: BinaryIO) -> None:
    """Write lines in a form, some at a time. Nothing in them can move a terminal's cursor, whoever wrote it."""
    from speedtest_logger.archive.read import render

    if form == "csv":
        stream.write(render.csv_lines([("at", "node", "level", "event", "fields")]))
    for batch in lines.to_batches(AT_ONCE):
        stream.write(b"".join(encoded(batch, form)))
    stream.flush()


def encoded(batch: Any, form: str) -> Iterator[bytes]:
    """Lines in a form."""
    import pyarrow as pa

    from speedtest_logger.archive.read import logs, render

    for row in logs.rows_of(pa.Table.from_batches([batch])):
        if form == "json":
            yield (json.dumps(row) + "\n").encode()
        elif form == "csv":
            cells = [*(printable(row[name]) for name in ("at", "node", "level", "event")), json.dumps(row["fields"])]
            yield render.csv_lines([[render.csv_value(cell) for cell in cells]])
        else:
            said = f"{row['at']} {row['node']} {row['level']:<7} {row['event']} {logs.words(row['fields'])}"
            yield printable(said.rstrip()).encode() + b"\n"


LOGS = Verb(
    "logs",
    "what nodes' logs say",
    "speedtest-archive logs --last 2d --level warning",
    arguments,
    show_logs,
)


def collect(args: argparse.Namespace) -> int:
    """What the journal's timer runs."""
    from speedtest_logger.archive.arrive import journal, limits

    layout = Layout(args.root)
    journal.collect(layout, limits.load(layout)[0])
    return EXIT_OK


COLLECT = Verb(
    "collect",
    "add what this host's own units said to the fleet's log lines (a unit's step)",
    "speedtest-archive collect",
    no_arguments,
    collect,
)
