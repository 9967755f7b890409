"""The plan of a machine: what differs from what is wanted, and what follows from it."""

from __future__ import annotations

import pytest
from builders import ROOT_FILE, observed_file, seen

from plugins.desired import plan as planning

DESIRED = {
    "packages": ["iperf3"],
    "accounts": [{"name": "speedtest", "home": "/var/lib/x", "shell": "/usr/sbin/nologin"}],
    "directories": [{"path": "/opt/x", "owner": "root", "group": "root", "mode": "0755"}],
    "files": [{"path": "/etc/systemd/system/x.timer", "content": "text", **ROOT_FILE, "restarts": ["x.timer"]}],
    "links": [{"path": "/opt/x/current", "target": "/opt/x/1"}],
    "releases": [{"path": "/opt/x/1", "digest": "abc", "artifact": "/a"}],
    "units": [{"name": "x.timer"}],
}
CONVERGED = seen(
    packages={"iperf3": "3.12"},
    accounts={"speedtest": {"home": "/var/lib/x", "shell": "/usr/sbin/nologin", "group": "speedtest", "groups": []}},
    paths={
        "/opt/x": {"kind": "directory", "owner": "root", "group": "root", "mode": "0755"},
        "/etc/systemd/system/x.timer": observed_file(b"text"),
    },
    links={"/opt/x/current": "/opt/x/1"},
    trees={"/opt/x/1": "abc"},
    compiled={"/opt/x/1": True},
    units={"x.timer": {"present": True, "enabled": True, "active": True, "failed": False}},
)


def test_a_converged_host_has_an_empty_plan():
    plan = planning.plan(DESIRED, CONVERGED)
    assert not plan["differs"]
    assert [kind.name for kind in planning.KINDS if plan.get(kind.name)] == []
    assert (plan["restart"], plan["daemon_reload"]) == ([], False)


def test_a_bare_host_needs_everything_and_nothing_is_restarted_that_will_be_started():
    plan = planning.plan(DESIRED, seen())
    assert all(plan[name] for name in DESIRED)
    assert plan["daemon_reload"]
    assert plan["restart"] == []
    assert len(plan["drift"]) == 7


def test_a_unit_that_its_package_starts_is_restarted_with_its_configuration():
    configuration = {"path": "/etc/docker/daemon.json", "content": "{}", **ROOT_FILE, "restarts": ["docker.service"]}
    desired = {"files": [configuration], "units": [{"name": "docker.service"}]}
    assert planning.plan(desired, seen())["restart"] == ["docker.service"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mode": "0666"}, "mode is 0666, not 0644"),
        ({"owner": "nobody"}, "owner is nobody, not root"),
        ({"sha256": "0" * 64}, "content differs"),
        ({"kind": "link", "target": "/nowhere", "safe": True}, "is a link to /nowhere, not a file"),
    ],
)
def test_each_property_of_a_file_is_drift(change, words):
    path = "/etc/systemd/system/x.timer"
    changed = {**CONVERGED, "paths": {**CONVERGED["paths"], path: {**CONVERGED["paths"][path], **change}}}
    plan = planning.plan(DESIRED, changed)
    assert plan["drift"] == [f"{path}: {words}"]
    assert plan["restart"] == ["x.timer"]


def test_an_instance_that_the_inventory_names_no_longer_must_go():
    desired = {"units": [{"name": "server@1.service"}], "absent_units": ["server@*.service", "other.service"]}
    assert planning.request(desired, {})["units"] == ["server@1.service", "server@*.service", "other.service"]
    running, stopped = {"present": True, "enabled": True, "active": True}, {"present": True, "active": False}
    units = {
        "server@1.service": running,
        "server@2.service": running,
        "server@3.service": stopped,
        "server@x.timer": running,
    }
    made = planning.plan(desired, seen(units=units))
    assert made["absent_units"] == ["server@2.service"]
    assert made["drift"] == ["unit server@2.service is still there"]
