"""Runs of site.yml that are killed, and whether what is on the machines afterwards agrees with itself."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

from fleet import ROOT, on, playbook, recap

from speedtest_logger.schedule import Schedule

SCHEDULES = ("/srv/speedtest-archive/fleet/schedule.json", "/srv/speedtest-archive/state/schedule.json")
SECONDS = 600  # for a run of any playbook: who hangs does so for ever


def words(variables: dict[str, Any]) -> list[str]:
    """Variables as a command line has them."""
    return ["--extra-vars", json.dumps(variables)] if variables else []


def killed(variables: dict[str, Any], changes: int, counted: Path, *options: str) -> tuple[bool, str]:
    """Run site.yml and kill it after so many changes: whether it was killed, and what the last change was."""
    environment = {
        "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "molecule/shared/callback"),
        "ANSIBLE_CALLBACKS_ENABLED": "kill_at",
        "KILL_AT_CHANGE": str(changes),
        "KILL_AT_LOG": str(counted),
    }
    counted.write_text("", encoding="utf-8")
    done = playbook("site.yml", *words(variables), *options, environment=environment, seconds=SECONDS)
    assert done.returncode in (0, -signal.SIGKILL), done.stdout[-3000:]
    return done.returncode != 0, counted.read_text(encoding="utf-8").strip().rpartition("\n")[2]


def site(variables: dict[str, Any], *options: str) -> int:
    """Run site.yml; how much it changed."""
    done = playbook("site.yml", *words(variables), *options, seconds=SECONDS)
    assert done.returncode == 0, done.stdout[-4000:]
    return sum(counts["changed"] for counts in recap(done).values())


def status(variables: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """Run status.yml against an inventory with these variables."""
    return playbook("playbooks/status.yml", *words(variables), seconds=SECONDS)


def owed(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What status.yml says that differs from the inventory or is owed."""
    lines = [line for line in done.stdout.splitlines() if line.startswith("- ")]
    return [line for line in lines if re.search("differs from the inventory|owed|not finished", line)]


def env(node: str) -> dict[str, str]:
    """A node's logger.env."""
    text = on(node, "cat /etc/speedtest-telemetry/logger.env")
    pairs = (line.split("=", 1) for line in text.splitlines() if line.startswith("SPEEDTEST_"))
    return {name.removeprefix("SPEEDTEST_"): value.strip('"') for name, value in pairs}


def normal(node: str, expressions: list[str]) -> set[str]:
    """Calendar expressions as systemd itself writes them."""
    said = on(node, "systemd-analyze calendar " + " ".join(f"'{expression}'" for expression in expressions))
    shown = dict(re.findall(r"Original form: (.+)\n\s*Normalized form: (.+)", said))
    return {shown.get(expression, expression) for expression in expressions}


def calendar(node: str, timer: str) -> set[str]:
    """When a timer that is loaded elapses."""
    shown = on(node, f"systemctl show --property=TimersCalendar {timer}")
    return set(re.findall(r"OnCalendar=([^;]+?) ;", shown))


def disagreements(hub: str, nodes: list[str]) -> list[str]:
    """Where what is loaded, what the files say and what the archive believes of a node are not the same."""
    registry = json.loads(on(hub, f"cat {SCHEDULES[0]} 2>/dev/null || cat {SCHEDULES[1]}"))["nodes"]
    found = [words for node in nodes for words in node_disagreements(node, registry)]
    for host in sorted({hub, *nodes}):
        shown = on(host, "systemctl show --property=Id,NeedDaemonReload 'speedtest-*'")
        stale = re.findall(r"Id=(\S+)\nNeedDaemonReload=yes", shown)
        failed = on(host, "systemctl list-units --failed --plain --no-legend 'speedtest-*'").splitlines()
        found += [f"{host}: {name} is not loaded as its file is" for name in stale]
        found += [f"{host}: {line} has failed" for line in failed]
    return found


def node_disagreements(node: str, registry: dict[str, Any]) -> list[str]:
    """Those of one node."""
    found = []
    own = env(node)
    slots = Schedule(int(own["INTERVAL_SECONDS"]), int(own["OFFSET_SECONDS"]))
    contained = own["RUNTIME"] == "compose"
    loaded = calendar(node, "speedtest-logger.timer")
    if loaded != (set() if contained else normal(node, slots.on_calendar())):
        found.append(f"{node}: the timer that is loaded elapses at {loaded}, logger.env says {slots}, {own['RUNTIME']}")
    running = on(node, "docker ps --quiet --filter name=speedtest-logger 2>/dev/null", check=False).strip()
    if bool(running) != contained:
        found.append(f"{node}: its container: {running or 'none'}, logger.env says {own['RUNTIME']}")
    entry = registry[own["NODE"]][-1]
    if (entry["interval_seconds"], entry["offset_seconds"]) != (slots.interval, slots.offset):
        found.append(f"{node}: the archive believes in {entry}, logger.env says {slots}")
    version, runs = on(node, "speedtest-logger --version; readlink /opt/speedtest-telemetry/current").split()[-2:]
    if not runs.endswith(f"/{version}"):
        found.append(f"{node}: {version} runs, current is {runs}")
    return found


def step(default: int) -> int:
    """How many changes lie between two kills: KILL_STEP=1 kills after each."""
    return int(os.environ.get("KILL_STEP", default))


def walk(
    fleet: tuple[str, list[str]], inventories: tuple[dict[str, Any], dict[str, Any]], counted: Path, every: int
) -> None:
    """Kill runs to and fro between two inventories, each a step later than the one before, until one is not killed.

    `fleet` is the archive host and the nodes, `inventories` the variables of the change and of what was before.
    """
    after, (target, other) = 1 + every // 2, inventories
    while True:
        was_killed, last = killed(target, after, counted)
        if not was_killed:
            break
        where = f"killed after {last}"
        print(where)
        seen = status(target)
        changed = site(target)
        found = disagreements(*fleet)
        assert found == [], f"{where}: {found}"
        if changed:  # so not all of it was done when the run was killed, and status.yml must have known
            assert seen.returncode != 0, where
            assert owed(seen), f"{where}\n{seen.stdout[-3000:]}"
        assert site(target) == 0, where
        after, target, other = after + every, other, target
    assert after > every, "nothing was killed"
    site(inventories[1])
