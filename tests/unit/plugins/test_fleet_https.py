"""Nodes that deliver over https: their tokens, who is invited, and whose certificates they trust."""

from __future__ import annotations

import pytest
from archive_host import COMMAND, FILES, file, fleet, key, node, read, registry

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
