"""Keys of nodes that deliver over ssh: the archive host lets in the inventory's nodes, each by its own."""

from __future__ import annotations

import pytest
from archive_host import COMMAND, fleet, key


def host(node: str, content: str | None = None, **more):
    """A node's variables after site.yml has looked at it."""
    seen = {"texts": {"/etc/speedtest-telemetry/id_ed25519.pub": content}} if content else {}
    return {"speedtest_logger_node_name": node, "speedtest_logger_observed": seen, **more}


def keys(hostvars, current="", hosts=None):
    return fleet.fleet_keys(hostvars, hosts or list(hostvars), current, sorted(hostvars), COMMAND)


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
