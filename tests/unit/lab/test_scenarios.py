"""Scenarios' times: what molecule says of its stages becomes a table, and its exit code is what counts."""

from __future__ import annotations

import json
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
    parts = "printf 'waiting 2\\nplaybooks 5.5\\nwaiting 1.75\\nnodes 9.5\\n' >\"$SPEEDTEST_SCENARIO_PARTS\""
    molecule.write_text(f"#!/bin/sh\ncat {tmp_path}/words; {parts}; exit {code}\n")
    molecule.chmod(0o755)
    log = tmp_path / "logs" / "site.log"
    done = subprocess.run(
        [sys.executable, "-m", "lab.scenarios", "run", "site", log],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, log.read_text()) == (code, WORDS, WORDS)
    shown = scenarios.table(log.parent).splitlines()
    columns = ["seconds", "boot", "converge", "again", "verify", "waiting", "playbooks", "all", "cpu", "nodes"]
    assert shown[0].split() == columns
    assert shown[1].split()[5:7] == ["4", "6"]
    assert shown[1].split()[9] == "10"
    assert (shown[1].split()[0], "FAILED" in shown[1]) == ("site", code != 0)


def test_the_longest_comes_first_and_its_stages_add_up(tmp_path):
    for name, seconds in (("short", 1), ("long", 10)):
        stages = {"start": seconds, "create": seconds, "prepare": 2 * seconds, "verify": 7 * seconds}
        parts = {"waiting": 2 * seconds, "playbooks": 4 * seconds, "nodes": 5 * seconds}
        facts = {"passed": True, "cpu": 3.4, "stages": stages, "parts": parts}
        (tmp_path / f"{name}.json").write_text(json.dumps(facts))
    assert [line.split() for line in scenarios.table(tmp_path).splitlines()[1:]] == [
        ["long", "30", "0", "0", "70", "20", "40", "110", "3", "50"],
        ["short", "3", "0", "0", "7", "2", "4", "11", "3", "5"],
    ]


def test_the_unit_tests_slowest_files_come_after(tmp_path):
    cases = "".join(
        f'<testcase classname="tests.{name}" name="x" time="{n}"/>' for name, n in (("a", 1), ("b", 2), ("a", 3))
    )
    suite = f'<testsuite errors="0" failures="1" tests="3" time="4.2">{cases}</testsuite>'
    (tmp_path / "unit.xml").write_text(f"<testsuites>{suite}</testsuites>")
    lines = [line.split() for line in scenarios.table(tmp_path).splitlines()]
    assert lines == [[], ["3", "unit", "tests", "4", "FAILED"], ["4", "tests.a"], ["2", "tests.b"]]
