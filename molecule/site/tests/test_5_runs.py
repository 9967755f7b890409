"""Runs that meet, that die, and nodes that cannot deliver or have another one's key."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fleet import LAB, ROOT, lab, on, playbook, recap, wait_until

LOCK = "/run/speedtest-fleet/lock"
PUBLIC = "/etc/speedtest-telemetry/id_ed25519.pub"
KEYS = "/var/lib/speedtest-archive/.ssh/authorized_keys"
REGISTRY = "/srv/speedtest-archive/fleet/schedule.json"


def begin(*options: str) -> subprocess.Popen[bytes]:
    """A run of site.yml that holds the lock, in a process group of its own."""
    argv = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", os.environ["MOLECULE_INVENTORY_FILE"]]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_HOST_KEY_CHECKING": "false"}
    environment["ANSIBLE_SSH_ARGS"] = "-o ControlMaster=auto -o ControlPersist=60s"
    for name in [name for name in environment if name.startswith(("ANSIBLE_ROLES", "ANSIBLE_LIB"))]:
        del environment[name]
    run = subprocess.Popen(
        [*argv, "site.yml", *options],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_until("a run holds the lock", lambda: '"run"' in on("archive", f"cat {LOCK}", check=False), 120, every=0.5)
    return run


def intervals() -> dict[str, tuple[int, int]]:
    """What the registry and each node's configuration say."""
    nodes = json.loads(on("archive", f"cat {REGISTRY}"))["nodes"]
    found = {}
    for node in ("attic", "porch", "shed"):
        line = on(node, "grep INTERVAL_SECONDS= /etc/speedtest-telemetry/logger.env").splitlines()
        own = next(int(text.split('"')[1]) for text in line if text.startswith("SPEEDTEST_INTERVAL"))
        found[node] = (nodes[node][-1]["interval_seconds"], own)
    return found


# a run that changes nothing might be over before the other one has begun
@pytest.mark.parametrize(("minutes", "options"), [(2, ()), (3, ("--limit", "porch"))], ids=["whole", "limited"])
def test_of_two_runs_one_changes_the_fleet_and_the_other_says_whose_run_it_met(minutes, options):
    first = begin("-e", f"speedtest_logger_interval={minutes}min")
    second = playbook("site.yml", "-e", "speedtest_logger_interval=4min", *options)
    assert second.returncode != 0
    said = " ".join(second.stdout.split())
    assert f"(process {first.pid}) since " in said
    assert "Nothing was touched" in said
    assert sum(counts["changed"] for counts in recap(second).values()) == 0
    assert first.wait() == 0
    assert intervals() == dict.fromkeys(("attic", "porch", "shed"), (60 * minutes, 60 * minutes))
    assert on("archive", f"ls {LOCK}", check=False).startswith("ls: ")


def test_a_run_that_may_wait_comes_after():
    first = begin()
    second = playbook("site.yml", "-e", "speedtest_lock_wait_seconds=300")
    assert second.returncode == 0, second.stdout[-3000:]
    assert "this one waits" in second.stdout
    assert first.wait() == 0
    assert intervals() == dict.fromkeys(("attic", "porch", "shed"), (60, 60))


def test_a_killed_run_holds_nobody_up_and_is_finished_by_the_next():
    run = begin("-e", "speedtest_logger_interval=2min")
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    status = playbook("playbooks/status.yml")
    assert status.returncode != 0
    assert "a run is under way since" in " ".join(status.stdout.split())
    done = playbook("site.yml")
    assert done.returncode == 0, done.stdout[-3000:]
    assert "was taken over: its process has ended" in " ".join(done.stdout.split())
    assert intervals() == dict.fromkeys(("attic", "porch", "shed"), (60, 60))
    assert sum(counts["changed"] for counts in recap(playbook("site.yml")).values()) == 0


def test_a_run_of_which_every_host_fails_gives_the_lock_back_too():
    done = playbook("site.yml", "--limit", "shed", "-e", "fleet_archive_port=2222")
    assert done.returncode != 0
    said = " ".join(done.stdout.split())
    assert "shed: it is set up, but its delivery to" in said
    assert "port 2222" in said
    assert on("archive", f"ls {LOCK}", check=False).startswith("ls: ")
    assert playbook("site.yml", "--limit", "shed").returncode == 0


def test_two_nodes_with_one_key_are_refused_before_anything_is_written():
    before, own = on("archive", f"cat {KEYS}"), on("porch", f"cat {PUBLIC}")
    on("porch", f"echo '{on('attic', f'cat {PUBLIC}').strip()}' >{PUBLIC}")
    try:
        for options in ((), ("--limit", "porch")):
            done = playbook("site.yml", *options)
            assert done.returncode != 0
            said = " ".join(done.stdout.split())
            assert "nodes attic and porch have one and the same key (it was made for attic: porch seems" in said
        assert on("archive", f"cat {KEYS}") == before
        status = playbook("playbooks/status.yml")
        assert "nodes attic and porch have one and the same key" in " ".join(status.stdout.split())
        assert re.search(r"^shed .* none$", status.stdout, re.MULTILINE), status.stdout
    finally:
        on("porch", f"echo '{own.strip()}' >{PUBLIC}")
    assert playbook("site.yml").returncode == 0


def test_the_table_comes_whatever_a_host_does():
    program = "/usr/local/bin/speedtest-logger"
    on("porch", f"mv {program} /root/ && printf '#!/bin/sh\\nsleep 900\\n' >{program} && chmod 755 {program}")
    lab("stop", LAB, "archive")
    try:
        status = playbook("playbooks/status.yml", "-e", "speedtest_status_timeout_seconds=20")
    finally:
        lab("start", LAB, "archive")
        on("porch", "mv /root/speedtest-logger /usr/local/bin/speedtest-logger")
    assert status.returncode == 2
    rows = {line.split()[0]: line for line in status.stdout.splitlines() if line[:1].isalpha()}
    assert "UNREACHABLE" in rows["archive"]
    assert "SLOW" in rows["porch"]
    assert "systemd" in rows["attic"]
    assert "systemd" in rows["shed"]
    assert "porch: has not answered within 20 s" in status.stdout
