"""speedtest-archive's command line."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from speedtest_logger import accounts
from speedtest_logger.archive.care import steps
from speedtest_logger.archive.cli import rights
from speedtest_logger.archive.cli.options import parser
from speedtest_logger.archive.format.layout import Layout, month_of
from speedtest_logger.errors import (
    EXIT_NO_ACCESS,
    EXIT_OK,
    EXIT_STORAGE,
    EXIT_UNHEALTHY,
    NoAccessError,
    SpeedtestError,
    StorageError,
    UsageError,
)

if TYPE_CHECKING:
    from importlib.abc import MetaPathFinder

    from speedtest_logger.archive.read.dataset import Archive


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
    from speedtest_logger.archive.read.dataset import open_archive

    start = getattr(args, "start", None)
    if getattr(args, "last", None):
        start = (getattr(args, "end", None) or time.time()) - args.last
    archive = open_archive(args.root, fresh=args.fresh).only(
        args.node, args.location, start, getattr(args, "end", None)
    )
    if (version := archive.newer_than_this_program()) is not None:
        print(f"speedtest-archive: a later version wrote this archive (schema {version})", file=sys.stderr)
    return archive


def show(args: argparse.Namespace, rows: list[dict[str, Any]], empty: Sequence[str], nothing: str = "") -> None:
    """Write rows in the form that was asked for; where there are none `empty` names the columns, and `nothing` says it.

    Who looks at a table reads that instead of one without rows.
    """
    if not rows and nothing:
        print(nothing, file=sys.stderr)
        if args.format == "table" and not args.outputs:
            return
    import pyarrow as pa

    from speedtest_logger.archive.read import render

    table = pa.Table.from_pylist(rows) if rows else pa.table({name: pa.array([], pa.string()) for name in empty})
    render.write(table, args.format, where(args))


def where(args: argparse.Namespace) -> BinaryIO | None:
    """Where the answer goes: what was opened for it, or standard output."""
    return args.outputs[0] if args.outputs else None


class WithoutPandas:
    """Have pyarrow do without pandas: it would import it to convert its first text, 0.2 s of CPU every minute."""

    @staticmethod
    def find_spec(name: str, *_: object) -> None:
        """An import hook (importlib.abc.MetaPathFinder)."""
        if name == "pandas":
            raise ModuleNotFoundError(name)


def start_light() -> None:
    """Have a process start without pandas, and without OpenBLAS's threads, which wait busily: 60 ms of CPU."""
    sys.meta_path.insert(0, cast("MetaPathFinder", WithoutPandas))
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def do_ingest(args: argparse.Namespace) -> int:
    """Every minute there mostly is nothing: then not even the libraries are imported."""
    layout = Layout(args.root)
    waiting = sum(1 for _ in layout.inbox.glob("*/*.jsonl"))
    if not waiting and not any(layout.raw_inbox.glob("*/*.jsonl")):
        return EXIT_OK
    from speedtest_logger.archive.write import ingest

    ingest.clear_leftovers(layout)
    with progress(waiting, "ingest") as advance:
        outcome = ingest.ingest(layout, advance, wait=300)  # a backup's or a pruning's seconds
    if outcome.files or outcome.damaged:
        print(json.dumps(vars(outcome)))
    if outcome.damaged:
        raise StorageError("what belongs there waits in the inbox: " + "; ".join(outcome.damaged))
    return EXIT_OK


def do_query(args: argparse.Namespace) -> int:
    """SQL."""
    from speedtest_logger.archive.read import render
    from speedtest_logger.archive.read.dataset import speaks_of_raw

    answer = narrowed(args).query(args.sql)
    render.write(answer, args.format, where(args))
    if not answer.num_rows and speaks_of_raw(args.sql) and not Layout(args.root).raw_files():
        print("no raw output is kept here: nodes deliver it with speedtest_logger_archive_raw: true", file=sys.stderr)
    return EXIT_OK


def do_nodes(args: argparse.Namespace) -> int:
    """A row per node and location; `aside` is what ingest put into the node's quarantine."""
    from speedtest_logger.archive.arrive import aside
    from speedtest_logger.archive.read import render

    sql = """
        SELECT node, location, count(*) AS records, count(*) FILTER (status = 'ok') AS ok, min(started_at) AS first,
               max(started_at) AS last, round(median(download_bps) / 1e6, 1) AS download_mbps,
               round(median(upload_bps) / 1e6, 1) AS upload_mbps, round(median(latency_ms), 1) AS latency_ms
        FROM records GROUP BY node, location ORDER BY node, location"""
    rows = narrowed(args).query(sql)
    lies = aside.of(Layout(args.root))
    counts = [found.different + found.failed if (found := lies.get(node)) else 0 for node in rows["node"].to_pylist()]
    render.write(rows.append_column("aside", [counts]), args.format, where(args))
    return EXIT_OK


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
    from speedtest_logger.archive.read import coverage

    end = args.end or time.time()
    start = args.start if args.start is not None else end - (args.last or 86_400)
    args.start = args.last = args.end = None  # the period is of slots, not of starts
    covers = coverage.coverage(narrowed(args), start, end, args.grace, by_day=args.by_day)
    show(args, [cover.to_row() for cover in covers], ["node", "expected"])
    return EXIT_UNHEALTHY if args.strict and any(cover.outcomes["missed"] for cover in covers) else EXIT_OK


def do_outages(args: argparse.Namespace) -> int:
    """Slots in a row without a measurement."""
    from speedtest_logger.archive.read import coverage

    now = time.time()
    end = args.end or now
    start = args.start if args.start is not None else end - (args.last or 7 * 86_400)
    args.start = args.last = args.end = None
    node, args.node = args.node, None  # its neighbours are witnesses
    found = list(coverage.accounts(narrowed(args), start, end, args.grace))
    outages = [o for o in coverage.outages(found, args.shortest) if node in (None, o.node)]
    show(args, [outage.to_row(min(now, end)) for outage in outages], ["node", "from", "until"], "no outages")
    return EXIT_OK


def do_report(args: argparse.Namespace) -> int:
    """A page for people, or for a provider."""
    from speedtest_logger.archive.read.local_time import Zone
    from speedtest_logger.archive.report import report
    from speedtest_logger.archive.report.page import Plan

    end = args.end or time.time()
    start = args.start if args.start is not None else end - (args.last or 30 * 86_400)
    args.start = args.last = args.end = None
    archive = narrowed(args)
    known = report.planned(archive, args.location)
    plan = Plan(args.plan_download or known.download, args.plan_upload or known.upload)
    zone = Zone.named(args.zone) if args.zone else report.zone_of(archive, args.location)
    page, *rows = args.outputs
    rows_file = args.out.with_suffix(report.ROWS_SUFFIX)
    named = (rows_file.name, rows[0]) if rows else None
    left_out = report.write_to(archive, (start, end), plan, page, named, zone=zone)
    for node, count in left_out.items():
        print(f"speedtest-archive: left out {count} records of node '{node}': not of this location", file=sys.stderr)
    if rows:
        print(f"{args.out} is ready, its rows are in {rows_file}", file=sys.stderr)
    return EXIT_OK


def do_verify(args: argparse.Namespace) -> int:
    """What differs from the manifest."""
    from speedtest_logger.archive.care import audit, verify
    from speedtest_logger.archive.ledger import index, manifest

    layout = Layout(args.root)
    if args.explain:
        try:
            month_of(args.explain)
        except ValueError as error:
            raise UsageError(str(error)) from error
        unknown = f"the manifest has never named a file {args.explain}"
        show(args, verify.explain(layout, args.explain), ["at", "verb"], unknown)
        return EXIT_OK
    with progress(verify.sizes(layout), "verify") as advance:
        findings = verify.verify(layout, advance)
    verify.keep(layout, findings)
    with progress(len(index.read(layout).nodes), "audit") as advance:
        for problem in audit.once(layout, advance):
            print(f"speedtest-archive: {problem}", file=sys.stderr)
    number, digest, _ = manifest.head(layout)
    if findings or args.out:
        show(args, [finding.to_row() for finding in findings], ["file", "day", "problem"])
    if findings:
        return EXIT_UNHEALTHY
    for name, state in manifest.state(layout).items():
        if state.accepted:
            print(f"{name} was accepted as it was found: verify --explain {name} says why", file=sys.stderr)
    print(f"all is as the manifest says; its line {number} has SHA-256 {digest}", file=sys.stderr)
    return EXIT_OK


def do_accept(args: argparse.Namespace) -> int:
    """Go on from what was found."""
    from speedtest_logger.archive.care import repair

    print(json.dumps(repair.accept(Layout(args.root), args.file, args.why)))
    return EXIT_OK


def do_import(args: argparse.Namespace) -> int:
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


def do_export(args: argparse.Namespace) -> int:
    """Write rows out."""
    from speedtest_logger.archive.read import exporters

    count = exporters.export(narrowed(args), args.format, args.outputs[0] if args.outputs else args.out)
    print(f"{count} rows in {args.out}", file=sys.stderr)
    return EXIT_OK


def do_prune(args: argparse.Namespace) -> int:
    """Remove months, or say which."""
    from speedtest_logger.archive.care import prune

    if (args.older_than, args.max_size, args.raw_older_than) == (None, None, None):
        raise UsageError("prune needs --older-than, --max-size or --raw-older-than")
    layout, now = Layout(args.root), time.time()
    if args.yes:
        going = prune.prune(layout, now, args.older_than, args.max_size, args.raw_older_than)
    else:
        going = prune.plan(layout, now, args.older_than, args.max_size)
        going += prune.plan_raw(layout, now, args.raw_older_than)
    show(args, [old.to_row() for old in going], ["file", "size", "rows", "reason"])
    total = sum(old.size for old in going) / 1e6
    said = "removed" if args.yes else "would be removed; add --yes to remove them"
    print(f"{len(going)} files, {total:.1f} MB {said}", file=sys.stderr)
    return EXIT_OK


def do_gather(args: argparse.Namespace) -> int:
    """What the upkeep's timer runs."""
    from speedtest_logger.archive.arrive import limits, quarantine
    from speedtest_logger.archive.read import rollup

    layout, now = Layout(args.root), time.time()
    quarantine.clear(layout, limits.load(layout)[0], now)
    with progress(sum(map(len, rollup.due(layout, now).values())), "gather") as advance:
        new = rollup.gather(layout, now, advance)
    print(f"{len(new)} months gathered", file=sys.stderr)
    return EXIT_OK


def do_backup(args: argparse.Namespace) -> int:
    """What the backup's timer runs."""
    from speedtest_logger.archive.care import backup

    layout, keep = Layout(args.root), backup.Keep(args.keep_daily, args.keep_weekly, args.keep_monthly)
    owner = accounts.owner_of(layout.archive)
    if args.stage:
        print(json.dumps({"staged": steps.run(owner, lambda: backup.stage(layout))}))
    elif args.unstage:
        steps.run(owner, lambda: backup.unstage(layout))
    elif args.save:
        saver = backup.saver_of(layout)
        print(json.dumps(steps.run(saver, lambda: backup.save(layout, keep), as_root=backup.take_credentials)))
    else:
        print(json.dumps(backup.backup(layout, keep)))
    return EXIT_OK


def do_restore(args: argparse.Namespace) -> int:
    """What playbooks/restore.yml runs; or one month's file only."""
    from speedtest_logger.archive.care import backup

    layout = Layout(args.root)
    if args.file:
        print(json.dumps(backup.restore_month(layout, args.file, args.snapshot)))
    else:
        print(json.dumps(backup.restore(layout, args.snapshot)))
    return EXIT_OK


def do_fleet(args: argparse.Namespace) -> int:
    """What playbooks/status.yml asks for."""
    from speedtest_logger.archive.arrive import aside, limits, standing
    from speedtest_logger.archive.care import backup, verify
    from speedtest_logger.archive.read import audited, coverage
    from speedtest_logger.archive.read.dataset import open_archive
    from speedtest_logger.archive.write import ingest

    layout = Layout(args.root)
    problems = [problem for of in (ingest, aside, verify, audited) for problem in of.problems(layout)]
    problems += standing.problems(layout, time.time()) + limits.load(layout)[1] + layout.strangers()
    state: dict[str, Any] = {"nodes": {}, "backup": backup.last(layout), "problems": problems}
    try:
        state["nodes"] = coverage.fleet(open_archive(args.root))
    except StorageError as error:
        state["problems"].append(str(error))
    print(json.dumps(state, indent=2))
    return EXIT_OK


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = parser().parse_args(argv)
    try:
        os.umask(0o027)
        if argv is None and args.verb == "ingest":  # a process of its own
            start_light()
        return rights.act(args, globals()[f"do_{args.verb}"])
    except SpeedtestError as error:
        print(f"speedtest-archive: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        return EXIT_OK
    except PermissionError as error:
        print(f"speedtest-archive: {NoAccessError(error.filename)}", file=sys.stderr)
        return EXIT_NO_ACCESS
    except OSError as error:
        print(f"speedtest-archive: {error.filename or 'the disk'}: {error.strerror or error}", file=sys.stderr)
        return EXIT_STORAGE
