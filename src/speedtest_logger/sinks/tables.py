"""The database's tables: numbered migrations, and a partition of the records for each month, or a hypertable."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import date
from importlib import resources

from psycopg import sql

from speedtest_logger.errors import DeliveryError, UsageError
from speedtest_logger.sinks import hypertable
from speedtest_logger.sinks.connection import Session
from speedtest_logger.sinks.settings import READER, TIMESCALE

SCHEMA = "speedtest"
RECORDS = 1  # the number of the migration that makes the records' table
PARTITIONS, HYPERTABLE, PLAIN = "partitions", "a hypertable", "one table"  # what the records lie in
PARTITION = re.compile(r"records_(\d{4})_(\d\d)")


def migrations() -> dict[int, str]:
    """The SQL of each migration, by its number."""
    files = resources.files("speedtest_logger.sinks").joinpath("migrations").iterdir()
    return {int(file.name[:3]): file.read_text(encoding="utf-8") for file in files if file.name.endswith(".sql")}


def migrate(session: Session) -> list[int]:
    """Bring the tables to what this program knows; returns the numbers of the migrations that were carried out.

    Raises DeliveryError for tables of a later version, UsageError for records in another form than is wanted, and where
    the server has not what that one needs.
    """
    known = migrations()
    check_form(session)
    with session.transaction():
        if session.settings.timescale:
            hypertable.require(session)
        session.run("CREATE SCHEMA IF NOT EXISTS speedtest")
        session.run("""
            CREATE TABLE IF NOT EXISTS speedtest.migration
            (number integer PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())""")
        done = {number for (number,) in session.run("SELECT number FROM speedtest.migration")}
        if done - set(known):
            raise DeliveryError(
                f"its tables are of version {max(done)}, this program knows up to {max(known)}: "
                "install the version that made them, or a later one"
            )
        due = sorted(set(known) - done)
        for number in due:
            session.run(known[number])
            if number == RECORDS and session.settings.timescale:
                hypertable.make(session)
            session.run("INSERT INTO speedtest.migration (number) VALUES (%s)", number)
        if due:
            let_read(session)
    return due


def form(session: Session) -> str | None:
    """What the records lie in; None where there are no tables."""
    found = session.run("SELECT relkind::text FROM pg_class WHERE oid = to_regclass('speedtest.records')")
    if not found:
        return None
    if found[0][0] == "p":
        return PARTITIONS
    return HYPERTABLE if hypertable.is_one(session) else PLAIN


def check_form(session: Session) -> None:
    """Raises UsageError where the records lie in something else than is wanted."""
    found, wanted = form(session), _wanted(session)
    if found not in (None, wanted):
        raise UsageError(
            f"the database's records lie in {found}, and {TIMESCALE} asks for {wanted}: nothing was changed; "
            "`speedtest-database sync --rebuild` fills it anew"
        )


def drop_other_form(session: Session) -> None:
    """Remove the schema where its records lie in something else than is wanted. Raises UsageError."""
    if form(session) not in (None, _wanted(session)):
        drop(session)


def drop(session: Session) -> None:
    """Remove the schema with all that is in it. Raises UsageError."""
    with session.transaction():
        if session.settings.timescale:
            hypertable.require(session)  # before anything is lost
        else:
            hypertable.leave(session)
        session.run("DROP SCHEMA IF EXISTS speedtest CASCADE")


def _wanted(session: Session) -> str:
    return HYPERTABLE if session.settings.timescale else PARTITIONS


def let_read(session: Session) -> None:
    """Where there is a role that only reads, it may read all tables."""
    if session.run("SELECT 1 FROM pg_roles WHERE rolname = %s", READER):
        reader = sql.Identifier(READER)
        session.run(sql.SQL("GRANT USAGE ON SCHEMA speedtest TO {}").format(reader))
        session.run(sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA speedtest TO {}").format(reader))


def version(session: Session) -> int | None:
    """The number of the last migration; None where there are no tables."""
    if session.run("SELECT to_regclass('speedtest.migration')")[0][0] is None:
        return None
    found: int | None = session.run("SELECT max(number) FROM speedtest.migration")[0][0]
    return found


def next_month(month: date) -> date:
    """The first day of the month after the one that begins with a day."""
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)


def make_partition(session: Session, month: date) -> bool:
    """Have a place for the records of a month, a hypertable makes it by itself; whether it is new, and so empty."""
    if session.settings.timescale or month in months(session):
        return False
    session.run(
        sql.SQL("CREATE TABLE speedtest.{} PARTITION OF speedtest.records FOR VALUES FROM ({}) TO ({})").format(
            _partition(month), _begin(month), _begin(next_month(month))
        )
    )
    return True


def drop_months(session: Session, months: Iterable[date]) -> None:
    """Remove all of some months."""
    for month in months:
        span = (_text(month), _text(next_month(month)))
        if session.settings.timescale:
            hypertable.drop_month(session, *span)
        else:
            partition = _partition(month)
            session.run(sql.SQL("ALTER TABLE speedtest.records DETACH PARTITION speedtest.{}").format(partition))
            session.run(sql.SQL("DROP TABLE speedtest.{}").format(partition))
        for rollup in ("rollup_hour", "rollup_day"):
            table = sql.Identifier(SCHEMA, rollup)
            session.run(sql.SQL("DELETE FROM {} WHERE start >= %s AND start < %s").format(table), *span)


def months(session: Session) -> list[date]:
    """The months that the database has a place for, in order."""
    if session.settings.timescale:
        return hypertable.months(session)
    return sorted(_partitions(session))


def is_empty(session: Session, month: date) -> bool:
    """Whether no record of a month is there."""
    found = session.run(
        "SELECT EXISTS (SELECT FROM speedtest.records WHERE started_at >= %s AND started_at < %s)",
        _text(month),
        _text(next_month(month)),
    )
    return not found[0][0]


def clear(session: Session) -> None:
    """Remove all rows, and what is known of where the sink has got to."""
    session.run("TRUNCATE speedtest.records, speedtest.rollup_hour, speedtest.rollup_day, speedtest.sink_month")
    drop_months(session, months(session))
    session.run("UPDATE speedtest.sink SET cursor = NULL, line = -1, first_month = NULL, synced_at = NULL")


def _partitions(session: Session) -> Iterator[date]:
    for (name,) in session.run(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
        "WHERE i.inhparent = 'speedtest.records'::regclass"
    ):
        if found := PARTITION.fullmatch(name):
            yield date(int(found[1]), int(found[2]), 1)


def _partition(month: date) -> sql.Identifier:
    return sql.Identifier(f"records_{month:%Y_%m}")


def _begin(month: date) -> sql.Literal:
    return sql.Literal(_text(month))


def _text(month: date) -> str:
    return f"{month:%Y-%m-%d} 00:00:00+00"
