"""What verbs of the command line share: their form, groups of options, and the kinds of options' values."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from speedtest_logger.schedule import parse_duration

MONTH = "location=home/year=2026/month=01/speedtest.parquet"
FORMS = ("table", "csv", "json", "jsonl", "parquet")
MOMENT = "2026-01-31 or 2026-01-31T12:00 (UTC)"
SIZES = {"MB": 10**6, "GB": 10**9, "TB": 10**12}


@dataclass(frozen=True)
class Verb:
    """A verb: what it does in a few words, an example that works, its arguments, and what it runs."""

    name: str
    text: str
    example: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def no_arguments(_: argparse.ArgumentParser) -> None:
    """Of a verb that has none."""


def add_rows(parser: argparse.ArgumentParser) -> None:
    """Which rows: whose, and whether with the inbox's."""
    parser.add_argument("--node", help="this node's rows only")
    parser.add_argument("--location", help="this location's rows only")
    parser.add_argument("--fresh", action="store_true", help="include what still lies in the inbox")


def add_store(parser: argparse.ArgumentParser) -> None:
    """Records of a published table instead of the archive's files."""
    parser.add_argument("--store", metavar="ADDRESS", help="where `publish` put them: s3://BUCKET/FOLDER, or a path")
    engine = "duckdb, or dask://HOST:8786: a cluster; default SPEEDTEST_ENGINE, for large questions only, or duckdb"
    parser.add_argument("--engine", metavar="ENGINE", help=engine)
    parser.add_argument(
        "--only-distributed", action="store_true", help="refuse what the cluster cannot answer in parts"
    )


def add_period(parser: argparse.ArgumentParser) -> None:
    """From when to when."""
    parser.add_argument("--last", type=duration, help="period up to now, such as 90min, 24h, 30d, 1w")
    parser.add_argument("--from", dest="start", metavar="TIME", type=moment, help=MOMENT)
    parser.add_argument("--to", dest="end", metavar="TIME", type=moment, help="exclusive; default now")


def add_form(parser: argparse.ArgumentParser) -> None:
    """In which form, and where to."""
    parser.add_argument("--format", choices=FORMS, default="table")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default, and -, is standard output")


def period(args: argparse.Namespace, seconds: float) -> tuple[float, float]:
    """The period that was asked for, or the last seconds: two Unix times (s)."""
    end = args.end or time.time()
    return (args.start if args.start is not None else end - (args.last or seconds)), end


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
