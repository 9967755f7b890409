"""Nodes that a cluster runs, in what Ansible knows of the whole fleet."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError

from plugins.filter import fleet, kubernetes
from speedtest_logger import record

L = "speedtest_logger_"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43
HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "B" * 43
COMMAND = "/opt/receive --root /srv/a"
WAYS = {
    "ssh": {"archive_address": "nas.example.org", "archive_port": 2222, "archive_user": "speedtest-archive",
            "archive_others": [], "archive_other_keys": []},
    "https": {"archive_address": "speed.example.org", "archive_port": 443, "archive_user": "speedtest-archive",
              "archive_others": [], "archive_other_keys": []},
}  # fmt: skip


def pod(**more):
    return {L + "runtime": "kubernetes", L + "interval": "1h", L + "start_tolerance_seconds": 90, **more}


def state(hostvars):
    slots = fleet.fleet_slots(fleet.fleet_nodes(hostvars, list(hostvars)), {})
    return {"slots": slots, "host_key": HOST_KEY, "root": ""}


def values(hostvars, hosts=None):
    return kubernetes.kubernetes_values(hostvars, hosts or list(hostvars), state(hostvars), WAYS, "")


def test_a_pod_and_a_pi_on_one_line_have_slots_of_their_own():
    hostvars = {"pi": {L + "uplink": "line", L + "interval": "1h"}, "rack": pod(**{L + "uplink": "line"})}
    slots = state(hostvars)["slots"]
    assert slots["rack"]["offset_seconds"] % 60 == 0
    ahead = (slots["pi"]["offset_seconds"] - slots["rack"]["offset_seconds"]) % 3600
    assert ahead >= 180 + 90 + 2
    assert 3600 - ahead >= 180 + 30 + 2


def test_the_values_have_the_archive_its_key_and_each_node():
    found = values({"pi": {}, "rack": pod(), "cellar": pod(**{L + "location": "home"})})
    assert found["hosts"] == ["rack", "cellar"]
    archive = found["values"]["archive"]
    assert (archive["host"], archive["port"], archive["transport"]) == ("nas.example.org", 2222, "ssh")
    assert archive["knownHosts"] == f"[nas.example.org]:2222 {HOST_KEY}\n"
    assert [node["name"] for node in found["values"]["nodes"]] == ["rack", "cellar"]
    assert "image" not in found["values"]


def test_one_image_for_all_is_named():
    image = "registry.example.org/speedtest-logger@sha256:" + "0" * 64
    assert values({"rack": pod(**{L + "image": image})})["values"]["image"] == image


def test_over_https_the_front_is_named():
    archive = values({"rack": pod(**{L + "transport": "https"})})["values"]["archive"]
    assert archive == {
        "host": "speed.example.org",
        "port": 443,
        "user": "speedtest-archive",
        "transport": "https",
        "ca": "",
    }


def test_a_release_that_would_deliver_in_two_ways_is_refused():
    with pytest.raises(AnsibleFilterError, match="use --limit"):
        values({"rack": pod(), "cellar": pod(**{L + "transport": "https"})})


def test_without_such_a_node_it_says_what_to_set():
    with pytest.raises(AnsibleFilterError, match="set it for the nodes that a cluster runs"):
        values({"pi": {}})


def test_the_archive_lets_in_whose_identity_the_inventory_has():
    hostvars = {"rack": pod(**{L + "identity": f"{KEY} rack"}), "cellar": pod()}
    keys = fleet.fleet_keys(hostvars, list(hostvars), "", sorted(hostvars), COMMAND)
    assert keys.splitlines()[1:] == [f'restrict,command="{COMMAND} --node rack" {KEY} rack']
    # one that is not told any more keeps its access, as one that a run has not reached does
    assert (
        fleet.fleet_keys({"rack": pod()}, ["rack"], keys, ["rack"], COMMAND).splitlines()[1:] == keys.splitlines()[1:]
    )


def test_the_archive_knows_the_token_of_whoever_has_one():
    hostvars = {"rack": pod(**{L + "identity": "a" * 64, L + "transport": "https"})}
    assert f"rack {'a' * 64}" in fleet.fleet_tokens(hostvars, ["rack"], None, ["rack"])


def test_an_identity_counts_in_a_cluster_only():
    """Elsewhere a run reads the key on the machine itself."""
    assert fleet.told({"pi": {L + "identity": KEY}}, "pi") == {}


def test_a_copied_identity_is_refused():
    hostvars = {name: pod(**{L + "identity": f"{KEY} rack"}) for name in ("rack", "cellar")}
    with pytest.raises(AnsibleFilterError, match="cellar seems to be the copy"):
        fleet.fleet_keys(hostvars, list(hostvars), "", sorted(hostvars), COMMAND)


def test_the_registry_has_its_slots_once_the_values_are_written():
    hostvars = {"rack": pod(), "pi": {}}
    assert fleet.brought_hosts(hostvars, ["rack", "pi"]) == ["pi"]
    hostvars["rack"]["fleet_charts"] = {"hosts": ["rack"]}
    assert fleet.brought_hosts(hostvars, ["rack", "pi"]) == ["rack", "pi"]


def test_no_run_opens_a_connection_to_it():
    hostvars = {"rack": pod(), "pi": {}}
    assert fleet.pushed_hosts(hostvars, {"speedtest_nodes": ["rack", "pi"]}) == ["pi"]
    assert fleet.machine_hosts(hostvars, ["rack", "pi"]) == ["pi"]


def test_a_runtime_that_comes_later_is_one_to_log_into_unless_the_record_says_otherwise(monkeypatch):
    hostvars = {"rack": pod(), "pi": {L + "runtime": "compose"}, "pod": {L + "runtime": "nomad"}}
    assert fleet.machine_hosts(hostvars, list(hostvars)) == ["pi", "pod"]
    monkeypatch.setattr(record, "RUNTIMES_WITHOUT_LOGIN", ("kubernetes", "nomad"))
    assert fleet.machine_hosts(hostvars, list(hostvars)) == ["pi"]
