"""A machine that no run can reach becomes a node by one command that is typed there, and is a node like the others."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from conftest import HOST, NAME, knows_front
from fleet import attempt, between_slots, on, playbook, query

GUEST, STRANGER, NODES = "guest", "hub", ("timer", "container")
NOWHERE = "192.0.2.1"  # TEST-NET-1: no connection comes there
SERVED = "/srv/speedtest-bundles"
ROOT_FILE = "/var/lib/speedtest-front/caddy/pki/authorities/local/root.crt"
TRUSTED = "/usr/local/share/ca-certificates/front.crt"


@pytest.fixture(scope="module")
def inventory(https: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """A fleet over https that takes in who is invited, and whom it invites: no address leads there."""
    folder: Path = tmp_path_factory.mktemp("invited")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", folder / "owner"], check=True)
    guest = {
        "ansible_host": NOWHERE,
        "speedtest_logger_uplink": "",  # a line of its own: three do not fit into a minute of the others'
        "speedtest_logger_location": "cabin",
        "speedtest_logger_converge": "pull",
        "speedtest_logger_pull_url": f"https://{NAME}/bundles",
        "speedtest_logger_pull_signers": [(folder / "owner.pub").read_text(encoding="utf-8").strip()],
    }
    archive = {"speedtest_archive_invitations_enabled": True, "speedtest_pull_served_dir": SERVED}
    everyone = {"speedtest_pull_signing_key": str(folder / "owner"), "speedtest_pull_dir": str(folder / "bundles")}
    children = {"speedtest_archive": {"hosts": {HOST: archive}}, "speedtest_nodes": {"hosts": {GUEST: guest}}}
    (folder / "invited.yml").write_text(json.dumps({"all": {"vars": everyone, "children": children}}), encoding="utf-8")
    return *https, "-i", str(folder / "invited.yml")


def trusts_front(machine: str) -> None:
    knows_front(machine)
    root = on(HOST, f"cat {ROOT_FILE}")
    on(machine, f"echo '{root}' >{TRUSTED} && update-ca-certificates")


def run(name: str, *options: str) -> str:
    done = playbook(name, *options)
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def command(inventory: tuple[str, ...]) -> str:
    """What the owner is told to have typed."""
    for node in NODES:
        knows_front(node)
    run("site.yml", *inventory)
    run("playbooks/bundle.yml", *inventory, "--limit", GUEST)
    said = run("playbooks/invite.yml", *inventory, "--limit", GUEST)
    return next(line.strip() for line in said.splitlines() if " enrol --node " in line)


@pytest.fixture(scope="module")
def enrolled(command: str) -> str:
    """What the machine said when the command was typed there; it finds the front, and trusts it."""
    assert attempt(GUEST, "command -v speedtest-logger || ls /etc/speedtest-telemetry").returncode != 0
    trusts_front(GUEST)
    return on(GUEST, command)


def test_by_one_command_it_is_a_node(enrolled: str):
    assert json.loads(on(GUEST, "speedtest-converge status"))["error"] == ""
    assert on(GUEST, "systemctl is-active speedtest-logger.timer speedtest-converge.timer").split() == ["active"] * 2
    assert on(GUEST, "stat -c '%U %a' /etc/speedtest-telemetry/token").split() == ["root", "640"], enrolled


def test_it_measures_and_delivers_as_a_node_does(enrolled: str):
    between_slots(*NODES)
    record = json.loads(on(GUEST, "speedtest-logger measure --wait --json 2>/dev/null | tail -n 1"))
    assert (record["node"], record["status"]) == (GUEST, "ok")
    on(GUEST, "speedtest-logger push --force")
    found = query(f"SELECT node, count(*) AS n FROM records WHERE run_id = '{record['run_id']}' GROUP BY 1", HOST)
    assert found == [{"node": GUEST, "n": 1}]


def test_the_command_is_good_once(enrolled: str, command: str):
    """Whoever finds it later, on a machine of theirs, becomes nobody."""
    trusts_front(STRANGER)
    again = attempt(STRANGER, command)
    assert again.returncode != 0
    assert "has been used" in again.stdout, again.stdout
    assert attempt(STRANGER, "command -v speedtest-logger || ls /etc/speedtest-converge").returncode != 0
    on(GUEST, "speedtest-logger push --hello")


def test_status_shows_it_without_a_connection(enrolled: str, inventory: tuple[str, ...]):
    said = playbook("playbooks/status.yml", *inventory).stdout
    row = next(line for line in said.splitlines() if line.startswith(f"{GUEST} "))
    assert " ok " in row, said[-3000:]
    assert "UNREACHABLE" not in said


def test_who_leaves_the_inventory_delivers_no_more(enrolled: str):
    run("site.yml")
    refused = attempt(GUEST, "speedtest-logger push --hello")
    assert refused.returncode != 0, refused.stdout
