"""What speedtest-archive's command line takes: verbs, options, and the kinds of their values."""

from __future__ import annotations

import argparse
from datetime import datetime, timezone
from pathlib import Path

from speedtest_logger import __version__
from speedtest_logger.archive.format.layout import default_root
from speedtest_logger.schedule import parse_duration

EXIT_CODES = """exit codes:
  0  done
  1  coverage --strict: slots were missed; verify: something differs; import: rows were refused
  2  the command line or the SQL is wrong
  5  the archive cannot be read or written
  7  a file may not be opened by this account: use sudo
"""
VERBS = {
    "ingest": ("move receipted records from the inbox into the Parquet files", "speedtest-archive ingest"),
    "query": (
        "SQL over the view `records`",
        'speedtest-archive query "SELECT node, count(*) AS n FROM records GROUP BY node"',
    ),
    "nodes": ("every node: where it measures, how many records, from when to when", "speedtest-archive nodes"),
    "latest": ("each node's last records", "speedtest-archive latest --count 3"),
    "coverage": ("what became of every slot", "speedtest-archive coverage --last 24h"),
    "outages": ("when a node could not measure, and whether the line or the node failed", "speedtest-archive outages"),
    "report": (
        "what a line delivered, as one HTML file to send, with a CSV beside it",
        "speedtest-archive report --location home --last 30d /tmp/home.html",
    ),
    "verify": ("compare every byte with the manifest", "speedtest-archive verify"),
    "accept": (
        "take a file that differs from the manifest, and cannot be repaired, as it is now",
        'speedtest-archive accept --why "the disk failed" location=home/year=2026/month=01/speedtest.parquet',
    ),
    "import": (
        "import what other programs measured",
        "speedtest-archive import --node attic --location home --dry-run /tmp/rows.csv",
    ),
    "export": ("write rows to a file", "speedtest-archive export --format csv --from 2026-01-01 /tmp/rows.csv"),
    "prune": ("remove old months; without --yes only list them", "speedtest-archive prune --older-than 1095d"),
    "gather": (
        "keep each finished month of a large fleet in one file as well, for faster questions",
        "speedtest-archive gather",
    ),
    "backup": ("back up one moment of the archive with restic", "speedtest-archive backup --keep-monthly 36"),
    "restore": (
        "restore a backup into an empty archive and verify it, or restore one file",
        "speedtest-archive restore",
    ),
    "fleet": ("each node's last record and last 24 hours, and the last backup, as JSON", "speedtest-archive fleet"),
}
MONTH = "location=home/year=2026/month=01/speedtest.parquet"
FORMS = ("table", "csv", "json", "jsonl", "parquet")
SIZES = {"MB": 10**6, "GB": 10**9, "TB": 10**12}


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
    _add_scopes(made)
    _add_own(made)
    for name in ("query", "nodes", "latest", "coverage", "outages", "verify", "prune"):
        made[name].add_argument("--format", choices=FORMS, default="table")
        made[name].add_argument("--out", type=Path, metavar="FILE", help="default, and -, is standard output")
    return top


def _add_scopes(made: dict[str, argparse.ArgumentParser]) -> None:
    """Which rows."""
    for name in ("query", "nodes", "latest", "coverage", "outages", "export"):
        made[name].add_argument("--node", help="this node's rows only")
        made[name].add_argument("--location", help="this location's rows only")
        made[name].add_argument("--fresh", action="store_true", help="include what still lies in the inbox")
    made["report"].add_argument("--location", required=True, help="the place whose line is reported on")
    made["report"].set_defaults(node=None, fresh=False)
    for name in ("query", "latest", "coverage", "outages", "report", "export"):
        made[name].add_argument("--last", type=duration, help="period up to now, such as 90min, 24h, 30d, 1w")
        made[name].add_argument(
            "--from", dest="start", metavar="TIME", type=moment, help="2026-01-31 or 2026-01-31T12:00 (UTC)"
        )
        made[name].add_argument("--to", dest="end", metavar="TIME", type=moment, help="exclusive; default now")


def _add_own(made: dict[str, argparse.ArgumentParser]) -> None:
    """What only one verb has."""
    made["query"].add_argument("sql")
    made["latest"].add_argument("--count", type=int, default=1, help="records of each node, default %(default)s")
    for name in ("coverage", "outages"):
        made[name].add_argument(
            "--grace", type=duration, default=900, help="a younger slot is pending, not missed; 15min"
        )
    made["coverage"].add_argument("--by-day", action="store_true", help="a row per node and day (UTC)")
    made["coverage"].add_argument("--strict", action="store_true", help="exit 1 when slots were missed")
    made["outages"].add_argument("--shortest", type=int, default=1, metavar="SLOTS", help="default %(default)s")
    made["verify"].add_argument(
        "--explain",
        metavar="FILE",
        help=f"the history of a file, such as {MONTH}",
    )
    made["import"].add_argument("--node", help="the node that measured, where the rows do not say it")
    made["import"].add_argument("--location", help="its location; default what the rows say, or unknown-location")
    made["import"].add_argument(
        "--location-map",
        action="append",
        default=[],
        metavar="NAME=ID",
        help="the id of a place that rows name differently; again for another, or a file of such lines",
    )
    made["import"].add_argument("--at", metavar="TIME", help="the time of a single test that does not say its own")
    made["import"].add_argument(
        "--zone", metavar="ZONE", help="time zone of times that name none, such as Europe/Berlin; default UTC"
    )
    made["import"].add_argument(
        "--external-ip",
        choices=("full", "shortened", "none"),
        default="shortened",
        help="how much of public addresses is kept, default %(default)s",
    )
    made["import"].add_argument(
        "--format",
        metavar="NAME",
        help="the format, where columns alone do not tell; docs/how-to/bring-in-old-results.md has the names",
    )
    made["import"].add_argument("--dry-run", action="store_true", help="show medians and first rows, change nothing")
    made["import"].add_argument("paths", nargs="+", type=Path, metavar="PATH", help="files, or folders of them")
    steps = made["backup"].add_mutually_exclusive_group()
    steps.add_argument(
        "--stage", action="store_true", help="only copy one moment of it into work/backup (a unit's step)"
    )
    steps.add_argument(
        "--save", action="store_true", help="only save what is in work/backup with restic (a unit's step)"
    )
    steps.add_argument("--unstage", action="store_true", help="empty work/backup again (a unit's step)")
    for name, count in (("daily", 7), ("weekly", 5), ("monthly", 24)):
        made["backup"].add_argument(f"--keep-{name}", type=int, default=count, metavar="N", help="default %(default)s")
    made["restore"].add_argument("--snapshot", default="latest", help="restic's id of it, default %(default)s")
    made["restore"].add_argument("--file", metavar="FILE", help=f"this month only, such as {MONTH}")
    made["accept"].add_argument("--why", required=True, metavar="TEXT", help="the reason, which the manifest keeps")
    made["accept"].add_argument("file", metavar="FILE", help=f"such as {MONTH}")
    made["export"].add_argument("--format", choices=["csv", "jsonl", "json", "parquet", "speedsnake"], default="csv")
    made["export"].add_argument("out", type=Path, help="a file; a new folder for speedsnake")
    for name in ("download", "upload"):
        made["report"].add_argument(
            f"--plan-{name}", type=float, metavar="MBPS", help="default what the inventory says"
        )
    made["report"].add_argument(
        "--zone", metavar="NAME", help="time zone of its clocks; default the inventory's, or UTC"
    )
    made["report"].add_argument("out", type=Path, help="the HTML file; - is standard output, without the CSV")
    made["prune"].add_argument("--older-than", type=duration, help="months that ended longer ago, such as 1095d")
    made["prune"].add_argument("--max-size", type=size, help="the oldest months beyond it, such as 500MB or 20GB")
    made["prune"].add_argument("--raw-older-than", type=duration, help="raw output of days that ended longer ago")
    made["prune"].add_argument("--yes", action="store_true", help="do it")


def moment(text: str) -> float:
    """Argparse type: Unix time (s) of a day or a time in UTC."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"'{text}' is not a time: write it like 2026-01-31 or 2026-01-31T12:00"
        ) from error
    return (found if found.tzinfo else found.replace(tzinfo=timezone.utc)).timestamp()


def duration(text: str) -> int:
    """Argparse type: seconds."""
    try:
        return 0 if text == "0" else parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def size(text: str) -> int:
    """Argparse type: bytes."""
    number, unit = text[:-2], text[-2:]
    if unit not in SIZES or not number.isdigit():
        raise argparse.ArgumentTypeError(f"'{text}' is not a size: write it like 500MB or 20GB")
    return int(number) * SIZES[unit]
