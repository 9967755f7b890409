"""Molecule's scenarios with their times: python3 -m lab.scenarios run NAME LOG, and a table of those that ran.

A scenario's lab has a name that is this checkout's own: python3 -m lab.scenarios lab NAME tells it.

Beside each log lies `<name>.json`: seconds of each stage, seconds that its tests waited and that their playbooks took,
and CPU seconds of what ran on this machine's side of ssh (`cpu`) and on the nodes.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, TextIO
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
STAGE = re.compile(r"INFO     \[(\S+) > (\w+)\] Executing$")
COLUMNS = {
    "boot": ("destroy", "create", "prepare"),
    "converge": ("check", "converge"),
    "again": ("idempotence",),
    "verify": ("side_effect", "verify"),
}
SLOWEST_FILES = 15
SLOWEST_TESTS = "--durations=15 --durations-min=3"
# of verify, written by molecule/shared/fleet.py, and CPU of the nodes, by lab/nodes.py
PARTS = ("waiting", "playbooks", "nodes")


def lab_of(name: str) -> str:
    """The name of a scenario's lab; other checkouts may run the same scenario at the same time."""
    return f"molecule-{name.replace('_', '-')}-{hashlib.sha256(bytes(ROOT)).hexdigest()[:4]}"


def run(name: str, log: Path) -> int:
    """Run `molecule test` of a scenario, its words to the log and on; returns its exit code."""
    log.parent.mkdir(parents=True, exist_ok=True)
    parts = log.with_suffix(".parts").absolute()
    parts.write_text("", encoding="utf-8")
    environment = {**os.environ, "SPEEDTEST_SCENARIO_PARTS": str(parts), "PYTEST_ADDOPTS": SLOWEST_TESTS}
    # side by side they would share one standard input, which ssh makes non-blocking for all
    molecule = subprocess.Popen(
        ["molecule", "test", "-s", name], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace", env=environment,
    )  # fmt: skip
    assert molecule.stdout
    with molecule.stdout, log.open("w", encoding="utf-8") as kept:
        stages = follow(molecule.stdout, kept)
    code = molecule.wait()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    facts = {"passed": code == 0, "cpu": used.ru_utime + used.ru_stime, "stages": stages, "parts": sums(parts)}
    log.with_suffix(".json").write_text(json.dumps(facts), encoding="utf-8")
    return code


def follow(words: IO[str], kept: TextIO) -> dict[str, float]:
    """Pass lines on until they end; seconds that each stage took."""
    seconds: dict[str, float] = {}
    stage, since = "start", time.monotonic()
    for line in words:
        print(line, end="", flush=True)
        kept.write(line)
        if found := STAGE.match(line.rstrip()):
            now = time.monotonic()
            seconds[stage] = seconds.get(stage, 0) + now - since
            stage, since = found[2], now
    seconds[stage] = seconds.get(stage, 0) + time.monotonic() - since
    return seconds


def sums(parts: Path) -> dict[str, float]:
    """Seconds of each part, from a file with one `<part> <seconds>` a line."""
    seconds = dict.fromkeys(PARTS, 0.0)
    for line in parts.read_text(encoding="utf-8").splitlines():
        part, took = line.split()
        seconds[part] += float(took)
    return seconds


def table(folder: Path) -> str:
    """What ran and how long, the longest first; a stage that is no column counts in `all`."""
    facts = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in folder.glob("*.json")}
    lines = [row("seconds", [*COLUMNS, "waiting", "playbooks", "all", "cpu", "nodes"], "")] if facts else []
    total = {name: sum(found["stages"].values()) for name, found in facts.items()}
    for name in sorted(facts, key=lambda name: -total[name]):
        stages = facts[name]["stages"]
        times = [sum(stages.get(stage, 0) for stage in stages_of) for stages_of in COLUMNS.values()]
        waiting, playbooks, nodes = (facts[name]["parts"][part] for part in PARTS)
        times += [waiting, playbooks, total[name], facts[name]["cpu"], nodes]
        numbers = [f"{seconds:.0f}" for seconds in times]
        lines.append(row(name, numbers, "" if facts[name]["passed"] else "FAILED"))
    return "\n".join(lines + unit_table(folder / "unit.xml"))


def unit_table(report: Path) -> list[str]:
    """The unit and integration tests and their slowest files, from pytest's report; nothing where they did not run."""
    if not report.exists():
        return []
    suite = next(ElementTree.parse(report).iter("testsuite"))  # noqa: S314  # pytest wrote it
    seconds: dict[str, float] = {}
    for test in suite.iter("testcase"):
        name = test.get("classname", "interrupted")
        seconds[name] = seconds.get(name, 0) + float(test.attrib["time"])
    failed = int(suite.attrib["failures"]) + int(suite.attrib["errors"])
    took = f"{float(suite.attrib['time']):.0f}"
    whole = row(f"{suite.attrib['tests']} unit tests", [took], "FAILED" if failed else "")
    slowest = sorted(seconds, key=lambda name: -seconds[name])[:SLOWEST_FILES]
    return ["", whole, *(f"{seconds[name]:28.0f}  {name}" for name in slowest)]


def row(name: str, cells: list[str], verdict: str) -> str:
    """A line of the table."""
    return f"{name:18}{''.join(f'{cell:>10}' for cell in cells)}  {verdict}".rstrip()


def main(words: list[str]) -> int:
    """Run one, print the table, or a lab's name."""
    if words[:1] == ["run"] and len(words) == 3:
        return run(words[1], Path(words[2]))
    if words[:1] == ["table"] and len(words) == 2:
        print(table(Path(words[1])))
        return 0
    if words[:1] == ["lab"] and len(words) == 2:
        print(lab_of(words[1]))
        return 0
    print("usage: python3 -m lab.scenarios run NAME LOG | table FOLDER | lab NAME", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
