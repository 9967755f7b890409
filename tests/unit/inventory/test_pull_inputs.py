"""What preflight refuses of a node that brings itself to its desired state."""

from __future__ import annotations

import pytest
from builders import ROOT

from speedtest_logger.inventory import check
from speedtest_logger.inventory.found import Inventory

L = "speedtest_logger_"
SIGNER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE1mZ2QeYx0lBqVJ8Jp2W3Yk5mJ0q7v2y1m3bH5s9c4d ada"
RIGHT = {L + "converge": "pull", L + "pull_url": "https://bundles.example.org/fleet", L + "pull_signers": [SIGNER]}
GROUPS = {f"speedtest_{name}": ["h"] for name in ("nodes", "archive")}


def problems(**values):
    given = {L + "iperf3_servers": ["target.example.org:5201"], L + "engines": ["iperf3"], **values}
    return check.problems(Inventory({"h": given}, GROUPS, (), (), ROOT))


ENGINE = {"url": "https://x.org/o.tgz", "sha256": "0" * 64, "program": "ookla"}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {L + "pull_url": "file:///media/bundles"},
        {L + "pull_signers": [SIGNER] * 2},
        {L + "runtime": "compose"},
        {L + "state": "absent"},
        {L + "downloads": {"ookla": ENGINE}},
        {L + "downloads": {"ookla": {**ENGINE, "url": "https://x.org/o.zip"}}},
    ],
)
def test_what_makes_sense_is_taken(more):
    assert problems(**{**RIGHT, **more}) == []


@pytest.mark.parametrize(
    ("more", "variable", "words"),
    [
        ({L + "pull_url": ""}, "pull_url", "set where its bundle is served"),
        ({L + "pull_url": "ftp://example.org/"}, "pull_url", "a URL such as"),
        ({L + "pull_url": "file:///../etc"}, "pull_url", "a URL such as"),
        ({L + "pull_signers": []}, "pull_signers", "nothing is trusted unseen"),
        ({L + "pull_signers": ["ssh-ed25519 nonsense"]}, "pull_signers", "a public key"),
        ({L + "pull_signers": [f"{SIGNER}\nfleet ssh-rsa AAAA"]}, "pull_signers", "a public key"),
        ({L + "downloads": {"ookla": {**ENGINE, "url": "https://x.org/o.rar"}}}, "downloads", "not what ookla's url"),
        ({L + "pull_interval_seconds": 5}, "pull_interval_seconds", "from 60 to 86400"),
        ({L + "converge": "both"}, "converge", "push"),
    ],
)
def test_what_cannot_be_is_refused_in_words(more, variable, words):
    found = problems(**{**RIGHT, **more})
    assert [line for line in found if line.startswith(f"{L}{variable}: ") and words in line], found


def test_a_node_that_is_pushed_to_needs_none_of_it():
    assert problems(**{L + "runtime": "compose"}) == []
