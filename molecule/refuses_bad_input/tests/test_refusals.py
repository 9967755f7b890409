"""A bad inventory fails before anything is touched, naming the variable, the value seen and what to set."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from fleet import attempt, playbook

NODE = "homelab"
Inventory = dict[str, Any]


def node(**variables: Any) -> Callable[[Inventory], None]:
    """A change of the node's variables."""

    def change(inventory: Inventory) -> None:
        inventory["speedtest_nodes"]["hosts"][NODE].update(variables)

    return change


def more_nodes(*names: str, **variables: Any) -> Callable[[Inventory], None]:
    """Further nodes with the same variables."""

    def change(inventory: Inventory) -> None:
        hosts = inventory["speedtest_nodes"]["hosts"]
        for name in names:
            hosts[name] = {**hosts[NODE], **variables}
        hosts[NODE].update(variables)

    return change


def archives(*names: str) -> Callable[[Inventory], None]:
    def change(inventory: Inventory) -> None:
        inventory["speedtest_archive"] = {"hosts": {name: {} for name in names}}

    return change


CASES = {
    "unknown engine": (
        node(speedtest_logger_engines=["fastcom"]),
        ["speedtest_logger_engines", "fastcom", "librespeed, iperf3, speedtest_cli, ookla"],
    ),
    "no engine": (node(speedtest_logger_engines=[]), ["speedtest_logger_engines", "seen []", "name at least one"]),
    "interval does not divide a day": (
        node(speedtest_logger_interval="7min"),
        ["speedtest_logger_interval", "seen '7min'", "nearest is 432 s"],
    ),
    "interval is no time": (
        node(speedtest_logger_interval="often"),
        ["speedtest_logger_interval", "seen 'often'", "15min"],
    ),
    "uplink does not fit": (
        more_nodes("n2", "n3", speedtest_logger_uplink="dsl"),
        ["speedtest_logger_uplink", "uplink 'dsl'", "3 nodes", "raise speedtest_logger_interval"],
    ),
    "latest as version": (
        node(speedtest_logger_version="latest"),
        ["speedtest_logger_version", "seen 'latest'", "explicit version such as 0.1.0"],
    ),
    "wrong type, number": (
        node(speedtest_logger_duration_seconds="long"),
        ["speedtest_logger_duration_seconds", "long", "int"],
    ),
    "wrong type, truth": (node(speedtest_logger_paused="perhaps"), ["speedtest_logger_paused", "perhaps", "bool"]),
    "wrong choice": (node(speedtest_logger_ip_family="5"), ["speedtest_logger_ip_family", "'5'", "auto, 4, 6"]),
    "unknown runtime": (
        node(speedtest_logger_runtime="podman"),
        ["speedtest_logger_runtime", "podman", "systemd, compose"],
    ),
    "image without its digest": (
        node(
            speedtest_logger_runtime="compose", speedtest_logger_image_source="pull", speedtest_logger_image="x:latest"
        ),
        ["speedtest_logger_image:", "seen 'x:latest'", "@sha256:"],
    ),
    "docker from nowhere": (
        node(docker_host_source="snap"),
        ["docker_host_source", "snap", "distribution, repository, none"],
    ),
    "misspelt variable": (
        node(speedtest_logger_intervall="1h"),
        ["speedtest_logger_intervall", "no such variable", "did you mean speedtest_logger_interval"],
    ),
    "no archive host": (archives(), ["speedtest_archive", "seen none", "exactly one host"]),
    "two archive hosts": (archives(NODE, "n2"), ["speedtest_archive", f"seen {NODE}, n2", "exactly one host"]),
    "duplicate node name": (
        more_nodes("n2", speedtest_logger_node_name="cellar"),
        ["speedtest_logger_node_name", "seen 'cellar' on homelab, n2", "name of its own"],
    ),
    "path as node name": (
        node(speedtest_logger_node_name="../etc"),
        ["speedtest_logger_node_name", "'../etc'", "letters"],
    ),
    "path as location": (node(speedtest_logger_location="a/b"), ["speedtest_logger_location", "'a/b'", "letters"]),
    "bad quiet hours": (
        node(speedtest_logger_quiet_hours=["25:00-06:00"]),
        ["speedtest_logger_quiet_hours", "25:00-06:00", "22:00-06:00"],
    ),
    "bad time zone": (
        node(speedtest_logger_timezone="Mars/Olympus"),
        ["speedtest_logger_timezone", "Mars/Olympus", "Europe/Berlin"],
    ),
    "iperf3 without a server": (
        node(speedtest_logger_iperf3_servers=[]),
        ["speedtest_logger_iperf3_servers", "HOST:PORT"],
    ),
    "ookla without its licence": (
        node(speedtest_logger_engines=["ookla"]),
        ["speedtest_logger_ookla_licence_accepted", "seen False", "set true if you accept"],
    ),
    "raw output that would tell what is to be kept": (
        node(speedtest_logger_archive_raw=True, speedtest_logger_external_ip="none"),
        ["speedtest_logger_archive_raw", "seen true", "speedtest_logger_external_ip", "have the one or the other"],
    ),
    "a size without its unit": (
        node(speedtest_archive_keep_size="20"),
        ["speedtest_archive_keep_size", "seen '20'", "500MB"],
    ),
}


@pytest.fixture
def use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Inventory], None]], None]:
    """Put a changed inventory in the scenario's place."""
    listed = Path(os.environ["MOLECULE_INVENTORY_FILE"])

    def write(change: Callable[[Inventory], None]) -> None:
        original = yaml.safe_load(listed.read_text(encoding="utf-8"))
        connection = original["speedtest_nodes"]["hosts"][NODE]
        values = yaml.safe_load((listed.parent / "host_vars" / NODE).read_text(encoding="utf-8"))
        groups = yaml.safe_load((listed.parent / "group_vars" / "speedtest_nodes").read_text(encoding="utf-8"))
        inventory = copy.deepcopy(
            {
                "speedtest_nodes": {"hosts": {NODE: {**connection, **groups, **values}}},
                "speedtest_archive": {"hosts": {NODE: {}}},
                "speedtest_targets": {"hosts": {NODE: {}}},
            }
        )
        change(inventory)
        file = tmp_path / "hosts.yml"
        file.write_text(yaml.safe_dump(inventory), encoding="utf-8")
        monkeypatch.setenv("MOLECULE_INVENTORY_FILE", str(file))

    return write


@pytest.mark.parametrize("case", CASES)
def test_refused_before_anything_is_touched(case, use):
    change, words = CASES[case]
    use(change)
    done = playbook("site.yml", "-vvv")
    assert done.returncode != 0, done.stdout[-3000:]
    text = " ".join(done.stdout.split())
    assert "nothing was touched" in text
    assert [word for word in words if word not in text] == [], text[-2000:]
    assert "SSH: EXEC" not in text
    assert (
        attempt(NODE, "ls -d /opt/speedtest* /etc/speedtest* /srv/speedtest* /var/lib/speedtest* 2>/dev/null").stdout
        == ""
    )
