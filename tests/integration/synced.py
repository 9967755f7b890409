"""A database that follows an archive: how it is asked, and whether it has all that the archive has."""

from __future__ import annotations

from dataclasses import replace

import psycopg
from builders import FIRST, put, slot, stored

from speedtest_logger.archive.read.dataset import Archive
from speedtest_logger.record import utc_text
from speedtest_logger.sinks import postgresql, rows
from speedtest_logger.sinks.connection import connected


def sync(layout, into, *, rebuild=False, **settings):
    with connected(replace(into, **settings)) as session:
        return postgresql.Sink(layout, session).sync(rebuild=rebuild)


def ask(into, sql):
    with psycopg.connect(into.conninfo, options="-c TimeZone=UTC") as connection:
        return connection.execute(sql).fetchall()


def held(into):
    """What the database holds, as `stored` has it of the archive."""
    found = ask(into, "SELECT node, run_id::text, location, started_at FROM speedtest.records")
    return sorted((node, run, place, utc_text(at.timestamp())) for node, run, place, at in found)


def months(into):
    """The months that have a place: those of partitions; of a hypertable, which has no empty chunk, those of rows."""
    if not into.timescale:
        found = ask(into, "SELECT relname FROM pg_class WHERE relname ~ '^records_[0-9_]{7}$' ORDER BY 1")
        return [name.removeprefix("records_") for (name,) in found]
    with_rows = ask(into, "SELECT DISTINCT tableoid::regclass::text FROM speedtest.records")
    assert sorted(with_rows) == sorted(ask(into, "SELECT show_chunks('speedtest.records')::text"))
    found = ask(into, "SELECT DISTINCT to_char(started_at, 'YYYY_MM') FROM speedtest.records ORDER BY 1")
    return [month for (month,) in found]


def same(layout, into):
    """Whether the database has all that the archive has, and the rollups of just that."""
    assert held(into) == stored(layout)
    records = rows.of_records(
        [postgresql.records_of(layout, place, 0, 1 << 32) for place in Archive(layout).locations()]
    )
    for name, table in rows.rollups(records).items():
        names = ", ".join(table.column_names)
        found = ask(into, f"SELECT {names} FROM speedtest.{name} ORDER BY 2, 1, 3")
        assert found == [tuple(row.values()) for row in table.to_pylist()], name


def fill(layout, days=3, nodes=("attic", "shed")):
    for node in nodes:
        put(layout, *(slot(node, FIRST + hour * 3600, latency_ms=hour + 0.25) for hour in range(0, 24 * days, 5)))


def ask_nothing(into, sql):
    with psycopg.connect(into.conninfo, autocommit=True) as connection:
        connection.execute(sql)
