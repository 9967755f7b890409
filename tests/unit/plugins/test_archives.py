"""How nodes reach archive hosts beside the first."""

from __future__ import annotations

from plugins.filter.archives import other_archives

HOSTS = {
    "a": {},
    "b": {"ansible_host": "192.0.2.2", "ansible_port": 2222, "fleet_archive_host_key": "key of b"},
    "c": {"fleet_archive_address": "fd00::3", "ansible_host": "192.0.2.3", "fleet_archive_host_key": "key of c"},
}


def test_one_archive_host_has_no_others():
    nobody = {"names": [], "hosts": [], "host_keys": [], "fronts": [], "ca": ""}
    assert other_archives(HOSTS, {"speedtest_archive": ["a"]}) == nobody
    assert other_archives(HOSTS, {}) == nobody


def test_others_have_the_address_and_port_that_nodes_reach_and_their_keys_in_the_same_order():
    found = other_archives(HOSTS, {"speedtest_archive": ["a", "c", "b"]})
    assert found["hosts"] == ["[fd00::3]:22", "192.0.2.2:2222"]
    assert found["host_keys"] == ["key of c", "key of b"]


def test_over_https_others_have_their_fronts_and_nodes_trust_the_certificates_of_all():
    fronts = {
        "a": {"speedtest_front_name": "a.example.org", "fleet_archive_ca": "of a\n"},
        "b": {
            "speedtest_front_name": "b.example.org",
            "fleet_archive_ca": "of b\n",
            "speedtest_front_https_port": 8443,
        },
        "c": {"speedtest_front_name": "c.example.org", "fleet_archive_ca": "of a\n"},
        "d": {},
    }
    found = other_archives(fronts, {"speedtest_archive": ["a", "b", "c", "d"]})
    assert found["fronts"] == ["b.example.org:8443", "c.example.org:443"]
    assert found["ca"] == "of a\nof b"
    assert other_archives(fronts, {"speedtest_archive": ["a"]})["ca"] == "of a"


def test_one_that_is_taken_off_is_none_of_them():
    hosts = {**HOSTS, "b": {**HOSTS["b"], "speedtest_archive_state": "absent"}}
    found = other_archives(hosts, {"speedtest_archive": ["a", "b", "c"]})
    assert (found["names"], found["host_keys"]) == (["c"], ["key of c"])
