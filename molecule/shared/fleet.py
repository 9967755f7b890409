"""What the scenarios' tests share: the lab's nodes, commands on them, the archive's answers, and site.yml itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.lab import load
from lab.scenarios import lab_of

ROOT = Path(__file__).resolve().parents[2]
SCENARIO = os.environ.get("MOLECULE_SCENARIO_NAME", "default")
LAB = lab_of(SCENARIO)
SSH_FAILED = 255  # ssh(1): its own errors
MEASURING = 11  # seconds that a measurement takes at most, both ways
POLL_SECONDS = 5  # most ask the archive, and scenarios share the machine
BUSY_SECONDS = 120  # that what is waited for may come later than elsewhere, for the same reason
INGEST = "speedtest-ingest.service"
# a node measures and delivers no more: first what starts services, then the one whose end starts the other
REST = " && ".join(
    f"systemctl stop {units}"
    for units in ("speedtest-logger.timer speedtest-push.timer", "speedtest-logger.service", "speedtest-push.service")
)


@contextmanager
def counted_as(part: str) -> Iterator[None]:
    """Tell lab.scenarios how long a part of the tests took: `waiting` or `playbooks`."""
    began = time.monotonic()
    try:
        yield
    finally:
        if parts := os.environ.get("SPEEDTEST_SCENARIO_PARTS"):
            with Path(parts).open("a", encoding="utf-8") as file:
                file.write(f"{part} {time.monotonic() - began:.3f}\n")


def pause(seconds: float) -> None:
    """Wait where there is no condition to wait for."""
    with counted_as("waiting"):
        time.sleep(seconds)


def lab(*words: str, check: bool = True) -> str:
    """Run a verb of the lab."""
    argv = [sys.executable, "-m", "lab", *words]
    done = subprocess.run(argv, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"lab {' '.join(words)}: {done.stderr}"
    return done.stdout


def on(node: str, command: str, *, check: bool = True) -> str:
    """Run a shell command on a node as root; returns what it printed, both streams."""
    done = attempt(node, command)
    assert not check or done.returncode == 0, f"{node}: {command}\n{done.stdout}"
    return done.stdout


def attempt(node: str, command: str) -> subprocess.CompletedProcess[str]:
    """Run a shell command on a node as root and return how it ended; the command's standard error is in the output.

    What ssh itself says is not, unless it could not connect: it also complains where a shared connection just ended.
    """
    done = subprocess.run(
        [*login(node), "sudo sh -c " + quoted(f"exec 2>&1; {command}")],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    done.stdout += done.stderr if done.returncode == SSH_FAILED else ""
    return done


def anew(unit: str) -> str:
    """Shell words that run a unit of one shot from its beginning: `start` joins a run that began before it."""
    return f'{{ [ "$(systemctl is-active {unit})" != activating ] || systemctl start {unit}; systemctl start {unit}; }}'


def ingest(node: str) -> None:
    """Ingest all that is in the inbox now."""
    on(node, anew(INGEST))


def listens(node: str, port: int) -> None:
    """Return once something listens there."""
    on(node, f"timeout 120 sh -c 'until ss -Htln sport = {port} | grep -q .; do sleep 0.1; done'")


def login(node: str) -> list[str]:
    """The command line that logs into a node; a command for it goes after."""
    machines = load(LAB)
    return machines.ssh(machines.node(node))


def quoted(text: str) -> str:
    """A shell word."""
    return "'" + text.replace("'", "'\\''") + "'"


def query(sql: str, node: str = "archive") -> list[dict[str, Any]]:
    """Rows of the archive, the inbox ingested first."""
    ingest(node)
    answer = on(node, f"speedtest-archive query --format json {quoted(sql)}")
    rows: list[dict[str, Any]] = json.loads(answer)
    return rows


def logs(*options: str, node: str = "archive") -> list[dict[str, Any]]:
    """Lines of the fleet's logs, the inbox ingested first."""
    ingest(node)
    said = on(node, f"speedtest-archive logs --format json {' '.join(options)}")
    return [json.loads(line) for line in said.splitlines() if line.startswith("{")]


def coverage(*options: str, node: str = "archive") -> dict[str, dict[str, Any]]:
    """The archive's coverage by node, the inbox ingested first."""
    ingest(node)
    rows = json.loads(on(node, f"speedtest-archive coverage --format json {' '.join(options)}"))
    return {row["node"]: row for row in rows}


def playbook(
    name: str, *options: str, environment: dict[str, str] | None = None, seconds: float | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one of the project's playbooks on this scenario's nodes, as a user would; fail where it takes too long."""
    with counted_as("playbooks"), started(name, *options, environment=environment) as process:
        try:
            said = process.communicate(timeout=seconds)[0]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            pytest.fail(
                f"{name} {' '.join(options)} did not end within {seconds:.0f} s:\n{process.communicate()[0][-3000:]}"
            )
    return subprocess.CompletedProcess(process.args, process.returncode, said)


def started(name: str, *options: str, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """One of the project's playbooks, running, the leader of a process group of its own."""
    inventory = os.environ["MOLECULE_INVENTORY_FILE"]
    argv = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", inventory, name, *options]
    variables = {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_HOST_KEY_CHECKING": "false",
        # molecule's inventory knows no host keys, and ansible.cfg refuses unknown ones
        "ANSIBLE_SSH_ARGS": "-o ControlMaster=auto -o ControlPersist=60s",
    }
    for name_ in [name_ for name_ in variables if name_.startswith(("ANSIBLE_ROLES", "ANSIBLE_LIB"))]:
        del variables[name_]
    return subprocess.Popen(
        argv,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=variables | (environment or {}),
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )


def recap(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, int]]:
    """changed, failed, unreachable … by host, from a run's last lines."""
    hosts = {}
    for line in done.stdout.split("PLAY RECAP")[-1].splitlines()[1:]:
        name, colon, counts = line.partition(":")
        if colon and "ok=" in counts:
            hosts[name.strip()] = {key: int(value) for key, value in (word.split("=") for word in counts.split())}
    return hosts


def wait_until(
    what: str,
    holds: Callable[[], bool],
    seconds: float,
    node: str | None = None,
    every: float = POLL_SECONDS,
    more: float = BUSY_SECONDS,
) -> None:
    """Return once something holds; fail, naming it and showing a node's journal, when the time is up.

    `seconds` are those of a machine that does nothing else, `more` those that it may have for others.
    """
    seconds += more
    deadline = time.monotonic() + seconds
    with counted_as("waiting"):
        while not holds():
            if time.monotonic() > deadline:
                pytest.fail(f"waited {seconds:.0f} s in vain: {what}\n{journal(node) if node else ''}")
            time.sleep(every)


def measure_by_hand(node: str) -> None:
    """Measure and deliver."""
    on(node, "speedtest-logger measure --wait && speedtest-logger push --force")


def to_slot(node: str) -> float:
    """Seconds until a node's next slot."""
    state = json.loads(attempt(node, "speedtest-logger status --json").stdout)
    return float((state["offset_seconds"] - time.time()) % state["interval_seconds"])


def between_slots(*nodes: str) -> None:
    """Return when a measurement by hand meets no slot of these nodes, whose interval is a minute."""
    ahead = [to_slot(node) for node in nodes]
    free = (wait for wait in range(60) if all(MEASURING < (slot - wait) % 60 < 60 - MEASURING for slot in ahead))
    pause(next(free))


def journal(node: str) -> str:
    """The journal of a node's own units, for a test that fails."""
    return on(node, "journalctl --no-pager -n 60 -u 'speedtest-*'", check=False)
