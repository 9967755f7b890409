"""The records as a hypertable of TimescaleDB: chunks of seven days in the place of a partition for each month.

Only what its Apache edition has, which is Debian's: no compression, no continuous aggregates, no policies. A month is
no whole number of chunks: of the first and the last one its rows are deleted, those in between are dropped.
"""

from __future__ import annotations

from datetime import date
from typing import LiteralString

import psycopg

from speedtest_logger.errors import UsageError
from speedtest_logger.sinks.connection import Session, said
from speedtest_logger.sinks.settings import TIMESCALE

SPAN: LiteralString = "started_at >= %s AND started_at < %s"
CHUNKS: LiteralString = (
    "FROM timescaledb_information.chunks WHERE hypertable_schema = 'speedtest' AND hypertable_name = 'records' "
)


def require(session: Session) -> None:
    """Have the extension in this database: whoever owns it may do that. Raises UsageError, which says what to set."""
    if not _is_loaded(session):
        raise UsageError(
            f"{TIMESCALE} is set, and this server does not load TimescaleDB: install it (Debian 13 has "
            "postgresql-17-timescaledb), add timescaledb to shared_preload_libraries in its postgresql.conf, restart "
            f"it; or do without {TIMESCALE}"
        )
    if not _is_created(session):
        try:
            session.run("CREATE EXTENSION timescaledb")
        except psycopg.Error as error:
            raise UsageError(
                f"{TIMESCALE} is set, and its extension cannot be made in this database ({said(error)}): let the "
                f"database's owner or a superuser run CREATE EXTENSION timescaledb there, or do without {TIMESCALE}"
            ) from error


def is_one(session: Session) -> bool:
    """Whether the records are a hypertable; answered without its library too."""
    if session.run("SELECT to_regclass('timescaledb_information.hypertables')")[0][0] is None:
        return False
    return bool(
        session.run(
            "SELECT 1 FROM timescaledb_information.hypertables "
            "WHERE hypertable_schema = 'speedtest' AND hypertable_name = 'records'"
        )
    )


def make(session: Session) -> None:
    """Make the records' table, which has partitions and no rows yet, a hypertable with the same columns and keys."""
    session.run("CREATE TEMPORARY TABLE form (LIKE speedtest.records INCLUDING ALL) ON COMMIT DROP")
    session.run("DROP TABLE speedtest.records")
    session.run("CREATE TABLE speedtest.records (LIKE pg_temp.form INCLUDING ALL)")
    session.run(
        "SELECT create_hypertable('speedtest.records', by_range('started_at', INTERVAL '7 days'), "
        "create_default_indexes => false)"
    )


def months(session: Session) -> list[date]:
    """The months that chunks reach into, in order: each that has a record, and the ones beside them."""
    found = session.run(
        "SELECT DISTINCT month::date FROM (SELECT range_start, range_end "
        + CHUNKS
        + ") AS chunk, generate_series(date_trunc('month', range_start), range_end - INTERVAL '1 microsecond', "
        "INTERVAL '1 month') AS month ORDER BY 1"
    )
    return [month for (month,) in found]


def drop_month(session: Session, begin: str, end: str) -> None:
    """Remove the records from one time to another, and chunks that are empty then."""
    _drop_chunks(session, begin, end)
    session.run("DELETE FROM speedtest.records WHERE " + SPAN, begin, end)
    overlapping = "AND range_start < %s::timestamptz AND range_end > %s::timestamptz"
    for chunk in session.run("SELECT range_start, range_end " + CHUNKS + overlapping, end, begin):
        if not session.run("SELECT 1 FROM speedtest.records WHERE " + SPAN + " LIMIT 1", *chunk):
            _drop_chunks(session, *chunk)


def leave(session: Session) -> None:
    """Within a transaction: where the server no longer loads the library, do away with the extension.

    As long as it is there, such a server refuses to make or drop any table of the database. Raises UsageError where
    others have hypertables there, which would go with it.
    """
    if _is_loaded(session) or not _is_created(session):
        return
    if session.run("SELECT 1 FROM timescaledb_information.hypertables WHERE hypertable_schema <> 'speedtest'"):
        raise UsageError(
            "this server no longer loads TimescaleDB, and others have hypertables in this database: add timescaledb "
            "to shared_preload_libraries in its postgresql.conf, and restart it"
        )
    session.run("SET LOCAL timescaledb.allow_install_without_preload = 'on'")
    session.run("DROP EXTENSION timescaledb CASCADE")


def _drop_chunks(session: Session, begin: object, end: object) -> None:
    """Drop the chunks that lie wholly between two times."""
    session.run(
        "SELECT drop_chunks('speedtest.records', newer_than => %s::timestamptz, older_than => %s::timestamptz)",
        begin,
        end,
    )


def _is_loaded(session: Session) -> bool:
    """Whether the server loads the library: who may not see shared_preload_libraries sees its loader's setting."""
    return session.run("SELECT current_setting('timescaledb.disable_load', true)")[0][0] is not None


def _is_created(session: Session) -> bool:
    return bool(session.run("SELECT 1 FROM pg_extension WHERE extname = 'timescaledb'"))
