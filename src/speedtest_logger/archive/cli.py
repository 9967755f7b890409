"""speedtest-archive's command line."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from speedtest_logger import __version__
from speedtest_logger.archive.layout import Layout, default_root
from speedtest_logger.errors import EXIT_OK, EXIT_STORAGE, EXIT_UNHEALTHY, ConfigError, SpeedtestError
from speedtest_logger.schedule import parse_duration

EXIT_CODES = """exit codes:
  0  done
  1  coverage --strict: slots were missed
  2  the command line or the SQL is wrong
  5  the archive cannot be read or written
"""
VERBS = {
    "ingest": ("move receipted records from the inbox into the Parquet files", "speedtest-archive ingest"),
    "query": (
        "SQL over the view `records`",
        'speedtest-archive query "SELECT node, count(*) AS n FROM records GROUP BY node"',
    ),
    "coverage": ("what became of every slot", "speedtest-archive coverage --last 24h"),
    "export": ("write rows to a file", "speedtest-archive export --format csv --from 2026-01-01 /tmp/rows.csv"),
    "fleet": ("each node's last record and last 24 hours, as JSON", "speedtest-archive fleet"),
}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    raw = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser(
        prog="speedtest-archive", description="The fleet's measurements.", epilog=EXIT_CODES, formatter_class=raw
    )
    top.add_argument("--version", action="version", version=f"speedtest-archive {__version__}")
    top.add_argument("--root", type=Path, default=default_root(), help="default %(default)s")
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    made = {
        name: verbs.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            formatter_class=raw,
            epilog=f"example:\n  {example}\n\n{EXIT_CODES}",
        )
        for name, (text, example) in VERBS.items()
    }
    made["query"].add_argument("sql")
    for name in ("query", "coverage"):
        made[name].add_argument("--format", choices=["table", "json", "csv"], default="table")
    made["coverage"].add_argument("--last", default="24h", help="period up to now, such as 90min, 24h, 30d")
    made["coverage"].add_argument("--from", dest="start", metavar="TIME", help="2026-01-31 or 2026-01-31T12:00 (UTC)")
    made["coverage"].add_argument("--to", dest="end", metavar="TIME", help="exclusive; default now")
    made["coverage"].add_argument("--grace", default="15min", help="a younger slot is pending, not missed")
    made["coverage"].add_argument("--strict", action="store_true", help="exit 1 when slots were missed")
    made["export"].add_argument("--format", choices=["csv", "jsonl", "parquet"], default="csv")
    made["export"].add_argument("--from", dest="start", metavar="DAY", type=day)
    made["export"].add_argument("--to", dest="end", metavar="DAY", type=day, help="exclusive")
    made["export"].add_argument("out", type=Path)
    return top


def day(text: str) -> str:
    """Argparse type of a day."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        raise argparse.ArgumentTypeError(f"'{text}' is no day: write it like 2026-01-31")
    return text


def moment(text: str) -> float:
    """Unix time (s) of a day or a time in UTC. Raises ConfigError."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()
    except ValueError as error:
        raise ConfigError([f"'{text}' is no time: write it like 2026-01-31 or 2026-01-31T12:00"]) from error


def act(args: argparse.Namespace) -> int:
    """Run a verb; returns the exit code. The heavy libraries are imported only now."""
    layout = Layout(args.root)
    if not layout.inbox.is_dir():
        raise ConfigError([f"{args.root} is no archive: name its directory with --root or SPEEDTEST_ARCHIVE_DIR"])
    if args.verb == "coverage":
        return show_coverage(layout, args)
    if args.verb == "ingest":
        if not any(layout.inbox.glob("*/*.jsonl")):
            return EXIT_OK  # every minute, mostly: do not even import
        from speedtest_logger.archive import ingest

        ingest.clear_leftovers(layout)
        outcome = ingest.ingest(layout)
        if outcome.files:
            print(json.dumps(vars(outcome)))
    elif args.verb == "fleet":
        from speedtest_logger.archive import coverage

        print(json.dumps(coverage.fleet(layout), indent=2))
    elif args.verb == "query":
        from speedtest_logger.archive import query

        print(query.render(*query.query(layout, args.sql), args.format))
    else:
        from speedtest_logger.archive import query

        count = query.export(layout, args.format, args.out, args.start, args.end)
        print(f"{count} rows in {args.out}", file=sys.stderr)
    return EXIT_OK


def show_coverage(layout: Layout, args: argparse.Namespace) -> int:
    """Coverage."""
    from speedtest_logger.archive import coverage, query

    try:
        last, grace = parse_duration(args.last), parse_duration(args.grace) if args.grace != "0" else 0
    except ValueError as error:
        raise ConfigError([str(error)]) from error
    end = moment(args.end) if args.end else time.time()
    start = moment(args.start) if args.start else end - last
    rows = [cover.to_row() for cover in coverage.coverage(layout, start, end, grace)]
    names = list(rows[0]) if rows else ["node", "expected"]
    print(query.render(names, [tuple(row.values()) for row in rows], args.format))
    missed = sum(row["missed"] for row in rows)
    return EXIT_UNHEALTHY if args.strict and missed else EXIT_OK


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = parser().parse_args(argv)
    try:
        return act(args)
    except SpeedtestError as error:
        print(f"speedtest-archive: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        return EXIT_OK
    except OSError as error:
        print(f"speedtest-archive: {error.filename or 'the disk'}: {error.strerror}", file=sys.stderr)
        return EXIT_STORAGE
