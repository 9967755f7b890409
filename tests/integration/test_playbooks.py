"""Playbooks as a newcomer types them: without an inventory, from another directory, with tags; no machine is needed."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest
from builders import ROOT
from tries import some

PLAYBOOKS = ("site.yml", *(f"playbooks/{path.name}" for path in sorted(ROOT.glob("playbooks/*.yml"))))
OF_SCENARIOS = tuple(str(path.relative_to(ROOT)) for path in ROOT.glob("molecule/*/*.yml") if path.stem != "molecule")
HOMELAB = ROOT / "inventory/homelab"


def play(*words, cwd=ROOT, **environment) -> tuple[int, str]:
    """How ansible-playbook ended and what it said, on one line."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), *words],
        cwd=cwd,
        env={**kept, "ANSIBLE_NOCOLOR": "1", "HOME": str(cwd), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, " ".join((done.stdout + done.stderr).split())


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A copy of what a user has, without an inventory of one's own."""
    for name in ("collections", "playbooks", "plugins", "roles", "src", "inventory"):
        shutil.copytree(
            ROOT / name, tmp_path / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "mine")
        )
    for name in ("site.yml", "ansible.cfg"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.mark.sampled
@pytest.mark.parametrize("playbook", some([name for name in PLAYBOOKS if not name.endswith("floor.yml")], 9))
def test_without_an_inventory_a_run_says_how_to_make_one(checkout, playbook):
    code, said = play(playbook, cwd=checkout)
    assert code != 0
    assert f"inventory {checkout}/inventory/mine: seen no such file" in said
    assert "cp -r inventory/homelab inventory/mine" in said


def test_the_commands_of_the_docs_ask_the_inventory_that_is_mine(checkout):
    shutil.copytree(HOMELAB, checkout / "inventory/mine")
    hosts = checkout / "inventory/mine/hosts.yml"
    hosts.write_text(hosts.read_text().replace("minipc:", "my-own:"))
    shutil.move(checkout / "inventory/mine/host_vars/minipc.yml", checkout / "inventory/mine/host_vars/my-own.yml")
    code, said = play("playbooks/preflight.yml", "--list-hosts", cwd=checkout)
    assert code == 0, said
    assert "my-own" in said


def commands() -> list[str]:
    """Every ansible-playbook command of the README and the how-tos, less its comment."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs/how-to").glob("*.md"))]
    found = {each for page in pages for each in re.findall(r"ansible-playbook [^`|\n]*", page.read_text())}
    typed = {command.partition(" #")[0].strip() for command in found}
    return sorted(
        command for command in typed if " speedtest.telemetry." not in command
    )  # test_collection.py has those


@pytest.mark.sampled
@pytest.mark.parametrize("command", some(commands(), 4))
def test_a_command_of_the_pages_runs_as_it_is_typed(command, checkout):
    shutil.copytree(HOMELAB, checkout / "inventory/mine")
    (checkout / ".cache").mkdir()
    (checkout / ".cache/try.yml").write_text("{}\n")
    typed = command.replace("~/speedtest-telemetry", str(checkout)).replace("~/fleet", "inventory/mine")
    typed = typed.replace("inventory/shop", "inventory/production").replace(" --vault-id production@prompt", "")
    assert "-i inventory/mine" not in command or ".cache/try.yml" in command
    code, said = play(*shlex.split(typed.replace("NODE", "minipc"))[1:], "--syntax-check", cwd=checkout)
    assert code == 0, said


def test_an_unknown_host_key_fails_and_a_password_may_be_used():
    """As ssh itself reads what ansible.cfg gives it."""
    config = ConfigParser()
    config.read(ROOT / "ansible.cfg")
    options = config["ssh_connection"]["ssh_args"].split()
    done = subprocess.run(["ssh", *options, "-G", "example.org"], capture_output=True, text=True, check=True)
    assert "stricthostkeychecking true" in done.stdout
    assert "preferredauthentications publickey,keyboard-interactive,password" in done.stdout


def test_every_playbook_runs_from_any_directory(tmp_path):
    known = PLAYBOOKS + OF_SCENARIOS
    code, said = play("-i", HOMELAB, *(ROOT / playbook for playbook in known), "--syntax-check", cwd=tmp_path)
    assert code == 0, said
    assert [name for name in known if f"playbook: {ROOT / name}" not in said] == []
    code, said = play("-i", HOMELAB, ROOT / "playbooks/preflight.yml", cwd=tmp_path)
    assert code == 0, said


def test_every_play_that_acts_on_machines_says_that_it_is_roots():
    """Without the checkout's ansible.cfg nothing else would."""
    for file in (ROOT / "playbooks").rglob("*.yml"):
        if file.parent.name not in ("playbooks", "plays"):
            continue
        text = file.read_text()
        plays = [part for part in re.split(r"^- name: ", text, flags=re.MULTILINE)[1:] if "\n  hosts: " in part]
        assert [part.splitlines()[0] for part in plays if "\n  become: " not in part] == [], file


def test_tags_are_refused_before_a_machine_is_contacted(tmp_path):
    code, said = play("-i", HOMELAB, ROOT / "site.yml", "--tags", "nodes", cwd=tmp_path)
    assert code != 0
    assert "nothing was touched" in said
    assert "there are no tags here" in said
    assert "UNREACHABLE" not in said


def test_what_is_wrong_with_an_inventory_is_told_once(tmp_path):
    (tmp_path / "hosts.yml").write_text(
        "speedtest_archive: {hosts: {nas: }}\n"
        "speedtest_nodes: {hosts: {a: , b: }, vars: {speedtest_logger_interval: 7min}}\n"
    )
    code, said = play("-i", tmp_path / "hosts.yml", "site.yml")
    assert code != 0
    assert said.count("speedtest_logger_interval: seen '7min' on a, b") == 1


@pytest.mark.parametrize(("place", "problem"), [("home", ""), ("My Home", "seen 'My Home'")])
def test_a_variable_may_ask_for_another_host_s(tmp_path, place, problem):
    """As it may in a task: preflight looks at what it comes to."""
    hosts = {
        "speedtest_archive": {"hosts": {"nas": {"ansible_host": "192.0.2.10", "place": place}}},
        "speedtest_nodes": {
            "hosts": {
                "attic": {
                    "ansible_host": "192.0.2.11",
                    "speedtest_logger_engines": ["iperf3"],
                    "speedtest_logger_iperf3_servers": ["{{ hostvars['nas'].ansible_host }}:5201"],
                    "speedtest_logger_location": "{{ hostvars['nas'].place }}",
                }
            }
        },
    }
    (tmp_path / "hosts.yml").write_text(json.dumps(hosts))
    code, said = play("-i", str(tmp_path / "hosts.yml"), "playbooks/preflight.yml")
    assert (code == 0) == (problem == ""), said
    assert problem in said


@pytest.fixture
def no_ssh(tmp_path) -> str:
    """The option for an ssh that reaches nobody, and tries to move the cursor of who reads its words."""
    program = tmp_path / "ssh"
    program.write_text("#!/bin/sh\nprintf '\\033[2Jssh: no route to host\\n' >&2\nexit 255\n")
    program.chmod(0o755)
    return f"ansible_ssh_executable={program}"


def test_the_status_is_a_table_and_nothing_else_whatever_cannot_be_reached(no_ssh):
    code, said = play("-i", HOMELAB, "playbooks/status.yml", "-e", no_ssh)
    assert code == 2
    assert said.startswith(
        "node down up plan status measured next ok/due missed outbox delivered runtime version drift"
    )
    assert "attic-pi ? ? 250/100 UNREACHABLE" in said or "attic-pi - - 250/100 UNREACHABLE" in said
    assert "- attic-pi: unreachable: " in said
    assert "no route to host" in said
    assert "\033" not in said
    assert "TASK" not in said
    assert "PLAY RECAP" not in said


def test_the_status_with_v_has_ansibles_talk_too(no_ssh):
    code, said = play("-i", HOMELAB, "playbooks/status.yml", "-v", "-e", no_ssh)
    assert code == 2
    assert "PLAY RECAP" in said


def test_a_report_that_cannot_be_made_says_why(no_ssh, tmp_path):
    code, said = play("-i", HOMELAB, "playbooks/report.yml")
    assert code != 0
    assert said.endswith(
        "location: seen nothing; say which one, as in -e location=home: the inventory has home, parents"
    )
    code, said = play("-i", HOMELAB, "playbooks/report.yml", "-e", "location=home", "-e", no_ssh, cwd=ROOT)
    assert code != 0
    assert "UNREACHABLE" in said
    assert "no route to host" in said


@pytest.mark.parametrize(
    ("role", "entry", "given", "words"),
    [
        ("speedtest_logger", "put_back", {}, "missing required arguments: speedtest_logger_put_back"),
        (
            "managed_host",
            "prune",
            {"managed_host_prune_dir": "/x"},
            "missing required arguments: managed_host_prune_keep",
        ),
        ("managed_host", "refuse", {"managed_host_plan": "some"}, "'managed_host_plan' is of type"),
    ],
)
def test_a_part_of_a_role_says_what_it_must_be_given_before_it_does_anything(
    checkout, tmp_path, role, entry, given, words
):
    call = {"ansible.builtin.include_role": {"name": f"speedtest.telemetry.{role}", "tasks_from": entry}, "vars": given}
    tasks = [{"name": "Call it alone", **call}]
    play_ = {"name": "A playbook", "hosts": "all", "connection": "local", "become": False, "tasks": tasks}
    (checkout / "playbooks/alone.yml").write_text(json.dumps([play_]), encoding="utf-8")
    code, said = play("playbooks/alone.yml", "-i", "one,", "-e", "fleet_quiet=false", cwd=checkout)
    assert code != 0
    assert words in said
    assert f"{entry} |" not in said  # none of its own tasks
