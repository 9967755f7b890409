"""Who is a member: whom this run has seen, and whom it has not reached but others know; nobody else."""

from __future__ import annotations

from plugins.filter.cluster import CERTIFICATE, MEMBERS, cluster_members


def block(text: str) -> str:
    return f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n"


def host(certificate: str = "", members: str = "", **more: object) -> dict[str, object]:
    return {"speedtest_cluster_seen": {"texts": {CERTIFICATE: certificate, MEMBERS: members}}, **more}


def test_all_that_were_seen_are_named_in_order():
    hosts = {"b": host(block("bbbb")), "a": host("noise\n" + block("aaaa") + block("again"))}
    assert cluster_members(hosts, ["b", "a"]) == f"# a\n{block('aaaa')}# b\n{block('bbbb')}"


def test_one_that_is_not_reached_keeps_its_place_and_one_that_left_does_not():
    known = f"# away\n{block('away')}# gone\n{block('gone')}# here\n{block('old')}"
    hosts = {"here": host(block("new"), known), "away": {}}
    assert cluster_members(hosts, ["here", "away"]) == f"# away\n{block('away')}# here\n{block('new')}"


def test_one_that_is_to_be_none_is_none():
    known = f"# off\n{block('off')}"
    hosts = {"here": host(block("here"), known), "off": host(block("off"), speedtest_cluster_state="absent")}
    assert cluster_members(hosts, ["here", "off"]) == f"# here\n{block('here')}"


def test_a_key_that_was_made_in_this_run_counts():
    hosts = {"a": host(speedtest_cluster_new={"texts": {CERTIFICATE: block("made")}})}
    assert cluster_members(hosts, ["a"]) == f"# a\n{block('made')}"
