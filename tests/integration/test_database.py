"""The PostgreSQL sink on real servers: it holds what the archive holds, for whoever may read it."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import psycopg
import pytest
from builders import DAY, FIRST, by_hand, put, slot
from synced import ask, ask_nothing, fill, held, months, same, sync

from speedtest_logger import registry
from speedtest_logger.archive.care import prune, repair
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.read import coverage as coverage_
from speedtest_logger.archive.read.dataset import Archive
from speedtest_logger.archive.read.local_time import Zone
from speedtest_logger.archive.read.rollup import Rollups
from speedtest_logger.errors import UsageError
from speedtest_logger.record import COLUMNS, utc_text
from speedtest_logger.sinks import rows, tables
from speedtest_logger.sinks.settings import READER

JANUARY = "location=home/year=2026/month=01/speedtest.parquet"


def test_every_column_of_every_record_is_as_the_archive_has_it(layout, into):
    odd = 'a "word", a\nline, \\N, \t and é'
    put(
        layout,
        slot("attic", FIRST, message="", server_name=odd, latency_ms=0.1 + 0.2, bytes_sent=2**53 - 1, ip_family=6),
        by_hand("attic", 7, FIRST + 60, "garden", download_bps=1e-300, packet_loss_pct=0.0),
        slot("shed", FIRST + 40 * DAY, status="failed", reason="engine_timeout", download_bps=None, upload_bps=None),
    )
    assert sync(layout, into).records == 3
    names = ", ".join(COLUMNS)
    found = {str(row[1]): row for row in ask(into, f"SELECT {names} FROM speedtest.records")}
    wanted = Archive(layout).query(f"SELECT {names} FROM records").to_pylist()
    assert len(wanted) == len(found) == 3
    for row in wanted:
        assert [str(v) if name == "run_id" else v for name, v in zip(COLUMNS, found[row["run_id"]], strict=True)] == [
            *row.values()
        ]
    kinds = dict(
        ask(
            into,
            "SELECT column_name, data_type FROM information_schema.columns "
            "WHERE table_schema = 'speedtest' AND table_name = 'records'",
        )
    )
    words = {"int": "bigint", "float": "double precision", "time": "timestamp with time zone", "uuid": "uuid"}
    assert kinds == {name: words.get(kind, "text") for name, kind in COLUMNS.items()}
    assert months(into) == ["2026_01", "2026_02"]


def test_what_comes_after_follows_and_nothing_is_written_twice(layout, into):
    fill(layout)
    assert sync(layout, into).months == 1
    same(layout, into)
    untouched = ask(into, "SELECT node, run_id, xmin::text FROM speedtest.records ORDER BY 1, 2")
    put(layout, slot("attic", FIRST + 1800), slot("attic", FIRST + 35 * DAY))
    outcome = sync(layout, into)
    assert outcome.months == 2
    same(layout, into)
    later = set(ask(into, "SELECT node, run_id, xmin::text FROM speedtest.records"))
    assert len(later) == len(untouched) + 2
    assert set(untouched) < later
    assert sync(layout, into).records == 0


def test_a_month_that_was_pruned_restored_or_accepted_follows(layout, into, tmp_path):
    fill(layout, days=40)
    sync(layout, into)
    assert months(into) == ["2026_01", "2026_02"]
    good = tmp_path / "good.parquet"
    good.write_bytes((layout.archive / JANUARY).read_bytes())
    prune.prune(layout, time.time(), (time.time() - FIRST) - 40 * DAY, None)
    assert [layout.name(file) for file in layout.month_files()] == [JANUARY.replace("=01", "=02")]
    sync(layout, into)
    assert months(into) == ["2026_02"]
    same(layout, into)
    put(layout, slot("attic", FIRST + 60))
    sync(layout, into)
    (layout.archive / JANUARY).unlink()
    repair.put_back(layout, JANUARY, good)
    sync(layout, into)
    assert len(held(into)) > 100
    same(layout, into)
    (layout.archive / JANUARY).unlink()
    repair.accept(layout, JANUARY, "the disk took it")
    sync(layout, into)
    same(layout, into)
    assert months(into) == ["2026_02"]


def test_a_record_of_the_same_run_that_became_another_one_is_replaced(layout, into):
    fill(layout)
    sync(layout, into)
    ask_nothing(into, "UPDATE speedtest.records SET message = 'by hand' WHERE started_at < '2026-01-02'")
    ask_nothing(into, "DELETE FROM speedtest.records WHERE node = 'shed' AND started_at < '2026-01-02'")
    put(layout, slot("attic", FIRST + 1800))  # the day is looked at again
    sync(layout, into)
    assert ask(into, "SELECT count(*) FROM speedtest.records WHERE message IS NOT NULL") == [(0,)]
    same(layout, into)


def test_rollups_are_those_of_the_archive(layout, into, tmp_path):
    fill(layout, days=5)
    sync(layout, into)
    made = Rollups(layout, tmp_path / "rollups.duckdb", Zone.named("UTC"))
    names = ["node", "location", *(name for name, _ in rows.BAND_KINDS)]
    for table in ("hour", "day"):
        wanted = made.rows(f"SELECT {', '.join(names)}, start FROM {table} ORDER BY node, location, start")
        found = ask(
            into,
            f"SELECT {', '.join(names)}, extract(epoch FROM start)::bigint "
            f"FROM speedtest.rollup_{table} ORDER BY node, location, start",
        )
        assert len(found) > 10
        assert found == [tuple(row.values()) for row in wanted]
    made.close()


def test_latest_and_coverage_are_those_of_the_archive(layout, into):
    now = int(time.time()) // 600 * 600
    begin = now - 3 * DAY
    slots = [at for at in range(begin, now, 600) if at % 7000 > 900]
    put(layout, *(slot("attic", at, **outcome(number)) for number, at in enumerate(slots)))
    put(layout, by_hand("attic", 3, now - 500), slot("shed", now - DAY))
    (layout.root / "fleet").mkdir(exist_ok=True)
    entry = {"interval_seconds": 600, "offset_seconds": 0, "location": "home"}
    history = [
        {**entry, "valid_from": utc_text(begin + 5000.5), "valid_to": utc_text(begin + DAY)},
        {**entry, "interval_seconds": 1200, "valid_from": utc_text(begin + DAY), "valid_to": None},
    ]
    file = layout.root / registry.PLACES[0]
    file.write_text(json.dumps({"nodes": {"attic": history, "shed": history[:1]}}))
    sync(layout, into)
    counts = ("expected", "ok", "partial", "failed", "skipped", "missed", "pending")
    found = {
        (node, str(day)): dict(zip(counts, numbers, strict=True))
        for node, day, *numbers in ask(into, f"SELECT node, day, {', '.join(counts)} FROM speedtest.coverage_day")
    }
    wanted = {
        (cover.node, cover.day): {"expected": cover.expected, **cover.outcomes}
        for cover in coverage_.coverage(Archive(layout), begin - DAY, time.time(), by_day=True)
        if cover.expected
    }
    assert len(wanted) >= 4
    assert found == wanted
    last = ask(into, "SELECT node, extract(epoch FROM started_at)::int FROM speedtest.latest ORDER BY 1")
    assert last == [("attic", now - 499), ("shed", now - DAY + 1)]


def outcome(number):
    if number % 5:
        return {}
    return {"status": "failed", "reason": "engine_timeout", "download_bps": None, "upload_bps": None}


def test_rebuild_has_the_same_and_another_archive_is_refused(layout, into, tmp_path):
    fill(layout)
    sync(layout, into)
    before = ask(into, "SELECT * FROM speedtest.records ORDER BY node, started_at")
    ask_nothing(into, "DELETE FROM speedtest.records WHERE node = 'attic'")
    sync(layout, into, rebuild=True)
    assert ask(into, "SELECT * FROM speedtest.records ORDER BY node, started_at") == before
    other = Layout(tmp_path / "other")
    other.prepare()
    put(other, slot("barn", FIRST + DAY))
    with pytest.raises(UsageError, match=r"the rows of another archive.*nothing was changed.*--rebuild` fills it anew"):
        sync(other, into)
    same(layout, into)
    sync(other, into, rebuild=True)
    same(other, into)


def test_the_form_of_the_records_changes_by_a_rebuild_alone_and_nothing_is_lost(layout, into, server):
    fill(layout, days=40)
    sync(layout, into)
    other = not into.timescale
    asked = r"lie in (partitions|a hypertable), and SPEEDTEST_DATABASE_TIMESCALE.*nothing was changed.*--rebuild`"
    with pytest.raises(UsageError, match=asked):
        sync(layout, into, timescale=other)
    same(layout, into)
    if server.timescale:
        for timescale in (other, into.timescale):
            sync(layout, into, rebuild=True, timescale=timescale)
            assert months(replace(into, timescale=timescale)) == ["2026_01", "2026_02"]
            same(layout, into)
    else:
        with pytest.raises(UsageError, match=r"does not load TimescaleDB: install it .* shared_preload_libraries"):
            sync(layout, into, rebuild=True, timescale=True)
        same(layout, into)


def test_months_that_are_too_old_are_not_there_and_come_when_more_are_kept(layout, into):
    this = datetime.now(timezone.utc).date().replace(day=1)
    begins = [this]
    for _ in range(3):
        begins.append((begins[-1] - timedelta(days=1)).replace(day=1))
    at = [datetime(day.year, day.month, 1, tzinfo=timezone.utc).timestamp() for day in begins]
    put(layout, *(slot("attic", moment) for moment in (*at, FIRST)))
    sync(layout, into, keep_months=2)
    assert len(months(into)) == 2
    assert months(into)[-1] == f"{this:%Y_%m}"
    sync(layout, into, keep_months=1)
    assert months(into) == [f"{this:%Y_%m}"]
    assert ask(into, "SELECT DISTINCT date_trunc('month', start)::date FROM speedtest.rollup_hour") == [(this,)]
    sync(layout, into)
    same(layout, into)


def test_who_reads_cannot_write(layout, into, server):
    ask_nothing(into, f"DO $$ BEGIN CREATE ROLE {READER} LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    fill(layout)
    sync(layout, into)
    put(layout, slot("attic", FIRST + 40 * DAY))
    sync(layout, into)  # a partition that came later is read through its table
    reader = replace(into, conninfo=into.conninfo.replace("user=postgres", f"user={READER}"))
    (place,) = ask(into, "SELECT tableoid::regclass FROM speedtest.records LIMIT 1")[0]
    for name in ("records", "rollup_hour", "rollup_day", "latest", "coverage_day"):
        ask(reader, f"SELECT count(*) FROM speedtest.{name}")
    assert ask(reader, "SELECT count(*) FROM speedtest.records") == ask(into, "SELECT count(*) FROM speedtest.records")
    if into.timescale:
        bucket = "SELECT time_bucket('7 days', started_at), last(status, started_at) FROM speedtest.records GROUP BY 1"
        assert ask(reader, bucket)
    for statement in (
        "DELETE FROM speedtest.records",
        "UPDATE speedtest.sink SET cursor = NULL",
        "INSERT INTO speedtest.sink_month VALUES ('2026-01-01', 'x')",
        "TRUNCATE speedtest.rollup_day",
        f"DROP TABLE {place}",
        "CREATE TABLE speedtest.mine (a int)",
        *(["SELECT drop_chunks('speedtest.records', older_than => now())"] if into.timescale else []),
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            ask_nothing(reader, statement)


def test_migrations_are_numbered_without_a_gap():
    assert sorted(tables.migrations()) == list(range(1, len(tables.migrations()) + 1))
