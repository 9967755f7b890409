"""A bad inventory fails before anything is touched, naming each variable, the value seen and what to set."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from fleet import attempt, playbook

from speedtest_logger.engines.catalogue import ENGINES

NODE = "homelab"
LOGGER = "speedtest_logger_"
Inventory = dict[str, Any]

# Each value is wrong by itself: all of them are named in one run. The words are what its line has to hold.
WRONG: dict[str, tuple[Any, list[str]]] = {
    "speedtest_logger_engines": (["fastcom"], ["fastcom", ", ".join(ENGINES)]),
    "speedtest_logger_interval": ("7min", ["seen '7min'", "nearest is 432 s"]),
    "speedtest_logger_push_interval": ("often", ["seen 'often'", "15min"]),
    "speedtest_logger_version": ("latest", ["seen 'latest'", "explicit version"]),
    "speedtest_logger_duration_seconds": ("long", ["seen 'long'", "from 1 to 300"]),
    "speedtest_logger_paused": ("perhaps", ["seen 'perhaps'", "true or false"]),
    "speedtest_logger_ip_family": ("5", ["seen '5'", "auto, 4, 6"]),
    "speedtest_logger_runtime": ("podman", ["seen 'podman'", "systemd, compose"]),
    "speedtest_logger_image": ("x:latest", ["seen 'x:latest'", "by its digest"]),
    "speedtest_logger_node_name": ("../etc", ["seen '../etc'", "lower-case letters"]),
    "speedtest_logger_location": ("a/b", ["seen 'a/b'", "lower-case letters"]),
    "speedtest_logger_quiet_hours": (["25:00-06:00"], ["25:00-06:00", "22:00-06:00"]),
    "speedtest_logger_timezone": ("Mars/Olympus", ["Mars/Olympus", "Europe/Berlin"]),
    "speedtest_logger_user": ("root", ["seen 'root'", "not root"]),
    "speedtest_logger_uid": (0, ["seen 0", "from 100 to 60000"]),
    "speedtest_logger_state_dir": ("/var/lib", ["seen '/var/lib'", "a directory of its own"]),
    "speedtest_logger_outbox_max_mb": (-1, ["seen -1", "from 0.01"]),
    "speedtest_logger_plan_upload_mbps": (float("nan"), ["seen nan", "a number from 0"]),
    "speedtest_archive_dir": ('/srv/x"\nevil', ["a directory of its own", "without control characters"]),
    "speedtest_archive_upkeep_calendar": ("garbage", ["seen 'garbage'", "a calendar expression"]),
    "speedtest_archive_keep_size": ("20", ["seen '20'", "500MB"]),
    "speedtest_archive_backup_password": ("planted\nsecret", ["seen a value that is not shown"]),
    "speedtest_target_iperf3_ports": ([22, 99999, -1], ["99999", "from 1 to 65535"]),
    "docker_host_source": ("snap", ["seen 'snap'", "distribution, repository, none"]),
    "fleet_archive_address": ("-oProxyCommand=x y", ["a host's name or address"]),
    "speedtest_monitoring_mail_password": ("changeme", ["seen a value that is not shown", "everybody tries it first"]),
    "fleet_environment": ("live", ["seen 'live'", "development, staging, production"]),
    "speedtest_loger_intervall": ("1h", ["no such variable", "did you mean speedtest_logger_interval"]),
}
# Each value is right by itself, and wrong with the others.
TOGETHER: dict[str, Any] = {
    "speedtest_logger_engines": ["iperf3", "ookla"],
    "speedtest_logger_iperf3_servers": [],
    "speedtest_logger_archive_raw": True,
    "speedtest_logger_external_ip": "none",
    "speedtest_logger_measure_timeout_seconds": 59,
    "speedtest_archive_home_dir": "/srv/speedtest-archive/home",
    "speedtest_archive_backup_repository": "/mnt/restic",
    "speedtest_archive_version": "9.9.9",
    "speedtest_target_user": "speedtest-archive",
}
CONTRADICTIONS = {
    "speedtest_logger_iperf3_servers": ["seen []", "HOST:PORT"],
    "speedtest_logger_ookla_licence_accepted": ["seen False", "set true if you accept"],
    "speedtest_logger_archive_raw": ["seen True", "speedtest_logger_external_ip", "choose one of the two"],
    "speedtest_logger_measure_timeout_seconds": ["seen 59", "below speedtest_logger_interval (60)"],
    "speedtest_archive_dir": ["seen '/srv/speedtest-archive'", "none inside another"],
    "speedtest_archive_backup_password": ["seen nothing", "keep it in a vault"],
    "speedtest_archive_version": ["seen '9.9.9'", "this checkout is", "put the artifact there"],
    "speedtest_target_user": ["speedtest_archive_user is the same"],
}


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs site.yml with a changed inventory in the scenario's place, and gives its words."""
    listed = Path(os.environ["MOLECULE_INVENTORY_FILE"])
    original = yaml.safe_load(listed.read_text(encoding="utf-8"))["speedtest_nodes"]["hosts"][NODE]
    values = yaml.safe_load((listed.parent / "host_vars" / NODE).read_text(encoding="utf-8"))
    groups = yaml.safe_load((listed.parent / "group_vars" / "speedtest_nodes").read_text(encoding="utf-8"))

    def run(change: Callable[[Inventory], None]) -> str:
        inventory = copy.deepcopy(
            {
                "speedtest_nodes": {"hosts": {NODE: {**original, **groups, **values}}},
                "speedtest_archive": {"hosts": {NODE: {}}},
                "speedtest_targets": {"hosts": {NODE: {}}},
            }
        )
        change(inventory)
        file = tmp_path / "hosts.yml"
        file.write_text(yaml.safe_dump(inventory, allow_unicode=True), encoding="utf-8")
        monkeypatch.setenv("MOLECULE_INVENTORY_FILE", str(file))
        done = playbook("site.yml", "-vvv")
        assert done.returncode != 0, done.stdout[-3000:]
        assert "SSH: EXEC" not in done.stdout
        assert "ESTABLISH SSH CONNECTION" not in done.stdout
        ours = "ls -d /opt/speedtest* /etc/speedtest* /srv/speedtest* /var/lib/speedtest* 2>/dev/null"
        assert attempt(NODE, ours).stdout == ""
        return " ".join(done.stdout.replace("''", "'").replace('\\"', '"').split())

    return run


def line(said: str, variable: str) -> str:
    """What a run said about a variable, from its name to the next one's."""
    start = said.index(f"{variable}: seen ")
    return said[start : start + 600]


def test_each_value_that_is_wrong_is_named_in_one_run(refused):
    said = refused(
        lambda inventory: inventory["speedtest_nodes"]["hosts"][NODE].update(
            {name: value for name, (value, _) in WRONG.items()}
        )
    )
    assert "nothing was touched" in said
    assert "planted" not in said
    for variable, (_, words) in WRONG.items():
        told = line(said, variable)
        assert [word for word in words if word not in told] == [], told


def test_what_contradicts_is_named_in_one_run(refused):
    said = refused(lambda inventory: inventory["speedtest_nodes"]["hosts"][NODE].update(TOGETHER))
    for variable, words in CONTRADICTIONS.items():
        told = line(said, variable)
        assert [word for word in words if word not in told] == [], told


SECRETS = {
    "fleet_environment": "production",
    "speedtest_archive_backup_repository": "/mnt/restic",
    "speedtest_archive_backup_password": "planted-in-clear-5f0c",
    "speedtest_archive_backup_environment": {"AWS_SECRET_ACCESS_KEY": "planted-in-clear-5f0c"},
    "speedtest_monitoring_mail_password": "postgres",
    "speedtest_database_dsn": "postgresql://speedtest:planted-9@db.example.org/speedtest",
}
REFUSED = {
    "speedtest_archive_backup_password": ["it lies in clear in", "hosts.yml: encrypt the file"],
    "speedtest_monitoring_mail_password": ["everybody tries it first", "openssl rand -base64 24"],
    "speedtest_database_dsn": ["fewer than 16 characters"],
}
SHARED = "password: seen a value that is not shown on homelab; speedtest_archive_backup_environment has the same"


def test_secrets_that_are_none_are_named_and_not_shown(refused):
    said = refused(lambda inventory: inventory["speedtest_nodes"]["hosts"][NODE].update(SECRETS))
    for variable, words in REFUSED.items():
        told = line(said, variable)
        assert "seen a value that is not shown" in told
        assert [word for word in words if word not in told] == [], told
    assert SHARED in said
    assert "planted" not in said


def test_a_fleet_that_does_not_fit_is_refused(refused):
    def change(inventory: Inventory) -> None:
        hosts = inventory["speedtest_nodes"]["hosts"]
        for name in ("n2", "n3"):
            hosts[name] = {**hosts[NODE], LOGGER + "uplink": "dsl"}
        hosts[NODE][LOGGER + "uplink"] = "dsl"
        inventory["speedtest_archive"] = {"hosts": {NODE: {}, "n2": {}}}
        inventory["speedtest_node"] = {"hosts": {"n4": {}}}

    said = refused(change)
    assert "group speedtest_archive: seen homelab, n2; put exactly one host into it" in said
    assert "group speedtest_node: seen n4; it has no meaning here: did you mean speedtest_nodes?" in said
    told = line(said, LOGGER + "uplink")
    assert "seen 'dsl'; 3 nodes (homelab, n2, n3) need" in told
    assert "speedtest_logger_measure_timeout_seconds to " in told
    assert "raise speedtest_logger_interval" in told


def test_an_inventory_without_hosts_is_refused(refused):
    def change(inventory: Inventory) -> None:
        inventory.clear()
        inventory["all"] = {"hosts": {}}

    assert "there is no host in it" in refused(change)
