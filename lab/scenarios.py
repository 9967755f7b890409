"""Molecule's scenarios with their times: python3 -m lab.scenarios run NAME LOG, and a table of those that ran.

Beside each log lies `<name>.json`: seconds of each stage, and CPU seconds of what ran on this machine's side of ssh.
"""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, TextIO

STAGE = re.compile(r"INFO     \[(\S+) > (\w+)\] Executing$")
COLUMNS = {
    "boot": ("destroy", "create", "prepare"),
    "converge": ("converge",),
    "again": ("idempotence",),
    "verify": ("side_effect", "verify"),
}


def run(name: str, log: Path) -> int:
    """Run `molecule test` of a scenario, its words to the log and on; returns its exit code."""
    log.parent.mkdir(parents=True, exist_ok=True)
    # side by side they would share one standard input, which ssh makes non-blocking for all
    molecule = subprocess.Popen(
        ["molecule", "test", "-s", name], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace",
    )  # fmt: skip
    assert molecule.stdout
    with molecule.stdout, log.open("w", encoding="utf-8") as kept:
        stages = follow(molecule.stdout, kept)
    code = molecule.wait()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    facts = {"passed": code == 0, "cpu": used.ru_utime + used.ru_stime, "stages": stages}
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


def table(folder: Path) -> str:
    """What ran and how long, the longest first; a stage that is no column counts in `all`."""
    facts = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in folder.glob("*.json")}
    lines = [row("scenario", [*COLUMNS, "all", "cpu"], "")]
    total = {name: sum(found["stages"].values()) for name, found in facts.items()}
    for name in sorted(facts, key=lambda name: -total[name]):
        stages = facts[name]["stages"]
        times = [sum(stages.get(stage, 0) for stage in stages_of) for stages_of in COLUMNS.values()]
        numbers = [f"{seconds:.0f}" for seconds in (*times, total[name], facts[name]["cpu"])]
        lines.append(row(name, numbers, "" if facts[name]["passed"] else "FAILED"))
    return "\n".join(lines)


def row(name: str, cells: list[str], verdict: str) -> str:
    """A line of the table."""
    return f"{name:18}{''.join(f'{cell:>10}' for cell in cells)}  {verdict}".rstrip()


def main(words: list[str]) -> int:
    """Run one, or print the table."""
    if words[:1] == ["run"] and len(words) == 3:
        return run(words[1], Path(words[2]))
    if words[:1] == ["table"] and len(words) == 2:
        print(table(Path(words[1])))
        return 0
    print("usage: python3 -m lab.scenarios run NAME LOG | table FOLDER", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
