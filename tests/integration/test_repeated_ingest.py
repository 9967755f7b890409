"""ingest as a container runs it: again and again, until it is told to end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import builders
import pytest
from builders import ROOT, slot
from front import wait

from speedtest_logger.archive import open_archive
from speedtest_logger.archive.format.layout import Layout

PROGRAM = "import sys; from speedtest_logger.archive.cli import main; sys.exit(main())"
FIRST_PROCESS = ["unshare", "--fork", "--pid", "--kill-child", "--mount-proc"]


@pytest.fixture
def layout(tmp_path):
    made = Layout(tmp_path / "archive")
    made.root.mkdir()
    made.prepare()
    return made


@pytest.fixture
def started(layout):
    begun = []

    def start(*before, seconds=1):
        argv = [*before, sys.executable, "-c", PROGRAM, "--root", str(layout.root)]
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}/src"}
        with open(layout.root.with_name("log"), "ab") as log:
            begun.append(
                subprocess.Popen([*argv, "ingest", "--every", str(seconds)], env=environment, stdout=log, stderr=log)
            )
        return begun[-1]

    yield start
    for process in begun:
        process.kill()
        process.wait(60)


def arrives(layout, row):
    """A delivery as receive leaves it: all of it at once."""
    staging = Layout(layout.root.with_name("staging"))
    staging.inbox.mkdir(parents=True, exist_ok=True)
    builders.wait(staging, row)
    [made] = staging.inbox.glob("*/*.jsonl")
    place = layout.inbox / made.parent.name
    place.mkdir(exist_ok=True)
    made.replace(place / made.name)


def rows(layout):
    return open_archive(layout.root).to_arrow(["run_id"]).num_rows


def test_what_comes_later_is_taken_in_by_a_later_run(layout, started):
    process = started()
    now = time.time()
    for count in (1, 2):
        arrives(layout, slot("attic", now - 600 * count))
        wait(lambda: not list(layout.inbox.glob("*/*.jsonl")))
        assert rows(layout) == count
    process.terminate()
    assert process.wait(60) == 0


def test_a_run_that_fails_says_so_and_the_next_one_tries_again(layout, started):
    log = layout.root.with_name("log")
    builders.put(layout, slot("attic", builders.FIRST))
    [month] = layout.month_files()
    good = month.read_bytes()
    month.write_bytes(b"nonsense")
    arrives(layout, slot("attic", builders.FIRST + 600))  # of the same month
    process = started()
    wait(lambda: "speedtest-archive: " in log.read_text())
    assert process.poll() is None
    month.write_bytes(good)
    wait(lambda: not list(layout.inbox.glob("*/*.jsonl")))
    assert rows(layout) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_container_s_first_process_hears_that_it_is_to_end(layout, started, number):
    arrives(layout, slot("attic", time.time() - 600))
    process = started(*FIRST_PROCESS, seconds=3600)
    wait((layout.state / "ingest.json").exists)
    [child] = subprocess.check_output(["pgrep", "--parent", str(process.pid)], text=True).split()
    os.kill(int(child), number)
    assert process.wait(60) == 0


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "86401", "day", ""])
def test_what_is_no_interval_is_refused(layout, text):
    argv = [sys.executable, "-c", PROGRAM, "--root", str(layout.root), "ingest", f"--every={text}"]
    done = subprocess.run(
        argv, env={**os.environ, "PYTHONPATH": f"{ROOT}/src"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "a whole number from 1 to 86400" in done.stderr
