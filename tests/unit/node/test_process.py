"""Running engines: bounded in time and output, and nothing stays behind."""

from __future__ import annotations

import os
import time

import pytest

from speedtest_logger.engines.contract import Command
from speedtest_logger.errors import EngineError
from speedtest_logger.node import process

ENVIRONMENT = {"PATH": os.defpath}


def shell(script: str, stdin: bytes = b"") -> Command:
    return Command(["/bin/sh", "-c", script], stdin)


def test_output_exit_code_and_input():
    output = process.run(shell("cat; echo oops >&2; exit 3", b"hello"), 10, ENVIRONMENT)
    assert (output.returncode, output.stdout, output.stderr, output.truncated) == (3, b"hello", b"oops\n", False)


def test_a_program_that_is_not_there():
    with pytest.raises(EngineError) as caught:
        process.run(Command(["/no/such/program"]), 10, ENVIRONMENT)
    assert caught.value.reason == "engine_missing"


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        return stat.read().split()[2] != "Z"


@pytest.mark.parametrize(
    "script",
    ["sleep 60 & echo $! > {file}; sleep 60", "trap '' TERM; sleep 60 & echo $! > {file}; while :; do sleep 1; done"],
)
def test_timeout_ends_the_whole_group(tmp_path, script):
    file = tmp_path / "pid"
    with pytest.raises(EngineError) as caught:
        process.run(shell(script.format(file=file)), 1.5, ENVIRONMENT)
    assert caught.value.reason == "engine_timeout"
    assert not alive(int(file.read_text()))


def test_a_child_that_outlives_its_parent_is_ended_too(tmp_path):
    file = tmp_path / "pid"
    process.run(shell(f"sleep 60 >/dev/null 2>&1 & echo $! > {file}"), 10, ENVIRONMENT)
    for _ in range(1_200):
        if not alive(int(file.read_text())):
            return
        time.sleep(0.05)
    pytest.fail("the child is still there")


def test_megabytes_of_garbage_end_the_program():
    output = process.run(shell("yes"), 30, ENVIRONMENT)
    assert output.truncated
    assert len(output.stdout) <= process.MAX_OUTPUT + 65_536
