"""The registry with its history: what a run makes of it wherever it is killed, and what differs on the archive host."""

from __future__ import annotations

import json

import pytest
from archive_host import COMMAND, FILES, LATER, NOW, entry, file, fleet, key, node, read, registry


def test_the_registry_keeps_the_history_of_every_schedule():
    first = fleet.schedule_registry({}, {"a": {"interval_seconds": 600, "offset_seconds": 60}}, ["a"], NOW)
    assert first["nodes"]["a"][0]["valid_to"] is None
    assert fleet.schedule_registry(first, {"a": {"interval_seconds": 600, "offset_seconds": 60}}, ["a"], LATER) == first
    changed = fleet.schedule_registry(first, {"a": {"interval_seconds": 900, "offset_seconds": 60}}, ["a"], LATER)
    assert [(e["interval_seconds"], e["valid_from"], e["valid_to"]) for e in changed["nodes"]["a"]] == [
        (600, NOW, LATER),
        (900, LATER, None),
    ]
    assert fleet.schedule_registry(first, {}, [], LATER)["nodes"]["a"][0]["valid_to"] == LATER
    assert first["nodes"]["a"][0]["valid_to"] is None  # the argument is left alone


def test_a_node_that_is_taken_off_still_delivers_and_has_no_more_slots():
    nodes = [node("a"), node("b", state="absent")]
    was = registry(a=[entry()], b=[entry(offset_seconds=300)])
    seen = read(schedule=file(was), authorized=file("# managed by Ansible: speedtest_archive\n"))
    known = fleet.fleet_known(seen, FILES, nodes)
    assert set(known["schedule"]["inventory"]) == set(known["slots"]) == {"a", "b"}  # nobody else moves
    hostvars = {
        name: {
            **{f"speedtest_logger_{key}": value for key, value in values.items()},
            "speedtest_logger_observed": {"plan": {}, "texts": {"/etc/speedtest-telemetry/id_ed25519.pub": key(name)}},
        }
        for name, values in (("a", nodes[0]), ("b", nodes[1]))
    }
    held = {"read": seen, "files": {**FILES, "command": COMMAND}, "known": known, "group": "service"}
    made = fleet.fleet_compared(hostvars, ["a", "b"], held, now=LATER)["wanted"]
    assert {name: history[-1]["valid_to"] for name, history in made["schedule"]["nodes"].items()} == {
        "a": None,
        "b": LATER,
    }
    assert key("b") in made["authorized"]


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[" * 100_000,
        "[]",
        '{"nodes": []}',
        '{"inventory": {}}',
        registry(**{"../x": []}),
        registry(a=[{}]),
        registry(a=[entry(interval_seconds=0)]),
        registry(a=[entry(offset_seconds="1")]),
        registry(a=[entry(interval_seconds=True)]),
        registry(a=[{**entry(), "valid_from": 7}]),
    ],
    ids=range(11),
)
@pytest.mark.parametrize("place", ["schedule", "state", "restored"])
def test_a_registry_that_makes_no_sense_is_named_and_not_overwritten(place, content):
    name = {"schedule": "fleet/schedule", "state": "state/schedule", "restored": "restored-schedule"}[place]
    with pytest.raises(Exception, match=rf"{name}\.json .*: restore it, or remove it to start a new history"):
        fleet.fleet_known(read(**{place: file(content)}), FILES, [node("a")])


@pytest.mark.parametrize("place", ["schedule", "state", "restored", "authorized", "host_key"])
def test_what_is_no_file_is_named(place):
    with pytest.raises(Exception, match=r"seen a link.*; a file is expected"):
        fleet.fleet_known(read(**{place: {"problem": "a link"}}), FILES, [node("a")])


def test_the_registry_is_taken_over_from_where_the_version_before_had_it():
    known = fleet.fleet_known(read(state=file(registry(a=[entry()]))), FILES, [node("a")])
    assert known["schedule"]["nodes"] == {"a": [entry()]}
    assert known["earlier"] == [FILES["earlier"][0]]
    assert known["slots"]["a"]["offset_seconds"] == 60
    # what has been taken over counts no more, whatever the service makes of it
    both = read(schedule=file(registry(a=[entry()])), state=file("{"))
    assert fleet.fleet_known(both, FILES, [node("a")])["schedule"]["nodes"] == {"a": [entry()]}


def test_what_a_backup_brings_back_goes_before_what_is_there():
    there = {"a": [entry(LATER)], "b": [entry(LATER)]}
    restored = {"a": [entry(NOW, interval_seconds=300)], "c": [entry(NOW)]}
    seen = read(schedule=file(registry(**there)), restored=file(registry(**restored)))
    known = fleet.fleet_known(seen, FILES, [node("a"), node("b")])
    assert known["schedule"]["nodes"] == {
        "a": [entry(NOW, LATER, interval_seconds=300), entry(LATER)],
        "b": [entry(LATER)],
        "c": [entry(NOW)],
    }
    assert known["earlier"] == [FILES["earlier"][1]]


def test_the_inventory_says_what_each_node_may_deliver():
    nodes = [node("a"), node("b", location="garden", archive_raw="yes", timezone="Europe/Berlin")]
    known = fleet.fleet_known(read(), FILES, nodes)
    assert known["schedule"]["inventory"] == {
        "a": {"location": "home", "archive_raw": False, "timezone": "UTC"},
        "b": {"location": "garden", "archive_raw": True, "timezone": "Europe/Berlin"},
    }


@pytest.mark.parametrize("folder", [None, {"problem": "a link"}, {"kind": "directory", "owner": "service"}])
def test_the_registry_is_written_only_into_a_folder_of_roots(folder):
    with pytest.raises(Exception, match=r"arc: seen no directory /srv/a/fleet that is root's; .*archive\.yml makes it"):
        fleet.fleet_known(read(folder=folder), FILES, [node("a")])
    assert fleet.fleet_known(read(folder=folder), FILES, [node("a")], writing=False)["names"] == ["a"]


def test_an_archive_host_that_could_not_be_read_is_named():
    with pytest.raises(Exception, match="arc: no route to host"):
        fleet.fleet_known({"unreachable": True, "msg": "no route to host"}, FILES, [node("a")])
    with pytest.raises(Exception, match=r"arc: seen no /etc/ssh/key\.pub; make one with `ssh-keygen -A`"):
        fleet.fleet_known(read(host_key=None), FILES, [node("a")])
    assert fleet.fleet_known(read(host_key=None), FILES, [node("a")], "ssh-ed25519 X")["host_key"] == "ssh-ed25519 X"


class Archive:
    """The archive host's two files, and a run's steps on them, as access.yml and schedule.yml take them."""

    def __init__(self, **files):
        self.files = files
        self.on_nodes = {}

    def known(self, nodes):
        return fleet.fleet_known(read(**self.files), FILES, nodes)

    def differs(self, known, brought, now):
        deployed = fleet.fleet_deployed(
            {n["node_name"]: prefixed(n) for n in brought}, [n["node_name"] for n in brought], known["slots"]
        )
        schedule = fleet.schedule_registry(known["schedule"], deployed, known["names"], now)
        wanted = {"authorized": "keys", "tokens": None, "invitations": None, "schedule": schedule}
        return fleet.fleet_differences(read(**self.files), FILES, wanted, known, "service"), wanted

    def run(self, nodes, now, steps):
        """The steps of a run that is killed after some of them; what still differed is returned."""
        known = self.known(nodes)
        differs, wanted = self.differs(known, nodes, now)
        for step in ("authorized_keys", "inventory", "earlier", "bring", "schedule")[:steps]:
            if step == "authorized_keys" and step in differs:
                self.files["authorized"] = file("keys")
            if step == "inventory" and step in differs:
                self.files["schedule"] = file(json.dumps(known["schedule"]))
            if step == "earlier" and "inventory" in differs:
                self.files = {n: f for n, f in self.files.items() if n not in ("state", "restored")}
            if step == "bring":
                self.on_nodes |= {n["node_name"]: known["slots"][n["node_name"]]["offset_seconds"] for n in nodes}
            if step == "schedule" and step in differs:
                self.files["schedule"] = file(json.dumps(wanted["schedule"]))
        return differs


def prefixed(values):
    return {f"speedtest_logger_{name}": value for name, value in values.items()}


@pytest.mark.parametrize("killed_after", range(6))
def test_a_run_that_is_killed_anywhere_is_finished_by_the_next(killed_after):
    archive = Archive(state=file(registry(a=[entry(location="home", uplink="line")], gone=[entry()])))
    nodes = [node("a", location="garden", interval="5min"), node("b", location="garden", interval="5min")]
    archive.run(nodes, NOW, killed_after)
    archive.run(nodes, LATER, 5)
    assert archive.run(nodes, LATER, 5) == []
    stands = json.loads(archive.files["schedule"]["text"])
    assert {name: history[-1]["offset_seconds"] for name, history in stands["nodes"].items() if name != "gone"} == (
        archive.on_nodes
    )
    assert stands["nodes"]["gone"][-1]["valid_to"] is not None
    assert [e["location"] for e in stands["nodes"]["a"]] == ["home", "garden"]
    assert stands["inventory"] == {
        name: {"location": "garden", "archive_raw": False, "timezone": "UTC"} for name in "ab"
    }
    assert "state" not in archive.files


def test_a_killed_run_gave_the_slots_that_every_later_one_gives():
    """Also one with --limit, which never sees what the killed one has brought."""
    nodes = [node(name) for name in ("a", "b", "c")]
    archive = Archive(schedule=file(registry(b=[entry()])))
    archive.run(nodes, NOW, 4)  # killed before schedule.json tells of it
    assert {n: s["offset_seconds"] for n, s in archive.known(nodes)["slots"].items()} == archive.on_nodes


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, []),
        ({"authorized": file("keys\n# by hand")}, ["authorized_keys"]),
        ({"authorized": file("keys", mode="0644")}, ["authorized_keys"]),
        ({"authorized": None}, ["authorized_keys"]),
        ({"schedule": "mode"}, ["inventory"]),
        ({"schedule": "inventory"}, ["inventory"]),
        ({"schedule": "nodes"}, ["schedule"]),
        ({"schedule": None}, ["inventory", "schedule"]),
        ({"restored": file(registry())}, ["inventory"]),
    ],
)
def test_each_difference_on_the_archive_host_is_seen(change, found):
    nodes = [node("a")]
    archive = Archive()
    archive.run(nodes, NOW, 5)
    harms = {
        "mode": lambda text: file(text, mode="0644"),
        "inventory": lambda text: file(json.dumps({**json.loads(text), "inventory": {"a": {"location": "x"}}})),
        "nodes": lambda text: file(text.replace('"interval_seconds": 600', '"interval_seconds": 300')),
    }
    for name, new in change.items():
        archive.files[name] = harms[new](archive.files["schedule"]["text"]) if isinstance(new, str) else new
    assert archive.differs(archive.known(nodes), nodes, LATER)[0] == found
