"""The loop as a process: a slot is measured, SIGTERM ends it and loses nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from builders import REPLAY_IPERF3, ROOT

from speedtest_logger.node.spool import Spool, record_from_csv


@pytest.fixture
def start(tmp_path, program):
    """Start a loop whose next slot is a few seconds away, or a minute more; it is ended with the test."""
    started = []

    def run(script: str) -> subprocess.Popen:
        environment = {
            "PATH": program("iperf3", script),
            "PYTHONPATH": str(ROOT / "src"),
            "SPEEDTEST_NODE": "attic",
            "SPEEDTEST_RUNTIME": "compose",
            "SPEEDTEST_STATE_DIR": str(tmp_path / "node"),
            "SPEEDTEST_LOG_FILE": str(tmp_path / "diag.log"),
            "SPEEDTEST_ENGINES": "iperf3",
            "SPEEDTEST_IPERF3_SERVERS": "127.0.0.1:9",
            "SPEEDTEST_OWN_SERVER_ALLOWED": "true",
            "SPEEDTEST_DISK_MIN_FREE_MB": "0",
            "SPEEDTEST_INTERVAL_SECONDS": "60",
            "SPEEDTEST_OFFSET_SECONDS": str(int(time.time() + 4) % 60),
            "SPEEDTEST_MEASURE_TIMEOUT_SECONDS": "30",
            "SPEEDTEST_START_TOLERANCE_SECONDS": "29",
        }
        process = subprocess.Popen([sys.executable, "-m", "speedtest_logger", "loop"], env=environment)
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


def wait_for(holds, seconds=180):
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)
    return found


def records(folder: Path):
    spool = Spool(folder / "node")
    return [record_from_csv(file.read_bytes()) for file in spool.waiting()] if spool.outbox.is_dir() else []


def test_a_slot_is_measured_by_a_process_of_its_own(tmp_path, start):
    process = start(REPLAY_IPERF3)
    (record,) = wait_for(lambda: records(tmp_path))
    assert (record.status, record.runtime) == ("ok", "compose")
    assert record.scheduled_at is not None
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert "loop_stopping" in (tmp_path / "diag.log").read_text()


def test_a_stop_leaves_the_record_of_the_running_measurement(tmp_path, start):
    mark = tmp_path / "engine"
    process = start(f"echo $$ >{mark}; exec sleep 60")
    engine = int(wait_for(lambda: mark.exists() and mark.read_text().strip()))
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    (record,) = records(tmp_path)
    assert (record.status, record.reason) == ("failed", "interrupted")
    wait_for(lambda: is_gone(engine))  # whoever its parent is now has to take notice


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False
