"""An Ansible that is too old is refused by the first play of every playbook, before a host is contacted."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from builders import ROOT
from tries import some

OLDEST, NEXT = "2.14", "2.18"  # NEXT is the last that is refused: it understands all that the oldest does
PLAYBOOKS = ("site.yml", *(f"playbooks/{path.name}" for path in sorted(ROOT.glob("playbooks/*.yml"))))
# addresses for documentation: nothing answers there
INVENTORY = """
all:
  children:
    speedtest_archive: {hosts: {arc: {ansible_host: 192.0.2.1}}}
    speedtest_targets: {hosts: {aim: {ansible_host: 192.0.2.2}}}
    speedtest_nodes: {hosts: {attic: {ansible_host: 192.0.2.3}}}
"""
CASES = some([*((OLDEST, playbook) for playbook in PLAYBOOKS), (NEXT, "site.yml")], 12)


def old(version: str) -> Path:
    """ansible-playbook of an old ansible-core, installed once and kept under .cache."""
    folder = ROOT / ".cache" / f"ansible-core-{version}"
    program = folder / "bin" / "ansible-playbook"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [folder / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run(
            [*pip, f"ansible-core=={version}.*"], capture_output=True, text=True, check=False, timeout=300
        )
        if done.returncode:
            pytest.skip(f"ansible-core {version} cannot be installed here: {done.stderr[-200:]}")
        (folder / "complete").touch()
    return program


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_every_playbook_begins_with_the_refusal(playbook):
    file = ROOT / playbook
    while file.name != "floor.yml":  # what one begins with may begin with it
        first = yaml.safe_load(file.read_text())[0]
        file = file.parent / first["ansible.builtin.import_playbook"]
    assert file.resolve() == ROOT / "playbooks/floor.yml"


@pytest.mark.sampled
@pytest.mark.parametrize(("version", "playbook"), CASES)
def test_an_old_ansible_is_refused_and_contacts_no_host(version, playbook, tmp_path):
    (tmp_path / "hosts.yml").write_text(INVENTORY)
    log = tmp_path / "ssh.log"
    ssh = tmp_path / "ssh"
    ssh.write_text(f"#!/bin/sh\necho contacted >>{log}\nexit 255\n")
    ssh.chmod(0o755)
    done = subprocess.run(
        [old(version), "-i", tmp_path / "hosts.yml", playbook, "-e", f"ansible_ssh_executable={ssh}"],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    said = " ".join(done.stdout.split())
    assert done.returncode != 0
    assert f"nothing was touched: seen ansible-core {version}." in said
    assert "2.19 or newer is needed" in said
    assert done.stdout.count("TASK [") == 1
    assert not log.exists()


def test_the_floor_is_what_is_installed_for_the_control_machine():
    pinned = (ROOT / "requirements/control.txt").read_text()
    assert "\nansible-core==2.19." in pinned
    assert "version('2.19', '>=')" in (ROOT / "playbooks/floor.yml").read_text()
