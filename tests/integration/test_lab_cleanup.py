"""A lab that is interrupted or killed half up leaves nothing behind, or is cleared by the next `down` (needs root)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from builders import ROOT

from lab import images

LAB = f"cleanup-{os.getpid()}"  # tests run side by side, those of other checkouts too


def lab(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "lab", *words], cwd=ROOT, capture_output=True, text=True, check=False)


def traces() -> list[str]:
    """Processes, mounts, namespaces and files of the lab."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if f"/{LAB}/" in line]
    processes = [
        entry.name
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and f"--machine={LAB}-".encode() in (read(entry / "cmdline"))
    ]
    return [*mounts, *processes, *map(str, (images.HOME / "labs").glob(LAB))]


def read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""


@pytest.fixture(autouse=True)
def image(monkeypatch):
    monkeypatch.setenv("SPEEDTEST_LAB_DIR", str(images.HOME))
    assert os.geteuid() == 0, "the lab needs root"
    done = lab("images", "build")
    assert done.returncode == 0, done.stderr
    yield
    lab("down", LAB)


def start_and_stop(signal_number: int, after: float) -> int:
    """Returns the exit code; a shell's background job ignores SIGINT and so would what it starts.

    `after` are seconds since it has said something: before that Python is just starting, and exits 1 when interrupted.
    """
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            ["env", "--default-signal=INT", sys.executable, "-m", "lab", "up", LAB, "one:bookworm", "two:bookworm"],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=said,
        )
        deadline = time.monotonic() + 120
        while not os.fstat(said.fileno()).st_size and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(after)
        process.send_signal(signal_number)
        return process.wait(timeout=300)


@pytest.mark.parametrize("after", [0.0, 0.3, 0.8])
@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_lab_removes_itself(signal_number, after):
    # 0: it was up and gone already; minus the signal: Python itself was just ending
    assert start_and_stop(signal_number, after) in (128 + signal_number, 0, -signal_number)
    if traces():  # it was up already when the signal came
        assert lab("down", LAB).returncode == 0
    assert traces() == []


def test_a_killed_lab_is_cleared_by_down():
    start_and_stop(signal.SIGKILL, 0.5)
    assert lab("down", LAB).returncode == 0
    assert traces() == []
    assert lab("down", LAB).returncode == 0  # already down is down


def test_a_lab_of_the_same_name_is_replaced():
    os.umask(0o077)  # of an administrator who keeps files to himself: the nodes boot all the same
    assert lab("up", LAB, "one:bookworm").returncode == 0
    done = lab("up", LAB, "two:trixie")
    assert done.returncode == 0, done.stderr
    assert "two" in lab("list", LAB).stdout
    assert "one" not in lab("list", LAB).stdout.split("image")[0]
