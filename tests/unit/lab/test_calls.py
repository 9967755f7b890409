"""How the scenarios count what a role calls of a machine: one call too many is seen."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from builders import ROOT

sys.path.insert(0, str(ROOT / "molecule/shared"))

import calls

SAID = """
TASK [Lock the fleet against other runs] ****************************************
<192.0.2.1> SSH: EXEC ssh -o ControlMaster=auto 192.0.2.1
TASK [speedtest.telemetry.speedtest_target : observe | Compare the host with its desired state] *****
<192.0.2.1> SSH: EXEC ssh -o ControlMaster=auto 192.0.2.1
<192.0.2.1> (0, b'...')
<192.0.2.2> SSH: EXEC ssh -o ControlMaster=auto 192.0.2.2
TASK [speedtest.telemetry.managed_host : schedule | Reload units of others] *************************
<192.0.2.2> SSH: EXEC ssh -o ControlMaster=auto 192.0.2.2
PLAY RECAP *********************************************************************
host : ok=5 changed=0
"""
CALL = "<192.0.2.1> SSH: EXEC ssh -o ControlMaster=auto 192.0.2.1\n"


def test_calls_are_counted_by_role_and_machine():
    assert calls.calls_of_roles(SAID) == {
        ("speedtest_target", "192.0.2.1"): 1,
        ("speedtest_target", "192.0.2.2"): 1,
        ("managed_host", "192.0.2.2"): 1,
    }


@pytest.mark.parametrize(("more", "is_right"), [(3, True), (4, False)])
def test_a_role_that_calls_five_times_is_refused(monkeypatch, more, is_right):
    roles = ("speedtest_target", "managed_host")
    said = SAID.replace(CALL + "<192.0.2.1> (0", CALL * (more + 1) + "<192.0.2.1> (0")
    monkeypatch.setattr(calls, "playbook", lambda *_, **__: subprocess.CompletedProcess("", 0, said))
    monkeypatch.setitem(calls.ROLES, "these", roles)
    if is_right:
        calls.assert_each_role_costs_little("these")
    else:
        with pytest.raises(AssertionError, match=r"'speedtest_target', .*: 5"):
            calls.assert_each_role_costs_little("these")


# ssh's own arguments, then the address, then the command: here it is run on this machine
SSH = """#!/bin/sh
for command; do :; done
exec sh -c "$command"
"""
PLAY = """
- hosts: all
  gather_facts: false
  become: false
  tasks:
    - include_role: {name: first}
    - include_role: {name: second}
"""


def test_a_role_is_charged_with_its_own_calls(tmp_path):
    """What ansible-playbook really says: a task that nobody has named yet would be taken for the one before."""
    ssh = tmp_path / "ssh"
    ssh.write_text(SSH, encoding="utf-8")
    ssh.chmod(0o755)
    (tmp_path / "play.yml").write_text(PLAY, encoding="utf-8")
    for role, task in (("first", "raw: 'true'"), ("second", "raw: 'true'\n- raw: 'true'")):
        folder = tmp_path / "roles" / role / "tasks"
        folder.mkdir(parents=True)
        (folder / "main.yml").write_text(f"- {task}\n", encoding="utf-8")
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    settings = {"ANSIBLE_CONFIG": f"{ROOT}/ansible.cfg", "ANSIBLE_SSH_EXECUTABLE": str(ssh), "HOME": str(tmp_path)}
    done = subprocess.run(
        [program, "-i", "here,", "-vvv", str(tmp_path / "play.yml")],
        env={**os.environ, **settings, **calls.NAMED_FIRST}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert calls.calls_of_roles(done.stdout) == {("first", "here"): 1, ("second", "here"): 2}


def test_each_role_is_charged_in_a_scenario_that_asks():
    folders = {path.parent.parent.name for path in ROOT.glob("roles/*/tasks/main.yml")} - {"managed_host"}
    assert {role for roles in calls.ROLES.values() for role in roles} == folders
    for scenario in calls.ROLES:
        tests = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob(f"molecule/{scenario}/tests/test_*.py"))
        assert "    assert_each_role_costs_little()\n" in tests, scenario
