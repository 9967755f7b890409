"""speedtest-archive's command line."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from speedtest_logger import __version__
from speedtest_logger.archive.layout import Layout, default_root, month_of
from speedtest_logger.cli import become_owner
from speedtest_logger.errors import EXIT_OK, EXIT_STORAGE, EXIT_UNHEALTHY, ConfigError, SpeedtestError
from speedtest_logger.schedule import parse_duration

if TYPE_CHECKING:
    from importlib.abc import MetaPathFinder

    from speedtest_logger.archive.dataset import Archive

EXIT_CODES = """exit codes:
  0  done
  1  coverage --strict: slots were missed; verify: something differs; import: rows were refused
  2  the command line or the SQL is wrong
  5  the archive cannot be read or written
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
    "import": (
        "take in what other programs measured",
        "speedtest-archive import --node attic --location home --dry-run /tmp/rows.csv",
    ),
    "export": ("write rows to a file", "speedtest-archive export --format csv --from 2026-01-01 /tmp/rows.csv"),
    "prune": ("remove old months; says what it would do until --yes", "speedtest-archive prune --older-than 1095d"),
    "backup": ("save one moment of the archive with restic", "speedtest-archive backup --keep-monthly 36"),
    "restore": ("bring a backup into an empty archive and prove it", "speedtest-archive restore"),
    "fleet": ("each node's last record and last 24 hours, as JSON", "speedtest-archive fleet"),
}
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
        made[name].add_argument("--out", type=Path, metavar="FILE", help="default standard output")
    return top


def _add_scopes(made: dict[str, argparse.ArgumentParser]) -> None:
    """Which rows."""
    for name in ("query", "nodes", "latest", "coverage", "outages", "export"):
        made[name].add_argument("--node", help="this node's rows only")
        made[name].add_argument("--location", help="this location's rows only")
        made[name].add_argument("--fresh", action="store_true", help="with what lies in the inbox")
    made["report"].add_argument("--location", required=True, help="the place whose line is reported on")
    made["report"].set_defaults(node=None, fresh=False)
    for name in ("query", "coverage", "outages", "report", "export"):
        made[name].add_argument("--last", type=duration, help="period up to now, such as 90min, 24h, 30d")
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
        help="how a file became what it is, such as location=home/year=2026/month=01/speedtest.parquet",
    )
    made["import"].add_argument("--node", help="the node that measured, where the rows do not say it")
    made["import"].add_argument("--location", help="its location; default what the rows say, or unknown-location")
    made["import"].add_argument("--at", metavar="TIME", help="the time of a single test that does not say it")
    made["import"].add_argument("--dry-run", action="store_true", help="count only")
    made["import"].add_argument("paths", nargs="+", type=Path, metavar="PATH", help="files, or folders of them")
    for name, count in (("daily", 7), ("weekly", 5), ("monthly", 24)):
        made["backup"].add_argument(f"--keep-{name}", type=int, default=count, metavar="N", help="default %(default)s")
    made["restore"].add_argument("--snapshot", default="latest", help="restic's id of it, default %(default)s")
    made["export"].add_argument("--format", choices=["csv", "jsonl", "json", "parquet", "speedsnake"], default="csv")
    made["export"].add_argument("out", type=Path, help="a file; a new folder for speedsnake")
    for name in ("download", "upload"):
        made["report"].add_argument(
            f"--plan-{name}", type=float, metavar="MBPS", help="default what the inventory says"
        )
    made["report"].add_argument("out", type=Path, help="the HTML file")
    made["prune"].add_argument("--older-than", type=duration, help="months that ended longer ago, such as 1095d")
    made["prune"].add_argument("--max-size", type=size, help="the oldest months beyond it, such as 500MB or 20GB")
    made["prune"].add_argument("--yes", action="store_true", help="do it")


def moment(text: str) -> float:
    """Argparse type: Unix time (s) of a day or a time in UTC."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"'{text}' is no time: write it like 2026-01-31 or 2026-01-31T12:00"
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
        raise argparse.ArgumentTypeError(f"'{text}' is no size: write it like 500MB or 20GB")
    return int(number) * SIZES[unit]


@contextmanager
def progress(total: int, what: str) -> Iterator[Callable[[int], None]]:
    """A bar on standard error, where that is a terminal."""
    done, began = 0, time.monotonic()

    def advance(by: int) -> None:
        nonlocal done
        done += by
        if sys.stderr.isatty() and total:
            share = min(1.0, done / total)
            seconds = time.monotonic() - began
            bar = "#" * int(30 * share)
            print(f"\r{what} [{bar:<30}] {share:4.0%} {seconds:5.0f} s", end="", file=sys.stderr, flush=True)

    yield advance
    if done and sys.stderr.isatty() and total:
        print(file=sys.stderr)


def narrowed(args: argparse.Namespace) -> Archive:
    """The archive with the rows that were asked for."""
    from speedtest_logger.archive.dataset import open_archive

    start = getattr(args, "start", None)
    if getattr(args, "last", None):
        start = (getattr(args, "end", None) or time.time()) - args.last
    archive = open_archive(args.root, fresh=args.fresh).only(
        args.node, args.location, start, getattr(args, "end", None)
    )
    if (version := archive.newer_than_this_program()) is not None:
        print(f"speedtest-archive: a later version wrote this archive (schema {version})", file=sys.stderr)
    return archive


def show(args: argparse.Namespace, rows: list[dict[str, Any]], empty: Sequence[str]) -> None:
    """Write rows in the form that was asked for; `empty` names the columns where there are none."""
    import pyarrow as pa

    from speedtest_logger.archive import render

    table = pa.Table.from_pylist(rows) if rows else pa.table({name: pa.array([], pa.string()) for name in empty})
    render.write(table, args.format, args.out)


class WithoutPandas:
    """Have pyarrow do without pandas: it would import it to convert its first text, 0.2 s of CPU every minute."""

    @staticmethod
    def find_spec(name: str, *_: object) -> None:
        """An import hook (importlib.abc.MetaPathFinder)."""
        if name == "pandas":
            raise ModuleNotFoundError(name)


def do_ingest(args: argparse.Namespace) -> int:
    """Every minute there mostly is nothing: then not even the libraries are imported."""
    layout = Layout(args.root)
    waiting = sum(1 for _ in layout.inbox.glob("*/*.jsonl"))
    if not waiting:
        return EXIT_OK
    from speedtest_logger.archive import ingest

    ingest.clear_leftovers(layout)
    with progress(waiting, "ingest") as advance:
        outcome = ingest.ingest(layout, advance)
    if outcome.files:
        print(json.dumps(vars(outcome)))
    return EXIT_OK


def do_query(args: argparse.Namespace) -> int:
    """SQL."""
    from speedtest_logger.archive import render

    render.write(narrowed(args).query(args.sql), args.format, args.out)
    return EXIT_OK


def do_nodes(args: argparse.Namespace) -> int:
    """A row per node and location."""
    args.sql = """
        SELECT node, location, count(*) AS records, count(*) FILTER (status = 'ok') AS ok, min(started_at) AS first,
               max(started_at) AS last, round(median(download_bps) / 1e6, 1) AS download_mbps,
               round(median(upload_bps) / 1e6, 1) AS upload_mbps, round(median(latency_ms), 1) AS latency_ms
        FROM records GROUP BY node, location ORDER BY node, location"""
    return do_query(args)


def do_latest(args: argparse.Namespace) -> int:
    """The newest rows of each node."""
    args.sql = f"""
        SELECT node, location, started_at, status, reason, round(download_bps / 1e6, 1) AS download_mbps,
               round(upload_bps / 1e6, 1) AS upload_mbps, round(latency_ms, 1) AS latency_ms, engine, server_name
        FROM records QUALIFY row_number() OVER (PARTITION BY node ORDER BY started_at DESC) <= {int(args.count)}
        ORDER BY node, started_at DESC"""
    return do_query(args)


def do_coverage(args: argparse.Namespace) -> int:
    """Slots and what became of them."""
    from speedtest_logger.archive import coverage

    end = args.end or time.time()
    start = args.start if args.start is not None else end - (args.last or 86_400)
    args.start = args.last = args.end = None  # the period is of slots, not of starts
    covers = coverage.coverage(narrowed(args), start, end, args.grace, by_day=args.by_day)
    show(args, [cover.to_row() for cover in covers], ["node", "expected"])
    return EXIT_UNHEALTHY if args.strict and any(cover.outcomes["missed"] for cover in covers) else EXIT_OK


def do_outages(args: argparse.Namespace) -> int:
    """Slots in a row without a measurement."""
    from speedtest_logger.archive import coverage

    now = time.time()
    end = args.end or now
    start = args.start if args.start is not None else end - (args.last or 7 * 86_400)
    args.start = args.last = args.end = None
    node, args.node = args.node, None  # its neighbours are witnesses
    found = list(coverage.accounts(narrowed(args), start, end, args.grace))
    outages = [o for o in coverage.outages(found, args.shortest) if node in (None, o.node)]
    show(args, [outage.to_row(min(now, end)) for outage in outages], ["node", "from", "until"])
    return EXIT_OK


def do_report(args: argparse.Namespace) -> int:
    """A page for people, or for a provider."""
    from speedtest_logger.archive import report

    end = args.end or time.time()
    start = args.start if args.start is not None else end - (args.last or 30 * 86_400)
    args.start = args.last = args.end = None
    archive = narrowed(args)
    known = report.planned(archive, args.location)
    plan = report.Plan(args.plan_download or known.download, args.plan_upload or known.upload)
    rows = report.write(archive, start, end, args.out, plan)
    print(f"{args.out} is ready, its rows are in {rows}", file=sys.stderr)
    return EXIT_OK


def do_verify(args: argparse.Namespace) -> int:
    """What differs from the manifest."""
    from speedtest_logger.archive import manifest, verify

    layout = Layout(args.root)
    if args.explain:
        try:
            month_of(args.explain)
        except ValueError as error:
            raise ConfigError([str(error)]) from error
        show(args, verify.explain(layout, args.explain), ["at", "verb"])
        return EXIT_OK
    with progress(verify.sizes(layout), "verify") as advance:
        findings = verify.verify(layout, advance)
    number, digest, _ = manifest.head(layout)
    if findings:
        show(args, [finding.to_row() for finding in findings], [])
        return EXIT_UNHEALTHY
    print(f"all is as the manifest says; its line {number} has SHA-256 {digest}", file=sys.stderr)
    return EXIT_OK


def do_import(args: argparse.Namespace) -> int:
    """Take files in."""
    from speedtest_logger.archive import importers
    from speedtest_logger.record import is_id

    wrong = [
        f"'{name}' is no id: small letters, digits and inner hyphens"
        for name in (args.node, args.location)
        if name and not is_id(name)
    ]
    if wrong:
        raise ConfigError(wrong)
    files = importers.find(args.paths)
    with progress(len(files), "import") as advance:
        source = importers.Source(args.node, args.location, args.at)
        outcome = importers.run(Layout(args.root), files, source, dry_run=args.dry_run, progress=advance)
    for problem in outcome.problems:
        print(f"speedtest-archive: {problem}", file=sys.stderr)
    print(json.dumps({"dry_run": args.dry_run, **{k: v for k, v in vars(outcome).items() if k != "problems"}}))
    return EXIT_UNHEALTHY if outcome.refused else EXIT_OK


def do_export(args: argparse.Namespace) -> int:
    """Write rows out."""
    from speedtest_logger.archive import exporters

    count = exporters.export(narrowed(args), args.format, args.out)
    print(f"{count} rows in {args.out}", file=sys.stderr)
    return EXIT_OK


def do_prune(args: argparse.Namespace) -> int:
    """Remove months, or say which."""
    from speedtest_logger.archive import prune

    if args.older_than is None and args.max_size is None:
        raise ConfigError(["prune needs --older-than, --max-size or both"])
    layout = Layout(args.root)
    work = prune.prune if args.yes else prune.plan
    going = work(layout, time.time(), args.older_than, args.max_size)
    show(args, [old.to_row() for old in going], ["file", "size", "rows", "reason"])
    total = sum(old.size for old in going) / 1e6
    said = "removed" if args.yes else "would go; add --yes to remove them"
    print(f"{len(going)} months, {total:.1f} MB {said}", file=sys.stderr)
    return EXIT_OK


def do_backup(args: argparse.Namespace) -> int:
    """What the backup's timer runs."""
    from speedtest_logger.archive import backup

    keep = backup.Keep(args.keep_daily, args.keep_weekly, args.keep_monthly)
    print(json.dumps(backup.backup(Layout(args.root), keep)))
    return EXIT_OK


def do_restore(args: argparse.Namespace) -> int:
    """What playbooks/restore.yml runs."""
    from speedtest_logger.archive import backup

    print(json.dumps(backup.restore(Layout(args.root), args.snapshot)))
    return EXIT_OK


def do_fleet(args: argparse.Namespace) -> int:
    """What playbooks/status.yml asks for."""
    from speedtest_logger.archive import coverage
    from speedtest_logger.archive.dataset import open_archive

    print(json.dumps(coverage.fleet(open_archive(args.root)), indent=2))
    return EXIT_OK


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = parser().parse_args(argv)
    try:
        if not (args.root / "archive").is_dir():
            raise ConfigError([f"{args.root} is no archive: name its directory with --root or SPEEDTEST_ARCHIVE_DIR"])
        os.umask(0o027)
        if args.verb in ("backup", "restore"):
            become_owner(args.root)  # restic and its ssh too
        if argv is None and args.verb == "ingest":  # a process of its own
            sys.meta_path.insert(0, cast("MetaPathFinder", WithoutPandas))
        code: int = globals()[f"do_{args.verb}"](args)
        return code
    except SpeedtestError as error:
        print(f"speedtest-archive: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        return EXIT_OK
    except OSError as error:
        print(f"speedtest-archive: {error.filename or 'the disk'}: {error.strerror or error}", file=sys.stderr)
        return EXIT_STORAGE
