"""Dumps of the database, each of which is proved: restored into a scratch database, and equal to what was dumped.

A dump has the records in partitions, whatever they lie in here. Those of a hypertable go through the scratch database,
there and back: pg_dump sees none of its rows, which lie in another schema, and what it would say of its own tables
fits the same version of TimescaleDB alone.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from speedtest_logger.errors import DeliveryError, StorageError, UsageError
from speedtest_logger.files import new_beside, sync_directory
from speedtest_logger.sinks import tables
from speedtest_logger.sinks.connection import Session, connected
from speedtest_logger.sinks.server import fitting
from speedtest_logger.sinks.settings import Settings

SCRATCH = "speedtest_scratch"  # the database that a dump is restored into
NAME = "speedtest-%Y%m%dT%H%M%SZ.dump"
LONGEST = 3600  # s, for a statement that reads a whole table
PROVED_TABLES = (
    "records", "rollup_hour", "rollup_day", "schedule", "sink", "sink_month", "migration",
)  # fmt: skip


@dataclass(frozen=True)
class Digest:
    """What a table holds, in whatever order: the number of its rows, and the sum of their hashes."""

    rows: int
    hashes: int


Digests = dict[str, Digest]


def dump(settings: Settings, folder: Path, keep: int) -> dict[str, Any]:
    """Write a dump, prove it, and remove all but the newest `keep`; returns what it holds.

    Of the database's tables at one moment: a sync may go on meanwhile. One that is not proved is removed. Raises
    DeliveryError, StorageError.
    """
    began = time.monotonic()
    patient = replace(settings, timeout=LONGEST)
    file = folder / datetime.now(timezone.utc).strftime(NAME)
    temporary, stream = new_beside(file)
    try:
        with stream, connected(patient) as session:
            session.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            with _as_partitions(session) as (source, options):
                _run(source, "pg_dump", "--format=custom", "--no-owner", "--schema=speedtest", *options, output=stream)
            stream.flush()
            os.fsync(stream.fileno())
            wanted = digests(session)
        prove(settings, temporary, wanted)
        os.replace(temporary, file)
        sync_directory(folder)
    except OSError as error:
        raise StorageError(f"{folder}: the dump cannot be written: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)
    for old in dumps(folder)[:-keep]:
        old.unlink(missing_ok=True)
    return {
        "file": str(file),
        "bytes": file.stat().st_size,
        "records": wanted["records"].rows,
        "seconds": round(time.monotonic() - began, 1),
    }


def dumps(folder: Path) -> list[Path]:
    """The dumps in a folder, oldest first."""
    return sorted(folder.glob("speedtest-*.dump"))


def prove(settings: Settings, file: Path, wanted: Digests | None) -> Digests:
    """Restore a dump into a scratch database, which is removed again; returns what came.

    Raises DeliveryError where it cannot be restored, or where something else came than what is wanted.
    """
    patient = replace(settings, timeout=LONGEST)
    with _scratch(patient) as scratch, connected(scratch) as session:
        _run(session, "pg_restore", "--no-owner", "--exit-on-error", f"--dbname={SCRATCH}", str(file))
        found = digests(session)
    for table, digest in (wanted or {}).items():
        if found[table] != digest:
            raise DeliveryError(
                f"the dump is not what was dumped: speedtest.{table} has {found[table].rows} rows where "
                f"{digest.rows} were, or others"
            )
    return found


def restore(settings: Settings, file: Path) -> Digests:
    """Put a dump in the place of the schema speedtest; returns what came. Raises UsageError, DeliveryError."""
    if not file.is_file():
        raise UsageError(f"{file} is no dump: name one of `ls`, such as speedtest-20260131T021000Z.dump")
    with connected(replace(settings, timeout=LONGEST)) as session:
        session.take_lock()
        if settings.timescale:
            _restore_hypertable(session, file)
        else:
            tables.drop(session)
            _restore(session, file)
        return digests(session)


def _restore(session: Session, file: Path) -> None:
    """All of a dump, or nothing, into a session's database, which has no schema speedtest."""
    database = f"--dbname={session.settings.parameter('dbname')}"
    _run(session, "pg_restore", "--no-owner", "--exit-on-error", "--single-transaction", database, str(file))


def _restore_hypertable(session: Session, file: Path) -> None:
    """A dump in the place of the schema, its records as a hypertable; one that is of no use changes nothing."""
    with _scratch(session.settings) as scratch, connected(scratch) as copy:
        _restore(copy, file)
        tables.migrate(copy)
        tables.drop(session)
        tables.migrate(session)
        _copy(copy, session)


@contextmanager
def _as_partitions(session: Session) -> Iterator[tuple[Session, list[str]]]:
    """Where pg_dump finds what a session's transaction sees, and its options for that. Raises UsageError."""
    tables.check_form(session)
    if session.settings.timescale:
        with _scratch(session.settings) as scratch, connected(scratch) as copy:
            tables.migrate(copy)
            _copy(session, copy)
            yield copy, []
    else:
        yield session, [f"--snapshot={session.run('SELECT pg_export_snapshot()')[0][0]}"]


def _copy(source: Session, target: Session) -> None:
    """All rows from one database's tables in the place of another's, all or nothing."""
    with target.transaction():
        for month in tables.months(source):
            tables.make_partition(target, month)
        for table in PROVED_TABLES:
            name = sql.Identifier("speedtest", table)
            target.run(sql.SQL("TRUNCATE {}").format(name))
            read = source.connection.cursor().copy(sql.SQL("COPY (TABLE {}) TO STDOUT (FORMAT binary)").format(name))
            write = target.connection.cursor().copy(sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(name))
            with source.in_time(), read as rows, write as into:
                for piece in rows:
                    into.write(piece)


def digests(session: Session) -> Digests:
    """What each table holds."""
    found = {}
    for table in PROVED_TABLES:
        name = sql.Identifier("speedtest", table)
        statement = sql.SQL("SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) FROM {} AS t")
        rows, hashes = session.run(statement.format(name))[0]
        found[table] = Digest(int(rows), int(hashes))
    return found


@contextmanager
def _scratch(settings: Settings) -> Iterator[Settings]:
    """An empty database of its own on the same server, removed afterwards."""
    name = sql.Identifier(SCRATCH)
    with connected(settings) as session:
        session.run(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
        session.run(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(name))
        try:
            yield replace(settings.of_database(SCRATCH), timescale=False)
        finally:
            session.run(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))


def _run(session: Session, program: str, *arguments: str, output: Any = subprocess.DEVNULL) -> None:
    """Run one of PostgreSQL's programs; what says how to connect, a password too, is in a file of this account's."""
    programs = fitting(program, session.connection.info.server_version // 10_000)
    with tempfile.TemporaryDirectory(prefix="speedtest-database-") as folder:
        services = Path(folder) / "services"
        lines = [f"{name}={value}" for name, value in conninfo_to_dict(session.settings.conninfo).items()]
        services.touch(mode=0o600)
        services.write_text("\n".join(["[speedtest]", *lines, ""]), encoding="utf-8")
        environment = {"PATH": os.environ.get("PATH", ""), "PGSERVICE": "speedtest", "PGSERVICEFILE": str(services)}
        done = subprocess.run(
            [str(programs / program), "--no-password", *arguments],
            env=environment,
            stdout=output,
            stderr=subprocess.PIPE,
            check=False,
            timeout=12 * LONGEST,
        )
    if done.returncode:
        said = " ".join(done.stderr.decode(errors="replace").split())
        raise DeliveryError(f"{program}: {said[:300] or f'it ended with {done.returncode}'}")
