"""speedtest-database's command line: what the timers run, and how people look at the sink and its dumps."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from speedtest_logger import __version__, accounts, light
from speedtest_logger.archive.format.layout import Layout, default_root
from speedtest_logger.errors import (
    EXIT_OK,
    EXIT_UNHEALTHY,
    UsageError,
)
from speedtest_logger.log import Log
from speedtest_logger.text import as_table
from speedtest_logger.usage import add_verbs, exit_code_of

EXIT_CODES = """exit codes:
  0  done
  1  status: syncs or dumps fail
  2  the command line or the settings are wrong, or the database has another archive's rows
  4  the database did not do its part
  5  the archive cannot be read, or what is kept beside it cannot be written
  7  a file may not be opened by this account: use sudo
"""
VERBS = {
    "sync": (
        "carry out what became of the archive since the last sync (what the timer does)",
        "speedtest-database sync",
    ),
    "status": ("where the sink is, since when it fails, and the last dump", "speedtest-database status"),
    "migrate": ("bring the tables to what this version knows", "speedtest-database migrate"),
    "serve": ("be a server of one's own (what its unit does)", "speedtest-database serve --config postgresql.conf"),
    "prepare": ("have database and roles on a server of one's own (what its unit does)", "speedtest-database prepare"),
    "dump": ("write a dump, and prove it by a restore (what the timer does)", "speedtest-database dump"),
    "restore-test": ("restore a dump into a scratch database, and say what came", "speedtest-database restore-test"),
    "restore": (
        "put a dump in the place of the tables",
        "speedtest-database restore speedtest-20260131T021000Z.dump --yes",
    ),
}
KEEP = 7


def parser() -> argparse.ArgumentParser:
    """The command line."""
    raw = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser(
        prog="speedtest-database", description="The archive in PostgreSQL.", epilog=EXIT_CODES, formatter_class=raw
    )
    top.add_argument("--version", action="version", version=f"speedtest-database {__version__}")
    top.add_argument("--root", type=Path, default=default_root(), help="the archive; default %(default)s")
    made = add_verbs(top, VERBS)
    made["sync"].add_argument("--rebuild", action="store_true", help="remove all rows first, and fill it anew")
    made["status"].add_argument("--format", choices=("table", "json"), default="table")
    made["dump"].add_argument("--keep", type=int, default=KEEP, metavar="N", help="how many stay; default %(default)s")
    made["serve"].add_argument("--config", type=Path, required=True, metavar="FILE", help="its postgresql.conf")
    for name in ("restore-test", "restore"):
        made[name].add_argument(
            "file", metavar="FILE", nargs="?", help="the dump by its name, or a path; default: the newest"
        )
    made["restore"].add_argument("--yes", action="store_true", help="do it: the tables that are there are lost")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = parser().parse_args(argv)

    def act() -> int:
        os.umask(0o027)
        if argv is None:
            light.start()
        if args.verb not in ("serve", "prepare"):
            accounts.become_owner_in(args.root, "database")
        return RUN[args.verb](args)

    return exit_code_of("speedtest-database", act)


def sync(args: argparse.Namespace) -> int:
    """What the timer does."""
    from speedtest_logger.archive.read import followed
    from speedtest_logger.sinks import postgresql, settings, state
    from speedtest_logger.sinks.connection import connected

    layout, given = Layout(args.root), settings.load()
    with state.kept(state.place(layout.database) / followed.SYNC) as known, connected(given) as session:
        outcome = postgresql.Sink(layout, session, _progress()).sync(rebuild=args.rebuild)
        known.update({"line": outcome.line, "records": outcome.records, "months": outcome.months})
    Log(None).event("info", "synced", **vars(outcome), lag=followed.lag(layout))
    return EXIT_OK


def _progress() -> Callable[[str, int, int], None]:
    """Says on a terminal at which month a sync is; in the journal, where there are many."""

    def tell(month: str, done: int, of: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{month}: month {done + 1} of {of}", end="\n" if done + 1 == of else "", file=sys.stderr)
        elif of > 2:
            Log(None).event("info", "syncing", month=month, number=done + 1, of=of)

    return tell


def status(args: argparse.Namespace) -> int:
    """What is known without asking the server."""
    from speedtest_logger.archive.read import followed

    layout = Layout(args.root)
    synced, dumped = (followed.read(layout.database / name) for name in (followed.SYNC, followed.DUMP))
    found: dict[str, Any] = {
        "synced": synced.get("at"),
        "lag": followed.lag(layout),
        "failing_since": synced.get("failing_since"),
        "why": synced.get("why"),
        "dumped": dumped.get("at"),
        "dump": dumped.get("file"),
        "dump_failing_since": dumped.get("failing_since"),
        "dump_why": dumped.get("why"),
    }
    if args.format == "json":
        print(json.dumps(found, indent=2))
    else:
        rows = [(name.replace("_", " "), value) for name, value in found.items() if value is not None]
        print(as_table(["what", "is"], rows) if rows else "nothing was synced yet")
    return EXIT_UNHEALTHY if synced.get("failing_since") or dumped.get("failing_since") else EXIT_OK


def migrate(_: argparse.Namespace) -> int:
    """Tables only."""
    from speedtest_logger.sinks import settings, tables
    from speedtest_logger.sinks.connection import connected

    with connected(settings.load()) as session:
        session.take_lock()
        done = tables.migrate(session)
        tables.let_read(session)
        print(f"{len(done)} migrations carried out; the tables are of version {tables.version(session)}")
    return EXIT_OK


def serve(args: argparse.Namespace) -> NoReturn:
    """What the server's own unit runs: this process becomes the server."""
    from speedtest_logger.sinks import server

    folder = os.environ.get("SPEEDTEST_DATABASE_DIR")
    if not folder:
        raise UsageError("SPEEDTEST_DATABASE_DIR is not set: it names the directory of the server's databases")
    server.serve(Path(folder), args.config)


def prepare(_: argparse.Namespace) -> int:
    """What the server's own unit does once it answers."""
    from speedtest_logger.sinks import server, settings
    from speedtest_logger.sinks.connection import connected

    with connected(settings.load()) as session:
        server.prepare(session, server.reader_password())
    return EXIT_OK


def dump(args: argparse.Namespace) -> int:
    """What the other timer does."""
    from speedtest_logger.archive.read import followed
    from speedtest_logger.sinks import dumps, settings, state

    if args.keep < 1:
        raise UsageError(f"--keep is {args.keep}: one dump at least has to stay")
    layout, given = Layout(args.root), settings.load()
    folder = state.place(layout.database) / "dumps"
    folder.mkdir(mode=0o750, exist_ok=True)
    with state.kept(layout.database / followed.DUMP) as known:
        known.update(dumps.dump(given, folder, args.keep))
    Log(None).event("info", "dumped", **known)
    return EXIT_OK


def restore_test(args: argparse.Namespace) -> int:
    """A dump proved again."""
    from speedtest_logger.sinks import dumps, settings

    file = _dump(args)
    found = dumps.prove(settings.load(), file, None)
    print(as_table(["table", "rows"], [(name, digest.rows) for name, digest in found.items()]))
    return EXIT_OK


def restore(args: argparse.Namespace) -> int:
    """A dump in the place of what is there."""
    from speedtest_logger.sinks import dumps, settings

    file = _dump(args)
    if not args.yes:
        raise UsageError(f"{file} would take the place of all tables: add --yes")
    found = dumps.restore(settings.load(), file)
    print(f"{found['records'].rows} records of {file.name}; the next sync brings what came since")
    return EXIT_OK


def _dump(args: argparse.Namespace) -> Path:
    """The dump that is meant: a name is that of one of the archive's, whatever lies where the command is typed."""
    from speedtest_logger.sinks import dumps

    folder = args.root / "database/dumps"
    if args.file:
        return Path(args.file) if "/" in args.file else folder / args.file
    found = dumps.dumps(folder)
    if not found:
        raise UsageError(f"{folder} has no dump: make one, speedtest-database dump")
    return found[-1]


RUN: dict[str, Callable[[argparse.Namespace], int]] = {
    "sync": sync,
    "status": status,
    "migrate": migrate,
    "serve": serve,
    "prepare": prepare,
    "dump": dump,
    "restore-test": restore_test,
    "restore": restore,
}
