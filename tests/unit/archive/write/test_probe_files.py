"""Results of probes become days' files: each once, the first one stands, and nothing of them is in a record's way."""

from __future__ import annotations

import io
import json
import time

import pyarrow.parquet as pq

from speedtest_logger import wire
from speedtest_logger.archive import cli
from speedtest_logger.archive.arrive import receive
from speedtest_logger.archive.care import verify
from speedtest_logger.archive.format.schema import PROBE_SCHEMA
from speedtest_logger.archive.write import ingest, probes
from speedtest_logger.probe_result import ProbeResult
from speedtest_logger.record import utc_text

DAY = 86_400
LIMITS = receive.Limits(free_mb=0, low_disk_mb=0)


def result(back, **more):
    start = time.time() // DAY * DAY - back
    row = ProbeResult(
        started_at=utc_text(start), finished_at=utc_text(start + 241), location="home", probe="ping", target="1.1.1.1",
        runs=5, sent=15, lost=0, min_ms=8.0, median_ms=9.0, p90_ms=12.5, max_ms=20.0,
    ).to_row()  # fmt: skip
    return {**row, **more}


def deliver(archive, *results, node="attic"):
    assert receive.receive(archive, node, io.BytesIO(wire.probe_lines(results)), LIMITS)["probes"]


def stored(archive, *columns):
    rows = [row for file in archive.probe_files() for row in pq.read_table(file).to_pylist()]
    return [tuple(row[name] for name in columns) for row in rows]


def test_a_days_results_of_all_nodes_are_one_file_in_order(archive):
    deliver(archive, result(300, probe="dns", target="example.org"), result(300), result(600), node="porch")
    deliver(archive, result(301, lost=15, min_ms=None, median_ms=None, p90_ms=None, max_ms=None), result(2 * DAY))
    outcome = ingest.ingest(archive)
    assert (outcome.probe_results, outcome.damaged) == (5, [])
    older, file = archive.probe_files()
    found = pq.read_table(file)
    assert found.schema.names == PROBE_SCHEMA.names
    assert found.column("started_at").type == PROBE_SCHEMA.field("started_at").type
    assert stored(archive, "node", "probe", "median_ms")[1:] == [
        ("attic", "ping", None), ("porch", "dns", 9.0), ("porch", "ping", 9.0), ("porch", "ping", 9.0),
    ]  # fmt: skip
    times = pq.read_table(file)["started_at"].to_pylist()
    assert times[2] < times[3]
    assert pq.read_table(older).num_rows == 1
    assert not list(archive.probe_inbox.glob("*/*"))
    assert verify.verify(archive) == []  # the manifest speaks of records only
    assert file.stat().st_mode & 0o007 == 0


def test_a_result_that_comes_twice_is_kept_once_and_the_first_one_stands(archive):
    deliver(archive, result(300), result(300, lost=7))
    deliver(archive, result(300, lost=8), result(600))
    ingest.ingest(archive)
    deliver(archive, result(300, lost=9), result(900))
    deliver(archive, result(300, lost=5), node="porch")  # another one's
    assert ingest.ingest(archive).probe_results == 2
    assert stored(archive, "node", "lost") == [("attic", 0), ("attic", 0), ("attic", 0), ("porch", 5)]


def test_a_damaged_file_is_set_aside_and_told_of(archive):
    deliver(archive, result(300))
    ingest.ingest(archive)
    [file] = archive.probe_files()
    file.write_bytes(file.read_bytes()[:-40])
    deliver(archive, result(600))
    assert ingest.ingest(archive).damaged == []
    assert len(stored(archive, "node")) == 1
    [problem] = probes.problems(archive)
    assert str(file.with_name(f"damaged-{file.name}")) in problem


def test_lines_that_are_damaged_are_kept_aside(archive):
    deliver(archive, result(300))
    [file] = archive.probe_inbox.glob("*/*")
    file.write_bytes(b'nonsense\n{}\n7\n{"probe": "ping"}\n' + file.read_bytes())
    ingest.ingest(archive)
    assert len(stored(archive, "node")) == 1
    assert len(list(archive.quarantine.glob("attic/*.jsonl"))) == 4


def test_a_disk_that_fails_under_results_fails_no_record(archive, monkeypatch):
    deliver(archive, result(300))

    def full(self, day, rows):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(probes.Taking, "_write_day", full)
        [problem] = ingest.ingest(archive).damaged
    assert "results of probes wait in" in problem
    assert "No space left" in problem
    assert ingest.ingest(archive).probe_results == 1


def test_older_days_go_and_the_others_stay(archive, capsys):
    deliver(archive, *(result(number * DAY - 60) for number in range(1, 10)))
    ingest.ingest(archive)
    run = ["--root", str(archive.root), "prune", "--probes-older-than", "5d", "--format", "json"]
    assert cli.main(run) == 0
    listed = json.loads(capsys.readouterr().out)
    assert len(archive.probe_files()) == 9
    assert cli.main([*run, "--yes"]) == 0
    assert len(listed) == 9 - len(archive.probe_files()) > 0
    assert {row["file"].partition("/")[0] for row in listed} == {"probes"}
    assert len(list(archive.probes.glob("year=*/month=*/day=*"))) == len(archive.probe_files())
