"""Scenarios' times: what molecule says of its stages becomes a table, and its exit code is what counts."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from lab import scenarios

WORDS = """INFO     [site > discovery] scenario test matrix: create, converge, verify
INFO     [site > create] Executing
INFO     [site > create] Executed: Successful
INFO     [site > converge] Executing
PLAY RECAP
INFO     [site > verify] Executing
INFO     [site > verify] Executing Testinfra tests found in tests
"""


@pytest.mark.parametrize("code", [0, 2])
def test_what_molecule_says_and_its_code_are_passed_on(tmp_path, code):
    (tmp_path / "words").write_text(WORDS)
    molecule = tmp_path / "molecule"
    molecule.write_text(f"#!/bin/sh\ncat {tmp_path}/words; exit {code}\n")
    molecule.chmod(0o755)
    log = tmp_path / "logs" / "site.log"
    done = subprocess.run(
        [sys.executable, "-m", "lab.scenarios", "run", "site", log],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, log.read_text()) == (code, WORDS, WORDS)
    shown = scenarios.table(log.parent).splitlines()
    assert shown[0].split() == ["scenario", "boot", "converge", "again", "verify", "all", "cpu"]
    assert (shown[1].split()[0], "FAILED" in shown[1]) == ("site", code != 0)


def test_the_longest_comes_first_and_its_stages_add_up(tmp_path):
    for name, seconds in (("short", 1), ("long", 10)):
        stages = {"start": seconds, "create": seconds, "prepare": 2 * seconds, "verify": 7 * seconds}
        (tmp_path / f"{name}.json").write_text(f'{{"passed": true, "cpu": 3.4, "stages": {stages}}}'.replace("'", '"'))
    assert [line.split() for line in scenarios.table(tmp_path).splitlines()[1:]] == [
        ["long", "30", "0", "0", "70", "110", "3"],
        ["short", "3", "0", "0", "7", "11", "3"],
    ]
