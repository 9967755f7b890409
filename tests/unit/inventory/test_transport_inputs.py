"""What preflight refuses of deliveries over https: receivers that are not there, and fronts that nobody trusts."""

from __future__ import annotations

from builders import ROOT

from speedtest_logger.inventory import check
from speedtest_logger.inventory.found import Inventory


def over_https(**archive):
    """A node that delivers over https, and an archive host."""
    hosts = {"attic": {"speedtest_logger_transport": "https"}, "hub": archive}
    groups = {"speedtest_nodes": ["attic"], "speedtest_archive": ["hub"]}
    if "speedtest_front_name" in archive:
        groups |= {"speedtest_front": ["hub"], "speedtest_dashboard": ["hub"]}
    found = check.problems(Inventory(hosts, groups, checkout=ROOT))
    return [line for line in found if line.startswith(("speedtest_archive_https_enabled", "speedtest_archive_invita"))]


def test_deliveries_over_https_meet_a_receiver_behind_a_front():
    (line,) = over_https()
    assert "seen False on hub; attic has speedtest_logger_transport https: set true here, or ssh there" in line
    (line,) = over_https(speedtest_archive_https_enabled=True)
    assert "put this host into the groups speedtest_dashboard and speedtest_front" in line
    assert over_https(speedtest_archive_https_enabled=True, speedtest_front_name="speed.example.org") == []


def test_who_is_invited_meets_what_takes_deliveries_over_https():
    invites = {"speedtest_front_name": "speed.example.org", "speedtest_archive_invitations_enabled": True}
    assert over_https(speedtest_archive_https_enabled=True, **invites) == []
    hosts = {"attic": {}, "hub": invites}
    groups = {"speedtest_nodes": ["attic"], "speedtest_archive": ["hub"], "speedtest_front": ["hub"]}
    found = check.problems(Inventory(hosts, {**groups, "speedtest_dashboard": ["hub"]}, checkout=ROOT))
    (line,) = [each for each in found if each.startswith("speedtest_archive_invitations_enabled")]
    assert "set speedtest_archive_https_enabled true as well" in line


def test_over_https_nodes_are_told_whom_to_trust_of_several_fronts():
    def said(groups=("hub", "b"), **of_b):
        front = {"speedtest_archive_https_enabled": True, "speedtest_front_name": "speed.example.org"}
        hosts = {"attic": {"speedtest_logger_transport": "https"}, "hub": {**front, **of_b}, "b": front}
        archives = {name: list(groups) for name in ("speedtest_archive", "speedtest_front", "speedtest_dashboard")}
        found = check.problems(Inventory(hosts, {"speedtest_nodes": ["attic"], **archives}, checkout=ROOT))
        return [line.split("; set")[0] for line in found if line.startswith("fleet_archive_ca")]

    assert [line.split(";")[0] for line in said()] == ["fleet_archive_ca: seen nothing on hub, b"]
    assert said(speedtest_archive_state="absent") == []  # one is left
    assert said(groups=["hub"]) == []
    assert len(said(fleet_archive_ca="-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n")) == 1
