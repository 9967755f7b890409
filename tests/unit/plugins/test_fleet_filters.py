"""What site.yml knows of the whole fleet: keys, the registry with its history, and what differs on the archive host."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from builders import ROOT


def load(path: str):
    spec = importlib.util.spec_from_file_location("plugin_" + Path(path).stem, ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fleet = load("plugins/filter/fleet.py")
NOW, LATER = "2026-01-01T00:00:00.000Z", "2026-02-01T00:00:00.000Z"
COMMAND = "/opt/receive --root /srv/a"
FILES = {
    "archive": "arc",
    "host_key": "/etc/ssh/key.pub",
    "authorized": "/home/.ssh/authorized_keys",
    "tokens": "/home/tokens",
    "invitations": "/home/invitations",
    "enrolled": "/srv/a/state/enrolled",
    "root": "/front/caddy/pki/root.crt",
    "folder": "/srv/a/fleet",
    "schedule": "/srv/a/fleet/schedule.json",
    "earlier": ["/srv/a/state/schedule.json", "/srv/a/state/restored-schedule.json"],
}


def key(letter: str) -> str:
    return "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + letter * 43


def host(node: str, content: str | None = None, **more):
    """A node's variables after site.yml has looked at it."""
    seen = {"texts": {"/etc/speedtest-telemetry/id_ed25519.pub": content}} if content else {}
    return {"speedtest_logger_node_name": node, "speedtest_logger_observed": seen, **more}


def keys(hostvars, current="", hosts=None):
    return fleet.fleet_keys(hostvars, hosts or list(hostvars), current, sorted(hostvars), COMMAND)


def file(content: str, **changes):
    return {"kind": "file", "owner": "root", "group": "service", "mode": "0640", "text": content, **changes}


def read(**files):
    """What the archive host answers: a host key, root's folder, and these files by their name in FILES."""
    seen = {FILES["host_key"]: file("ssh-ed25519 HOST\n"), FILES["folder"]: {"kind": "directory", "owner": "root"}}
    places = {**FILES, "state": FILES["earlier"][0], "restored": FILES["earlier"][1]}
    return {"files": seen | {places[name]: content for name, content in files.items()}}


def node(name: str, **changes):
    values = {
        "node_name": name,
        "transport": "ssh",
        "interval": "10min",
        "measure_timeout_seconds": 60,
        "start_tolerance_seconds": 10,
        "uplink": "line",
        "location": "home",
        "archive_raw": False,
        "timezone": "UTC",
        "alerts": {},
        "data_budget_gb": 0.0,
        "plan_download_mbps": 0,
        "plan_upload_mbps": 0,
    }
    return {**values, **changes}


def entry(start: str = NOW, end: str | None = None, **changes):
    return {"valid_from": start, "valid_to": end, "interval_seconds": 600, "offset_seconds": 60, **changes}


def registry(**nodes) -> str:
    return json.dumps({"nodes": nodes})


# keys


def test_authorized_keys_hold_exactly_the_inventory():
    current = keys({"a": host("a", key("A") + " a\n"), "b": host("b", key("B") + " b\n")})
    assert current.count(f'restrict,command="{COMMAND} --node ') == 2
    # b is not reached and stays, a has a new key, c is new, what was added by hand goes
    hostvars = {"a": host("a", key("N") + " a\n"), "b": host("b"), "c": host("c", key("C"))}
    later = keys(hostvars, current + "ssh-ed25519 HAND\n")
    assert [line.split('" ')[1] for line in later.splitlines()[1:]] == [
        f"{key(letter)} {name}" for letter, name in (("N", "a"), ("B", "b"), ("C", "c"))
    ]
    assert "HAND" not in later
    assert "--node b" not in keys({"a": host("a"), "c": host("c")}, later)


def test_a_new_key_counts_before_the_one_that_was_seen_first():
    new = {"speedtest_logger_new_key": {"texts": {"/etc/x/id_ed25519.pub": key("N")}}}
    assert key("N") in keys({"a": host("a", None, **new)})


@pytest.mark.parametrize(
    "content",
    [
        "ssh-rsa AAAAB3NzaC1yc2E= a\n",
        key("A") + "\n" + key("B") + "\n",
        key("A") + " a\nssh-ed25519 MORE\n",
        f'command="/bin/sh" {key("A")}\n',
        key("A") + "A a\n",
        key("A").replace(" ", "\n"),
        " " + key("A"),
        "-----BEGIN OPENSSH PRIVATE KEY-----\n",
        key("A") + " a\r\nx",
    ],
)
def test_a_file_that_is_no_key_never_comes_into_authorized_keys(content):
    with pytest.raises(Exception, match=r"mallory: .*which is no ed25519 public key; run `sudo rm .*--limit"):
        keys({"mallory": host("mallory", content), "a": host("a", key("B"))})


def test_a_comment_never_comes_into_authorized_keys():
    made = keys({"a": host("a", key("A") + ' x" ssh-ed25519 y command="z"\n')})
    assert made.splitlines()[1:] == [f'restrict,command="{COMMAND} --node a" {key("A")} a']


def test_two_nodes_with_one_key_are_refused_with_both_names():
    with pytest.raises(Exception, match="nodes attic and porch have one and the same key") as refused:
        keys({"attic": host("attic", key("A") + " attic\n"), "porch": host("porch", key("A") + " attic\n")})
    said = str(refused.value)
    assert "it was made for attic: porch seems to be the copy" in said
    assert "sudo rm /etc/speedtest-telemetry/id_ed25519 /etc/speedtest-telemetry/id_ed25519.pub" in said


def test_the_key_of_a_node_that_this_run_has_not_reached_counts_too():
    current = keys({"attic": host("attic", key("A"))})
    with pytest.raises(Exception, match="nodes attic and mallory have one and the same key; on the copy"):
        keys({"attic": host("attic"), "mallory": host("mallory", key("A"))}, current)
    # two nodes that swap their keys are no such case
    both = keys({"a": host("a", key("A")), "b": host("b", key("B"))})
    assert keys({"a": host("a", key("B")), "b": host("b", key("A"))}, both) != both


# the registry


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


# a run, step by step, as access.yml and schedule.yml take it; it may be killed between any two


class Archive:
    """The archive host's two files, and a run's steps on them."""

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


# tokens of nodes that deliver over https

DIGEST = "/etc/speedtest-telemetry/token.sha256"


def with_token(node: str, digest: str | None, **more):
    texts = {"/etc/speedtest-telemetry/id_ed25519.pub": key("A"), **({DIGEST: digest} if digest else {})}
    return {"speedtest_logger_node_name": node, "speedtest_logger_observed": {"texts": texts}, **more}


def test_the_tokens_file_holds_exactly_the_nodes_that_deliver_over_https():
    a, b, new = "a" * 64, "b" * 64, {"speedtest_logger_new_key": {"texts": {DIGEST: "c" * 64 + "\n"}}}
    made = fleet.fleet_tokens({"x": with_token("x", f"{a}\n"), "y": with_token("y", None)}, ["x", "y"], None, ["x"])
    assert made == f"# managed by Ansible: speedtest_archive\nx {a}\n"
    # x is not reached and stays, z is new, what was added by hand goes
    hostvars = {"x": with_token("x", None), "z": with_token("z", f"{b}\n")}
    later = fleet.fleet_tokens(hostvars, ["z"], made + f"hand {'d' * 64}\n", ["x", "z"])
    assert later.splitlines()[1:] == [f"x {a}", f"z {b}"]
    # a new one counts before the one that was seen first; who delivers over ssh again has none
    assert fleet.fleet_tokens({"x": with_token("x", a, **new)}, ["x"], later, ["x"]).splitlines()[1:] == [
        f"x {'c' * 64}"
    ]
    assert fleet.fleet_tokens({}, [], later, []).splitlines()[1:] == []
    assert fleet.fleet_tokens({}, [], None, []) is None


@pytest.mark.parametrize("content", ["x", "A" * 64, "a" * 64 + "\nporch " + "b" * 64, "a" * 63])
def test_what_is_no_digest_never_comes_into_the_tokens_file(content):
    with pytest.raises(Exception, match=r"mallory: .*which is no SHA-256 of a token; run `sudo rm .*/token "):
        fleet.fleet_tokens({"mallory": with_token("mallory", content)}, ["mallory"], None, ["mallory"])


def test_two_nodes_with_one_token_are_refused_with_both_names():
    hostvars = {name: with_token(name, "a" * 64) for name in ("attic", "porch")}
    with pytest.raises(Exception, match="nodes attic and porch have one and the same token"):
        fleet.fleet_tokens(hostvars, list(hostvars), None, list(hostvars))


def test_another_tokens_file_is_seen_and_so_is_its_owner():
    known, content = (
        {"tokens": "old", "schedule": {"nodes": {}}, "earlier": []},
        "# managed by Ansible: speedtest_archive\n",
    )
    wanted = {"authorized": "keys", "tokens": content, "invitations": None, "schedule": {"nodes": {}}}
    there = {"authorized": file("keys"), "schedule": file(registry())}
    for seen, before in ((file("old"), "old"), (file(content, owner="service"), content), (None, None)):
        found = read(**there, tokens=seen)
        differs = fleet.fleet_differences(found, FILES, wanted, {**known, "tokens": before}, "service")
        assert differs == ["tokens"]
    found = read(**there, tokens=file(content))
    assert fleet.fleet_differences(found, FILES, wanted, {**known, "tokens": content}, "service") == []


def invited(**of):
    """The archive host's answer where these nodes are invited; each node's invitation is of the letter."""
    return file(fleet.invitation.text_of({n: fleet.invitation.Invitation(letter * 64, 5) for n, letter in of.items()}))


def run_with(nodes, hostvars=None, **files):
    """What a run makes of the archive's files: tokens and invitations, their lines."""
    known = fleet.fleet_known(read(**files), FILES, [node(name, transport="https") for name in nodes])
    held = {"read": read(**files), "files": FILES | {"command": COMMAND}, "known": known, "group": "service"}
    compared = fleet.fleet_compared(hostvars or {}, list(hostvars or {}), held, brought=[])
    made = (compared["wanted"][name] for name in ("tokens", "invitations"))
    return *(text and text.splitlines()[1:] for text in made), compared["differs"]


def test_what_an_invited_node_has_brought_is_carried_over_once_and_its_invitation_ends():
    a, b, c = (letter * 64 for letter in "abc")
    tokens = file(f"# managed by Ansible: speedtest_archive\nattic {c}\nporch {b}\n")
    there = {"tokens": tokens, "invitations": invited(attic="1", shed="2"), "enrolled": file(f"attic {'1' * 64} {a}\n")}
    nodes = ["attic", "porch", "shed"]
    found = run_with(nodes, **there)
    assert found[:2] == ([f"attic {a}", f"porch {b}"], [f"shed {'2' * 64} 5"])
    assert {"tokens", "invitations"} <= set(found[2])
    # who has left is not invited any more, and what was brought by another invitation counts nothing
    assert run_with(["porch"], **there)[:2] == ([f"porch {b}"], [])
    there["enrolled"] = file(f"attic {'9' * 64} {a}\n../x {'1' * 64} {a}\nporch {'2' * 64} {a}\nattic {'1' * 64} x\n")
    assert run_with(nodes, **there)[:2] == ([f"attic {c}", f"porch {b}"], [f"attic {'1' * 64} 5", f"shed {'2' * 64} 5"])


def test_who_is_pushed_to_needs_no_invitation():
    hostvars = {"attic": with_token("attic", "c" * 64)}
    there = {"invitations": invited(attic="1", shed="2"), "enrolled": file(f"attic {'1' * 64} {'a' * 64}\n")}
    found = run_with(["attic", "shed"], hostvars, **there)
    assert found[:2] == ([f"attic {'c' * 64}"], [f"shed {'2' * 64} 5"])


def test_where_nobody_is_invited_the_services_file_is_not_read_and_nothing_differs():
    tokens, invitations, differs = run_with([], enrolled={"problem": "a pipe"})
    assert (tokens, invitations) == (None, None)
    assert "invitations" not in differs


def test_only_certificates_of_the_front_are_handed_to_nodes():
    pem = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    for content, expected in ((pem, pem), (pem * 2, pem * 2), ("x" + pem, ""), ("", ""), (pem * 1000, "")):
        assert fleet.fleet_known(read(root=file(content)), FILES, [node("a")])["root"] == expected
    assert fleet.fleet_known(read(root={"problem": "a link"}), FILES, [node("a")])["root"] == ""


@pytest.mark.parametrize("seen", [None, {"problem": "is a link"}, file("nonsense")])
def test_nodes_over_https_keep_whom_they_trust_while_the_fronts_own_authority_is_not_to_be_had(seen):
    """The front's account can put anything in its place: a run that went on would have all nodes trust nobody."""
    there = {"tokens": file("a " + "0" * 64), **({"root": seen} if seen else {})}
    mine, nodes = {**FILES, "own_authority": "yes"}, [node("a"), node("b", transport="https")]
    with pytest.raises(
        Exception,
        match=r"arc: /front/caddy/pki/root.crt: seen (nothing|is a link|no certificates).*rm -r /front/caddy`",
    ):
        fleet.fleet_known(read(**there), mine, nodes)
    assert fleet.fleet_known(read(**there), mine, [node("a")])["root"] == ""  # nobody needs it
    assert fleet.fleet_known(read(**there), FILES, nodes)["root"] == ""  # another authority's
    if seen is None:
        assert fleet.fleet_known(read(), mine, nodes)["root"] == ""  # it is yet to be made
