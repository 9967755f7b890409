"""What preflight refuses of a node that a cluster runs, and what its chart is told."""

from __future__ import annotations

import pytest
from builders import ROOT

from speedtest_logger.inventory import check, kubernetes
from speedtest_logger.inventory.found import Inventory, View
from speedtest_logger.node import config

L = "speedtest_logger_"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE1mZ2QeYx0lBqVJ8Jp2W3Yk5mJ0q7v2y1m3bH5s9c4d h"
RIGHT = {L + "runtime": "kubernetes", L + "start_tolerance_seconds": 90}
GROUPS = {f"speedtest_{name}": ["h"] for name in ("nodes", "archive")}
ENGINE = {L + "iperf3_servers": ["target.example.org:5201"], L + "engines": ["iperf3"]}


def problems(**values):
    return check.problems(Inventory({"h": {**ENGINE, **values}}, GROUPS, (), (), ROOT))


@pytest.mark.parametrize(
    "more",
    [
        {},
        {L + "identity": KEY, L + "machine": "rack-1", L + "interval": "15min"},
        {L + "interval": "6h"},
    ],
)
def test_what_makes_sense_is_taken(more):
    assert problems(**{**RIGHT, **more}) == []


@pytest.mark.parametrize(
    ("more", "variable", "words"),
    [
        ({L + "interval": "90min"}, "interval", "whole hours that divide a day"),
        ({L + "interval": "40min"}, "interval", "an interval that divides an hour"),
        ({L + "interval": "90s", L + "measure_timeout_seconds": 5}, "interval", "multiples of 60 s"),
        ({L + "start_tolerance_seconds": 30}, "start_tolerance_seconds", "a pod starts some seconds after its slot"),
        ({L + "probes": ["ping"], L + "ping_targets": ["192.0.2.1"]}, "probes", "leave it out"),
        ({L + "downloads": {"ookla": {"url": "https://x.org/o.tgz", "sha256": "0" * 64}}}, "downloads", "leave it out"),
        ({L + "state": "absent"}, "state", "take it out of the chart's values"),
        ({L + "identity": "0" * 64}, "identity", "transport is ssh: set its public key"),
        ({L + "identity": "ssh-ed25519 nonsense"}, "identity", "a public key such as"),
        ({L + "identity": f"{KEY}\nssh-rsa AAAA"}, "identity", "a public key such as"),
        ({L + "identity": KEY, L + "runtime": "systemd"}, "identity", "leave it out, or set kubernetes"),
        ({L + "machine": "rack-1", L + "runtime": "compose"}, "machine", "leave it out, or set kubernetes"),
        ({L + "converge": "pull"}, "runtime", "a cluster looks after such a node"),
    ],
)
def test_what_cannot_be_is_refused_in_words(more, variable, words):
    found = problems(**{**RIGHT, **more})
    assert [line for line in found if line.startswith(f"{L}{variable}: ") and words in line], found


def test_two_pods_that_do_not_fit_on_the_minute_are_refused():
    """Three of 80 s would fit into five minutes; beginning with full minutes, they do not."""
    hosts = {
        name: {**ENGINE, **RIGHT, L + "uplink": "line", L + "interval": "5min", L + "start_tolerance_seconds": 60,
               L + "measure_timeout_seconds": 18}
        for name in ("a", "b", "c")
    }  # fmt: skip
    inventory = Inventory(hosts, {"speedtest_nodes": list(hosts), "speedtest_archive": ["a"]}, (), (), ROOT)
    [found] = check.problems(inventory)
    assert "from a full minute on" in found
    for values in hosts.values():
        values[L + "runtime"] = "systemd"
    assert check.problems(inventory) == []


def test_the_chart_s_entry_is_what_the_node_would_read():
    slots = {"interval_seconds": 3600, "offset_seconds": 1320, "on_calendar": []}
    more = {L + "slots": slots, L + "location": "home", L + "machine": "rack-1", L + "plan_download_mbps": 250}
    entry = kubernetes.in_values(View("h", {**ENGINE, **RIGHT, **more}, ("speedtest_logger",)))
    assert (entry["intervalSeconds"], entry["offsetSeconds"]) == (3600, 1320)
    assert {name: entry[name] for name in ("name", "location", "machine")} == {
        "name": "h",
        "location": "home",
        "machine": "rack-1",
    }
    assert "uplink" not in entry
    assert entry["settings"]["SPEEDTEST_PLAN_DOWNLOAD_MBPS"] == "250"
    assert not set(entry["settings"]) & {config.PREFIX + name.upper() for name in kubernetes.OF_CHART}
    assert all(isinstance(value, str) for value in entry["settings"].values())
    settings = config.load({"SPEEDTEST_NODE": "h", **entry["settings"]})
    assert (settings.engines, settings.start_tolerance_seconds) == (("iperf3",), 90)
