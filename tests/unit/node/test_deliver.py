"""measure --deliver: 0 once the slot's record is on disk, whatever became of the line and of the archive."""

from __future__ import annotations

import io
import json
import os
import time

import pytest

from speedtest_logger.archive.arrive import receive
from speedtest_logger.errors import EXIT_FAILED_MEASUREMENT, EXIT_OK, EXIT_STORAGE, DeliveryError
from speedtest_logger.node import cli, push

LIMITS = receive.Limits(free_mb=0, low_disk_mb=0, oldest_days=36_500)
NOW = 1_800_000_000  # a slot


@pytest.fixture
def pod(tmp_path, program, monkeypatch):
    """A node by its environment, whose engine fails; its state directory."""
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(time, "sleep", lambda _: None)
    variables = {
        "node": "attic",
        "runtime": "kubernetes",
        "interval_seconds": "60",
        "measure_timeout_seconds": "20",
        "engines": "iperf3",
        "iperf3_servers": "192.0.2.1",
        "disk_min_free_mb": "0",
        "archive_host": "192.0.2.1",
        "state_dir": str(tmp_path / "state"),
        "log_file": str(tmp_path / "log"),
    }
    for name, value in variables.items():
        monkeypatch.setenv(f"SPEEDTEST_{name.upper()}", value)
    monkeypatch.setenv("PATH", program("iperf3", "exit 1"))
    (tmp_path / "state").mkdir()
    return tmp_path / "state"


@pytest.fixture
def reached(archive, monkeypatch):
    """An archive that answers; clear() cuts it off."""
    ways = [True]

    def send(settings, lines):
        if not ways:
            raise DeliveryError("no way there")
        return receive.receive(archive, settings.node, io.BytesIO(lines), LIMITS)

    monkeypatch.setattr(push, "send", send)
    return ways


def at(monkeypatch, moment):
    monkeypatch.setattr(time, "time", lambda: float(moment))


def rows(archive):
    files = archive.inbox.glob("attic/*.jsonl")
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def test_a_slot_while_the_archive_is_out_is_delivered_with_the_next_one(pod, archive, reached, monkeypatch):
    reached.clear()
    at(monkeypatch, NOW + 9)
    assert cli.main(["measure", "--scheduled", "--deliver"]) == EXIT_OK
    assert len(list((pod / "outbox").iterdir())) == 1
    reached.append(True)
    at(monkeypatch, NOW + 61)  # `push` alone would still rest after the failure
    assert cli.main(["measure", "--scheduled", "--deliver"]) == EXIT_OK
    assert list((pod / "outbox").iterdir()) == []
    found = rows(archive)
    assert {row["runtime"] for row in found} == {"kubernetes"}
    assert len({row["scheduled_at"] for row in found}) == len(found) == 2


def test_two_runs_for_one_slot_are_one_record(pod, archive, reached, monkeypatch):
    at(monkeypatch, NOW)
    assert [cli.main(["measure", "--scheduled", "--deliver"]) for _ in range(2)] == [EXIT_OK, EXIT_OK]
    assert len(rows(archive)) == 1


def test_a_failed_measurement_is_no_failed_job_but_is_one_without_deliver(pod, reached, monkeypatch):
    at(monkeypatch, NOW)
    assert cli.main(["measure", "--scheduled"]) == EXIT_FAILED_MEASUREMENT
    at(monkeypatch, NOW + 60)
    assert cli.main(["measure", "--scheduled", "--deliver"]) == EXIT_OK


def test_where_nothing_could_be_written_the_job_fails(pod, reached):
    pod.rmdir()
    pod.write_text("no directory")
    assert cli.main(["measure", "--scheduled", "--deliver"]) == EXIT_STORAGE


def test_what_went_wrong_with_the_delivery_is_in_the_log(pod, reached, monkeypatch, tmp_path):
    reached.clear()
    at(monkeypatch, NOW)
    cli.main(["measure", "--scheduled", "--deliver"])
    events = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert events[-1]["event"] == "delivery_put_off"
    assert "no way there" in events[-1]["message"]
