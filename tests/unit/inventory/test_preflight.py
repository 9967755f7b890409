"""The check as Ansible runs it: missing and empty inventories, templates, files, and the examples."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from builders import ROOT
from everything import L


def preflight(*options, cwd=ROOT, **environment_):
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), *options, "playbooks/preflight.yml"],
        cwd=cwd, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", **environment_},
    )  # fmt: skip
    return done.returncode, " ".join((done.stdout + done.stderr).replace("''", "'").split())


@pytest.mark.parametrize("options", [(), ("--limit", "attic"), ("--limit", "all")])
def test_an_inventory_that_is_missing_or_empty_fails(options, tmp_path):
    code, said = preflight("-i", str(tmp_path / "missing.yml"), *options)
    assert code != 0
    assert "nothing was touched" in said
    assert "missing.yml: seen no such file" in said
    assert "cp -r inventory/homelab inventory/mine" in said
    assert "name your inventory with -i" in said


def test_ansibles_own_inventory_is_read_and_each_problem_is_told_once(tmp_path):
    inventory = {
        "speedtest_archive": {"hosts": {"nas": {"ansible_port": "ssh"}}},
        "speedtest_nodes": {
            "hosts": {"a": {}, "b": {}},
            "vars": {
                L + "interval": "7min",
                L + "location": "{{ nowhere }}",
                L + "loger": 1,
                L + "iperf3_servers": ["{{ nowhere }}"],
            },
        },
        "speedtest_node": {"hosts": {"c": {}}},
    }
    (tmp_path / "hosts.json").write_text(json.dumps(inventory))
    (tmp_path / "host_vars").mkdir()
    (tmp_path / "host_vars/aa.yml").write_text("x: 1\n")
    code, said = preflight("-i", str(tmp_path / "hosts.json"), "--limit", "b")
    assert code != 0
    for words in (
        "ansible_port: seen 'ssh' on nas",
        "speedtest_logger_interval: seen '7min' on a, b;",
        "speedtest_logger_location: seen a template that fails on a, b;",
        "speedtest_logger_iperf3_servers: seen a template that fails on a, b;",
        "speedtest_logger_loger: seen a value on a, b; there is no such variable",
        "group speedtest_node: seen c",
        "host_vars/aa.yml: seen",
    ):
        assert words in said, (words, said)


@pytest.mark.parametrize("inventory", ["inventory/homelab/hosts.yml", "lab/inventory/hosts.yml"])
def test_the_example_inventories_pass(inventory):
    code, said = preflight("-i", inventory)
    assert code == 0, said
