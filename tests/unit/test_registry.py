"""The registry of what was deployed: where it lies, what is known of a node, and what is said of one that is broken."""

from __future__ import annotations

import json
import os
import sys

import pytest

from speedtest_logger import registry
from speedtest_logger.errors import StorageError


def entry(location="home", interval=300, valid_to=None):
    return {
        "valid_from": "2026-01-01T00:00:00.000Z",
        "valid_to": valid_to,
        "interval_seconds": interval,
        "offset_seconds": 60,
        "location": location,
        "uplink": None,
    }


def write(root, content, place="fleet"):
    (root / place).mkdir(exist_ok=True)
    (root / place / "schedule.json").write_text(content if isinstance(content, str) else json.dumps(content))


def test_an_archive_that_was_made_without_ansible_has_none(tmp_path):
    assert registry.read(tmp_path) is None


def test_what_is_known_is_the_inventory_and_all_of_the_history(tmp_path):
    history = [entry("home", 3600, "2026-02-01T00:00:00.000Z"), entry("garden")]
    inventory = {"attic": {"location": "shed", "archive_raw": True}, "new": {"location": "barn", "archive_raw": False}}
    write(tmp_path, {"nodes": {"attic": history, "gone": [entry("away")]}, "inventory": inventory})
    found = registry.read(tmp_path)
    assert found
    assert found.known("attic") == registry.Known(frozenset({"home", "garden", "shed"}), 3600, True)
    assert found.known("new") == registry.Known(frozenset({"barn"}), 86_400, False)
    assert found.known("gone") == registry.Known(frozenset({"away"}), 300, None)
    assert found.known("stranger") is None
    assert [each.location for each in found.history("attic")] == ["home", "garden"]


def test_the_place_of_the_version_before_is_read_where_there_is_no_other(tmp_path):
    write(tmp_path, {"nodes": {"attic": [entry("old")]}}, "state")
    found = registry.read(tmp_path)
    assert found
    assert found.inventory is None
    assert found.known("attic") == registry.Known(frozenset({"old"}), 300, None)
    write(tmp_path, {"nodes": {}, "inventory": {}})
    found = registry.read(tmp_path)
    assert found
    assert found.known("attic") is None


@pytest.mark.parametrize("content", ["{", "[]", "7", '{"nodes": []}', '{"nodes": {}, "inventory": 7}', "[" * 100_000])
def test_one_that_cannot_be_read_is_named_with_what_to_do(tmp_path, content):
    write(tmp_path, content)
    with pytest.raises(StorageError, match=r"fleet/schedule\.json cannot be read .* run site\.yml"):
        registry.read(tmp_path)


@pytest.mark.parametrize("history", [[7], {"a": 1}, [{"location": "home"}], 7, [entry(interval="x")]])
def test_an_entry_that_makes_no_sense_is_no_node_that_is_unknown(tmp_path, history):
    write(tmp_path, {"nodes": {"attic": history}})
    found = registry.read(tmp_path)
    assert found
    with pytest.raises(StorageError, match="node 'attic'"):
        found.known("attic")


def test_links_and_pipes_in_its_place_are_refused_at_once(tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "secret").write_text('{"nodes": {}}')
    (tmp_path / "state/schedule.json").symlink_to(tmp_path / "secret")
    with pytest.raises(StorageError, match="cannot be read"):
        registry.read(tmp_path)
    (tmp_path / "state/schedule.json").unlink()
    os.mkfifo(tmp_path / "state/schedule.json")
    with pytest.raises(StorageError, match="a pipe where a file should be"):
        registry.read(tmp_path)


def test_a_thousand_nodes_cost_a_delivery_little(tmp_path):
    names = [f"node-{number:04d}" for number in range(1000)]
    nodes = {name: [entry(valid_to="2026-02-01T00:00:00.000Z"), entry()] for name in names}
    write(tmp_path, {"nodes": nodes, "inventory": {name: {"location": "home", "archive_raw": False} for name in names}})
    calls: list[str] = []
    sys.setprofile(lambda frame, event, _: calls.append(frame.f_code.co_name) if event == "call" else None)
    try:
        found = registry.read(tmp_path)
        assert found.known("node-0500")
    finally:
        sys.setprofile(None)
    assert len(calls) < 100, calls  # none for each node
