"""receive, ingest, coverage, query, export on real files."""

from __future__ import annotations

import csv
import io
import json
import uuid
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from builders import write_schedule

from speedtest_logger.archive import cli, open_archive
from speedtest_logger.archive.arrive import chunks, receive
from speedtest_logger.archive.format import layout
from speedtest_logger.archive.read import coverage, exporters
from speedtest_logger.archive.write import ingest, store
from speedtest_logger.errors import StorageError, UsageError
from speedtest_logger.record import NODE_RUNTIMES, RUNTIMES_WITHOUT_LOGIN, Record, run_id_of_slot, utc_text

NOW = 1_800_000_000
LIMITS = receive.Limits(free_mb=0, low_disk_mb=0)


@pytest.fixture
def archive(tmp_path):
    made = layout.Layout(tmp_path / "archive")
    made.prepare()
    return made


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    monkeypatch.setattr("time.time", lambda: float(NOW))


def row(moment=NOW - 1000, slot=None, **changes):
    base = Record(
        run_id=str(uuid.uuid4()) if slot is None else run_id_of_slot("attic", utc_text(slot)),
        node="attic",
        location="home",
        started_at=utc_text(moment),
        finished_at=utc_text(moment + 10),
        scheduled_at=None if slot is None else utc_text(slot),
        status="ok",
        download_bps=1e8,
        upload_bps=5e7,
    ).to_row()
    return {**base, **changes}


def deliver(archive, *rows, node="attic", limits=LIMITS):
    payload = b"".join(json.dumps(r).encode() + b"\n" for r in rows)
    return receive.receive(archive, node, io.BytesIO(payload), limits)


def rows(archive, sql="SELECT * FROM records ORDER BY started_at"):
    return open_archive(archive.root).query(sql).to_pylist()


def test_a_delivery_is_receipted_ingested_and_read_by_pandas(archive):
    sent = [row(), row(location="garden"), row(moment=NOW - 40 * 86_400)]
    receipt = deliver(archive, *sent)
    assert receipt["accepted"] == [r["run_id"] for r in sent]
    outcome = ingest.ingest(archive)
    assert (outcome.rows, outcome.added, outcome.duplicates, outcome.months) == (3, 3, 0, 3)
    assert not list(archive.inbox.glob("*/*"))
    frame = pd.read_parquet(archive.archive)
    assert set(frame["run_id"]) == {r["run_id"] for r in sent}
    assert set(frame["location"]) == {"home", "garden"}
    assert next(r["location"] for r in rows(archive)) == "home"
    assert len(rows(archive)) == 3


def test_files_are_sorted_zstd_and_know_their_schema(archive):
    deliver(archive, row(NOW - 10), row(NOW - 30), row(NOW - 20))
    ingest.ingest(archive)
    file = pq.ParquetFile(archive.month_files()[0])
    started = file.read()["started_at"].to_pylist()
    assert started == sorted(started)
    assert file.schema_arrow.metadata[b"schema_version"] == b"1"
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"


def test_the_same_record_counts_once_and_the_first_stands(archive):
    first = row()
    deliver(archive, first)
    ingest.ingest(archive)
    deliver(archive, {**first, "download_bps": 1.0}, first)
    deliver(archive, first)
    outcome = ingest.ingest(archive)
    assert (outcome.added, outcome.duplicates, outcome.different) == (0, 1, 1)
    assert rows(archive, "SELECT download_bps FROM records") == [{"download_bps": 1e8}]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text.replace('"attic"', '"porch"'),
        lambda text: text.replace("1e8", "x").replace("100000000.0", "true"),
    ],
)
def test_a_damaged_inbox_file_goes_to_quarantine_and_blocks_nothing(archive, damage):
    deliver(archive, row())
    file = next(archive.inbox.glob("attic/*.jsonl"))
    file.write_text(damage(file.read_text()))
    deliver(archive, row())
    outcome = ingest.ingest(archive)
    assert (outcome.quarantined, outcome.added) == (1, 1)
    assert not list(archive.inbox.glob("*/*"))
    assert json.loads(next(archive.quarantine.glob("attic/*.jsonl")).read_text())["line"]


def test_a_row_altered_to_another_valid_one_is_taken_in_and_said(archive):
    deliver(archive, row(), row())
    file = next(archive.inbox.glob("attic/*.jsonl"))
    altered = file.read_text().replace("100000000.0", "900000000.0", 1)
    file.write_text(altered)
    outcome = ingest.ingest(archive)
    assert (outcome.added, outcome.quarantined) == (2, 1)
    entry = json.loads(next(archive.quarantine.glob("attic/*.jsonl")).read_text())
    assert (entry["reason"], entry["file"], entry["line"]) == ("altered", file.name, altered)


def test_an_inbox_of_a_version_that_sealed_nothing_is_taken_in(archive):
    deliver(archive, row())
    file = next(archive.inbox.glob("attic/*.jsonl"))
    file.rename(file.with_name("01M85J774G5YM3DC8DA29QNV92.jsonl"))
    outcome = ingest.ingest(archive)
    assert (outcome.added, outcome.quarantined) == (1, 0)


def test_large_deliveries_are_the_same_rows_and_a_damaged_one_loses_its_line_only(archive, monkeypatch):
    monkeypatch.setattr(chunks, "LARGE_BYTES", 1)
    sent = [row(NOW - 10 * n, server_name=f'Zürich \x1b\u2028"{n}", =1+1') for n in range(1, 40)]
    deliver(archive, *sent[:30])
    assert ingest.ingest(archive).added == 30
    deliver(archive, *sent[30:])
    file = next(archive.inbox.glob("attic/*.jsonl"))
    file.write_bytes(file.read_bytes().replace(b'"server_name"', b'"server_mane"', 1))
    outcome = ingest.ingest(archive)
    assert (outcome.added, outcome.quarantined) == (8, 1)
    stored = rows(archive, "SELECT run_id, server_name FROM records")
    names = {each["run_id"]: each["server_name"] for each in sent}
    assert len(stored) == 38
    assert all(names[each["run_id"]] == each["server_name"] for each in stored)


def test_one_writer_at_a_time(archive):
    with store.single_writer(archive, "a test"), pytest.raises(StorageError):
        ingest.ingest(archive)


def entry(start, end=None, interval=600, offset=60):
    return {
        "valid_from": utc_text(start),
        "valid_to": None if end is None else utc_text(end),
        "interval_seconds": interval,
        "offset_seconds": offset,
    }


DAY = NOW - NOW % 86_400 - 86_400


def test_coverage_accounts_for_every_slot(archive):
    write_schedule(archive, attic=[entry(DAY)], porch=[entry(DAY + 3600)])
    slots = [DAY + 60 + 600 * n for n in range(6)]
    deliver(
        archive,
        row(slots[0] + 1, slots[0]),
        row(slots[1] + 1, slots[1], status="failed", reason="no_route"),
        row(slots[2] + 1, slots[2], status="skipped", reason="paused"),
        row(slots[3] + 50),
    )
    ingest.ingest(archive)
    found = {c.node: c.to_row() for c in coverage.coverage(open_archive(archive.root), DAY, DAY + 3600)}
    attic = found["attic"]
    assert {key: attic[key] for key in ("expected", "ok", "failed", "skipped", "missed", "pending", "unscheduled")} == {
        "expected": 6,
        "ok": 1,
        "failed": 1,
        "skipped": 1,
        "missed": 3,
        "pending": 0,
        "unscheduled": 1,
    }
    assert (attic["accounted_pct"], attic["reasons"]) == (50.0, "no_route 1, paused 1")
    assert "porch" not in found


def test_coverage_knows_the_schedules_history(archive):
    write_schedule(archive, attic=[entry(DAY, DAY + 3600), entry(DAY + 3600, DAY + 7200, interval=1800, offset=90)])
    cover = coverage.coverage(open_archive(archive.root), DAY - 3600, DAY + 86_400)[0]
    assert cover.expected == 6 + 2


def test_a_young_slot_is_pending(archive):
    write_schedule(archive, attic=[entry(NOW - 7200)])
    cover = coverage.coverage(open_archive(archive.root), NOW - 3600, NOW, grace=1200)[0]
    assert (cover.outcomes["missed"], cover.outcomes["pending"]) == (4, 2)


def test_a_schedule_that_cannot_be_read_says_what_to_do(archive):
    (archive.state / "schedule.json").write_text("{")
    with pytest.raises(StorageError, match=r"run site\.yml"):
        coverage.coverage(open_archive(archive.root), DAY, NOW)


def test_query_as_table_json_and_csv(archive, capsys):
    deliver(archive, row(server_name='a\x1b[31m,"b"', latency_ms=None))
    ingest.ingest(archive)
    sql = "SELECT node, server_name, started_at, latency_ms, download_bps FROM records"
    for form in ("table", "json", "csv"):
        assert cli.main(["--root", str(archive.root), "query", sql, "--format", form]) == 0
        text = capsys.readouterr().out
        if form == "table":
            assert "\x1b" not in text
            assert "attic" in text
        elif form == "json":
            assert json.loads(text)[0] == {
                "node": "attic",
                "server_name": 'a\x1b[31m,"b"',
                "latency_ms": None,
                "started_at": utc_text(NOW - 1000),
                "download_bps": 1e8,
            }
        else:
            assert next(csv.DictReader(io.StringIO(text)))["latency_ms"] == ""


def test_an_empty_archive_has_no_rows_and_no_error(archive):
    assert rows(archive, "SELECT node, count(*) AS n FROM records GROUP BY node") == []


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM read_text('/etc/passwd')",
        "COPY records TO '/tmp/stolen.csv'",
        "SET enable_external_access = true",
        "SELEC",
        "INSTALL httpfs",
    ],
)
def test_query_reads_the_archive_and_nothing_else(archive, sql):
    deliver(archive, row())
    ingest.ingest(archive)
    with pytest.raises(UsageError):
        open_archive(archive.root).query(sql)


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_export(archive, tmp_path, form):
    deliver(archive, row(DAY), row(DAY + 86_400))
    ingest.ingest(archive)
    out = tmp_path / f"out.{form}"
    assert exporters.export(open_archive(archive.root).only(start=DAY + 86_400), form, out) == 1
    if form == "parquet":
        assert pd.read_parquet(out)["location"].tolist() == ["home"]
    elif form == "csv":
        assert pd.read_csv(out)["node"].tolist() == ["attic"]
    else:
        assert json.loads(out.read_text())["started_at"] == utc_text(DAY + 86_400)


def test_not_an_archive_is_said(capsys, tmp_path: Path):
    assert cli.main(["--root", str(tmp_path), "ingest"]) == 2
    assert "is not an archive" in capsys.readouterr().err


def test_ulids_sort_by_time(monkeypatch):
    names = []
    for moment in (1.0, 2.0, 3.0):
        monkeypatch.setattr("time.time", lambda moment=moment: moment)
        names.append(layout.ulid())
    assert names == sorted(names)
    assert all(len(name) == 26 for name in names)


def test_ulids_of_one_millisecond_sort_as_they_were_made(monkeypatch):
    monkeypatch.setattr(layout.time, "time", lambda: 1_800_000_000.0)
    names = [layout.ulid() for _ in range(1000)]
    assert names == sorted(set(names))
    assert {len(name) for name in names} == {26}


def test_the_fleets_state_tells_of_nodes_and_of_a_backup_that_failed(archive, capsys, monkeypatch):
    deliver(
        archive, row(NOW - 100), row(NOW - 50, status="failed", reason="no_route", download_bps=None, upload_bps=None)
    )
    ingest.ingest(archive)
    monkeypatch.setenv("RESTIC_REPOSITORY", str(archive.root / "repository"))
    monkeypatch.setenv("PATH", str(archive.root))  # no restic there
    assert cli.main(["--root", str(archive.root), "backup"]) == 2
    assert "apt install restic" in capsys.readouterr().err
    assert cli.main(["--root", str(archive.root), "fleet"]) == 0
    state = json.loads(capsys.readouterr().out)
    assert (state["nodes"]["attic"]["records"], state["nodes"]["attic"]["last_status"]) == (2, "failed")
    assert state["nodes"]["attic"].get("day_download_bps") == row(NOW)["download_bps"]
    assert "apt install restic" in state["backup"]["failure"]["message"]
    assert "at" not in state["backup"]


def test_the_fleet_s_state_tells_what_nodes_say_that_nobody_can_ask(archive, capsys):
    said = {"version": "1.2.3", "last_seen": NOW, "converged": {"applied": 7, "at": NOW, "error": ""}}
    folder = archive.state / "nodes"
    folder.mkdir(exist_ok=True)
    (folder / "attic.json").write_text(json.dumps({"version": "1.2.3", "last_seen": NOW}))
    (folder / "shed.json").write_text(json.dumps(said))
    by_runtime = {name: {"version": "1.2.3", "last_seen": NOW, "runtime": name} for name in NODE_RUNTIMES}
    for name, of_node in by_runtime.items():
        (folder / f"{name}.json").write_text(json.dumps(of_node))
    assert cli.main(["--root", str(archive.root), "fleet"]) == 0
    nodes = json.loads(capsys.readouterr().out)["nodes"]
    assert nodes["shed"] == {"said": said}
    assert {name for name in NODE_RUNTIMES if "said" in nodes.get(name, {})} == set(RUNTIMES_WITHOUT_LOGIN)
    assert all(nodes[name] == {"said": by_runtime[name]} for name in RUNTIMES_WITHOUT_LOGIN)
    assert "said" not in nodes.get("attic", {})
