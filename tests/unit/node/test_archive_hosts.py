"""Which of several archive hosts a node delivers to."""

from __future__ import annotations

from collections import Counter

import pytest

from speedtest_logger.errors import DeliveryError
from speedtest_logger.node import archive_hosts, connection
from speedtest_logger.node.archive_hosts import host_and_port, hosts_in_order


def preferred(settings, node, *others):
    return hosts_in_order(settings(node=node, archive_host="a", archive_others=" ".join(others)))[0][0]


def test_nodes_spread_and_a_host_that_goes_moves_only_its_own(settings):
    nodes = [f"n{number}" for number in range(300)]
    with_three = {node: preferred(settings, node, "b", "c:2222") for node in nodes}
    counts = Counter(with_three.values())
    assert set(counts) == {"a", "b", "c"}
    assert min(counts.values()) > 60
    with_two = {node: preferred(settings, node, "b") for node in nodes}
    assert {node for node in nodes if with_two[node] != with_three[node]} == {
        node for node in nodes if with_three[node] == "c"
    }


def test_every_node_has_the_same_order_whichever_host_is_first(settings):
    one = hosts_in_order(settings(archive_host="a", archive_others="b:22 c:22"))
    assert one == hosts_in_order(settings(archive_host="c", archive_others="a b"))


def test_one_host_is_asked_as_before(settings, monkeypatch):
    here = settings(archive_host="a")
    monkeypatch.setattr(connection, "send", lambda *asked: asked)
    assert archive_hosts.send(here, b"x") == (here, b"x")
    assert archive_hosts.send(here, b"x")[0] is here


def test_the_next_one_is_asked_where_one_gives_no_receipt(settings, monkeypatch):
    here = settings(archive_host="a", archive_others="b:2222 c")
    asked, out = [], set()

    def send(each, _lines):
        asked.append((each.archive_host, each.archive_port))
        if each.archive_host in out:
            raise DeliveryError("out")
        return {"receipt": each.archive_host}

    monkeypatch.setattr(connection, "send", send)
    order = hosts_in_order(here)
    assert sorted(order) == [("a", 22), ("b", 2222), ("c", 22)]
    out.add(order[0][0])
    assert archive_hosts.send(here, b"")["receipt"] == order[1][0]
    assert asked == order[:2]
    out |= {"a", "b", "c"}
    with pytest.raises(DeliveryError, match="a: out") as error:
        archive_hosts.send(here, b"")
    assert all(f"{name}: out" in str(error.value) for name in "abc")
    out.clear()
    asked.clear()
    archive_hosts.send(here, b"")
    assert asked == order[:1]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a", ("a", 22)),
        ("a:1", ("a", 1)),
        ("[fd00::1]:2", ("fd00::1", 2)),
        ("[::1]", ("::1", 22)),
        ("::1", ("::1", 22)),
    ],
)
def test_addresses(text, found):
    assert host_and_port(text) == found
