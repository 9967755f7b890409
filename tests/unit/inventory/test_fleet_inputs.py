"""What preflight refuses of several hosts together: of one location, on one uplink, with one store."""

from __future__ import annotations

import time

import pytest
from builders import ROOT
from everything import A, L

from speedtest_logger.inventory import check, roles
from speedtest_logger.inventory.found import Inventory

HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


def test_many_hosts_with_one_problem_are_one_line():
    hosts = {f"n{number:03d}": {L + "interval": "7min", L + "uid": 0} for number in range(100)}
    groups = {"speedtest_nodes": sorted(hosts), "speedtest_archive": ["n000"]}
    found = check.problems(Inventory(hosts, groups, checkout=ROOT))
    assert found == sorted(found)
    assert found[0] == (
        "speedtest_logger_interval: seen '7min' on n000, n001, n002 and 97 more; 420 s does not divide a day into "
        "slots of at least 60 s: nearest is 432 s"
    )
    assert len(found) == 2


@pytest.mark.parametrize(
    ("attic", "porch", "seen"),
    [
        ({"line_down": {"slots": 3}}, {"line_down": False}, "line_down: False on porch; attic of the same "),
        ({"unstable": False}, {}, "nothing on porch; attic of the same location (home) has False: unstable is judged"),
        ({}, {"unstable": False}, "unstable: False on porch; attic of the same location (home) leaves it out: "),
        ({"below_plan": {"percent": 40}, "silent_node": False}, {"unstable": True}, "unstable: True on porch; "),
        ({"below_plan": {"percent": 40}, "silent_node": False, "line_down": False}, {"line_down": False}, None),
    ],
)  # fmt: skip
def test_nodes_of_a_location_that_say_different_things_of_their_line_are_named(attic, porch, seen):
    hosts = {
        "attic": {L + "location": "home", L + "alerts": attic},
        "porch": {L + "location": "home", L + "alerts": porch},
        "barn": {L + "location": "farm", L + "alerts": {"line_down": {"slots": 9}, "unstable": {"changes": 9}}},
    }
    groups = {"speedtest_nodes": list(hosts), "speedtest_archive": ["attic"]}
    lines = check.problems(Inventory(hosts, groups, checkout=ROOT))
    assert [line.startswith(f"{L}alerts: seen {seen}") for line in lines] == [True] * (seen is not None), lines


def test_nodes_that_share_a_name_or_too_full_an_uplink_are_named():
    hosts = {name: {L + "uplink": "dsl", L + "interval": "10min"} for name in ("a", "b", "c")}
    groups = {"speedtest_nodes": ["a", "b", "c"], "speedtest_archive": ["a"]}
    (line,) = check.problems(Inventory(hosts, groups, checkout=ROOT))
    assert line.startswith("speedtest_logger_uplink: seen 'dsl'; 3 nodes (a, b, c) need ")
    assert line.count("3 nodes") == 1
    assert "raise speedtest_logger_interval" in line
    fitting = int(line.partition("speedtest_logger_measure_timeout_seconds to ")[2].split()[0])
    for timeout, fits in ((fitting, True), (fitting + 1, False)):
        for values in hosts.values():
            values[L + "measure_timeout_seconds"] = timeout
        assert (check.problems(Inventory(hosts, groups, checkout=ROOT)) == []) is fits
    hosts["b"] = hosts["c"] = {L + "node_name": "cellar"}
    (line,) = check.problems(Inventory(hosts, groups, checkout=ROOT))
    assert line == "speedtest_logger_node_name: seen 'cellar' on b, c; give each a name of its own"


def test_several_archive_hosts_share_one_store_and_each_has_its_key_pinned():
    store = {A + f"store_{name}": "x" for name in ("access_key", "secret_key")} | {A + "shared": True}
    right = {
        host: {**store, A + "store_address": "s3://measurements/records", "fleet_archive_host_key": HOST_KEY}
        for host in "ab"
    }

    def said(**b):
        groups = {"speedtest_archive": ["a", "b"], "speedtest_nodes": ["n"]}
        changed = {name: value for name, value in {**right["b"], **b}.items() if value is not None}
        return check.problems(Inventory({**right, "b": changed, "n": {}}, groups, checkout=ROOT))

    assert said() == []
    assert [line.split(";")[0] for line in said(fleet_archive_host_key=None)] == [
        "fleet_archive_host_key: seen nothing of b"
    ]
    assert [line.split(";")[0] for line in said(**{A + "shared": False})] == [f"{A}shared: seen False of b"]
    assert [line.split(";")[0] for line in said(**{A + "store_address": "s3://others/records"})] == [
        f"{A}store_address: seen s3://measurements/records, s3://others/records"
    ]


def test_a_large_inventory_costs_one_look_at_each_value(monkeypatch):
    looked = []
    original = type(roles.known()[L + "interval"].domain).problem
    monkeypatch.setattr(
        type(roles.known()[L + "interval"].domain),
        "problem",
        lambda self, value: looked.append(value) or original(self, value),
    )
    hosts = {f"n{number:04d}": {L + "interval": "1h", L + "uplink": f"u{number // 4}"} for number in range(1000)}
    groups = {"speedtest_nodes": sorted(hosts), "speedtest_archive": ["n0000"]}
    began = time.monotonic()
    assert check.problems(Inventory(hosts, groups, checkout=ROOT)) == []
    print(f"1,000 hosts: {time.monotonic() - began:.2f} s")
    assert len(hosts) <= len(looked) <= 5 * len(hosts)
