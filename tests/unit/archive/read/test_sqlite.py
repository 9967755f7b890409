"""A SQLite file has the archive's records, typed, and answers as the archive does."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from builders import DAY, FIRST, by_hand, put, run, slot

from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.read.dataset import Archive
from speedtest_logger.record import COLUMNS

NAMES = ", ".join(COLUMNS)


@pytest.fixture
def layout(tmp_path):
    made = Layout(tmp_path / "archive")
    made.prepare()
    put(
        made,
        *(slot("attic", FIRST + number * 3600, latency_ms=0.1 * number, bytes_sent=2**53 - 1) for number in range(30)),
        by_hand("shed", 3, FIRST + DAY, "garden", message='a "word",\nline', packet_loss_pct=0.0),
        slot("shed", FIRST + 40 * DAY, status="failed", reason="no_route", download_bps=None, upload_bps=None),
    )
    return made


def exported(layout, file, *words):
    assert run(layout, "export", "--format", "sqlite", *words, str(file)) == 0
    return closing(sqlite3.connect(file))


def test_every_value_is_the_archives(layout, tmp_path):
    with exported(layout, tmp_path / "rows.sqlite") as database:
        found = database.execute(f"SELECT {NAMES} FROM records ORDER BY started_at, node").fetchall()
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    wanted = Archive(layout).query(f"SELECT {NAMES} FROM records ORDER BY started_at, node").to_pylist()
    times = [name for name, kind in COLUMNS.items() if kind == "time"]
    for row in wanted:
        for name in times:
            row[name] = row[name] and row[name].strftime("%Y-%m-%dT%H:%M:%S.") + f"{row[name].microsecond // 1000:03}Z"
    assert len(found) == 32
    assert found == [tuple(row.values()) for row in wanted]


def test_it_is_typed_and_a_record_is_there_once(layout, tmp_path):
    with exported(layout, tmp_path / "rows.sqlite") as database:
        for change in ("download_bps = 'fast'", "status = NULL"):
            with pytest.raises(sqlite3.IntegrityError):
                database.execute(f"UPDATE records SET {change}")
        with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
            database.execute("INSERT INTO records SELECT * FROM records")
        days = database.execute("SELECT DISTINCT date(started_at) FROM records ORDER BY 1").fetchall()
        plan = database.execute("EXPLAIN QUERY PLAN SELECT * FROM records WHERE node = 'attic' AND started_at > 'x'")
        assert "USING INDEX records_node_started_at" in plan.fetchone()[-1]
    assert days == [("2026-01-01",), ("2026-01-02",), ("2026-02-10",)]


def test_it_is_narrowed_as_other_exports_are_and_replaces_a_file_as_a_whole(layout, tmp_path):
    file = tmp_path / "rows.sqlite"
    exported(layout, file).thing.close()
    with exported(layout, file, "--node", "shed", "--from", "2026-02-01") as database:
        assert database.execute("SELECT node, status FROM records").fetchall() == [("shed", "failed")]
