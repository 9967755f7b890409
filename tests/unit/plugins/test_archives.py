"""How nodes reach archive hosts beside the first."""

from __future__ import annotations

from plugins.filter.archives import other_archives

HOSTS = {
    "a": {},
    "b": {"ansible_host": "192.0.2.2", "ansible_port": 2222, "fleet_archive_host_key": "key of b"},
    "c": {"fleet_archive_address": "fd00::3", "ansible_host": "192.0.2.3", "fleet_archive_host_key": "key of c"},
}


def test_one_archive_host_has_no_others():
    assert other_archives(HOSTS, {"speedtest_archive": ["a"]}) == {"hosts": [], "host_keys": []}
    assert other_archives(HOSTS, {}) == {"hosts": [], "host_keys": []}


def test_others_have_the_address_and_port_that_nodes_reach_and_their_keys_in_the_same_order():
    found = other_archives(HOSTS, {"speedtest_archive": ["a", "c", "b"]})
    assert found == {"hosts": ["[fd00::3]:22", "192.0.2.2:2222"], "host_keys": ["key of c", "key of b"]}
