"""The fleet's state in words: each host's line of the table, and all that is wrong."""

from __future__ import annotations

import json
from datetime import datetime

import pytest
from builders import load

from speedtest_logger.record import unix_time

status = load("plugins/filter/status.py")
NOW, LATER = "2026-01-01T00:00:00.000Z", "2026-02-01T00:00:00.000Z"


def test_the_status_table_names_what_is_wrong():
    node = {
        "plan": {"drift": ["/etc/x: missing"]},
        "programs": {
            "/usr/local/bin/speedtest-logger": json.dumps(
                {
                    "node": "a",
                    "runtime": "systemd",
                    "version": "0.1.0",
                    "outbox_records": 3,
                    "last_receipt_at": None,
                    "last_record": {"finished_at": NOW, "status": "failed", "reason": "no_route"},
                    "problems": ["the last one failed"],
                }
            )
        },
    }
    groups = {"speedtest_nodes": ["a", "b"], "speedtest_archive": ["arc"], "speedtest_targets": []}
    hostvars = {
        "a": {"speedtest_logger_observed": node},
        "b": {},
        "arc": {"speedtest_archive_observed": {"plan": {"drift": []}, "programs": {}}},
    }
    found = status.fleet_status(hostvars, groups, ["a", "b", "arc"])
    assert found["problems"] == [
        "arc: the archive is not installed or does not answer",
        "a: the last one failed",
        "a: differs from the inventory: /etc/x: missing",
        "b: unreachable",
    ]
    assert any("failed:no_route" in line for line in found["table"])
    assert any("UNREACHABLE" in line for line in found["table"])
    assert "- a: the last one failed" in found["said"]


def said_by(state):
    """A node that was read, with what its logger says of itself."""
    state = {"runtime": "systemd", "version": "0.1.0", "outbox_records": 0, "problems": [], **state}
    program = {"/usr/local/bin/speedtest-logger": json.dumps(state)}
    return {"plan": {"drift": []}, "programs": program}


def test_the_status_shows_speeds_plan_and_next_slot():
    last = {"finished_at": NOW, "status": "ok", "reason": None, "download_bps": 191.64e6, "upload_bps": 48e6}
    later = "2026-01-01T00:57:00.000Z"
    state = {"node": "attic-pi", "last_record": last, "next_slot": later, "last_receipt_at": NOW}
    fleet_state = {"nodes": {"attic-pi": {"day_download_bps": 250e6, "day_upload_bps": 90.06e6}}}
    hostvars = {
        "Attic_Pi": {
            "speedtest_logger_observed": said_by(state),
            "speedtest_logger_plan_download_mbps": 250,
            "speedtest_logger_plan_upload_mbps": 100,
        },
        "cellar": {"speedtest_logger_observed": said_by({**state, "node": "cellar"})},
        "arc": {
            "speedtest_archive_observed": {
                "plan": {"drift": []},
                "programs": {"/usr/local/bin/speedtest-archive": json.dumps(fleet_state)},
            }
        },
    }
    groups = {"speedtest_nodes": ["Attic_Pi", "cellar"], "speedtest_archive": ["arc"]}
    now = datetime.fromisoformat(NOW).timestamp() + 120
    found = status.fleet_status(hostvars, groups, ["Attic_Pi", "cellar", "arc"], now)
    head, attic, cellar, _ = (" ".join(line.split()) for line in found["table"])
    assert head.startswith("node down up plan status measured next")
    assert attic.startswith("attic-pi 250.0 90.1 250/100 ok 2 min ago in 55 min")
    assert cellar.startswith("cellar 191.6 48.0 - ok 2 min ago")
    assert found["said"][-1] == status.WELL
    hostvars["Attic_Pi"] = {"speedtest_logger_observed": {"unreachable": True, "msg": "No route to host"}}
    (row,) = [
        line for line in status.fleet_status(hostvars, groups, ["Attic_Pi", "arc"], now)["table"] if "250" in line
    ]
    assert row.split()[:3] == ["attic-pi", "250.0", "90.1"]  # by the name that the archive knows it under


def test_the_status_says_when_the_first_slots_are():
    hostvars = {
        name: {"speedtest_logger_observed": said_by({"node": name, "next_slot": f"2026-01-01T0{hour}:00:07.000Z"})}
        for name, hour in (("a", 2), ("b", 1))
    }
    found = status.fleet_status(hostvars, {"speedtest_nodes": ["a", "b"]}, ["a", "b"])
    assert found["said"][-1] == (
        "no node has had a slot yet; first ones at 2026-01-01 01:00:07 UTC (b), 2026-01-01 02:00:07 UTC (a)"
    )
    hostvars["b"] = {"speedtest_logger_observed": said_by({"node": "b", "last_record": {"status": "ok"}})}
    found = status.fleet_status(hostvars, {"speedtest_nodes": ["a", "b"]}, ["a", "b"])
    assert found["said"][-1] == "a had no slot yet; first at 2026-01-01 02:00:07 UTC (a)"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("The module interpreter '/usr/bin/python3' was not found.", "sudo apt install python3"),
        ("Missing sudo password", "--ask-become-pass"),
        ("Host key verification failed.", "~/.ssh/known_hosts"),
    ],
)
def test_the_status_says_what_to_do_about_a_node_that_cannot_be_read(words, hint):
    hostvars = {"a": {"fleet_logger_unread": {"msg": f"Task failed: {words}"}}}
    found = status.fleet_status(hostvars, {"speedtest_nodes": ["a"]}, ["a"])
    assert found["problems"][0].startswith(f"a: cannot be read: {words}")
    assert hint in found["problems"][0]


@pytest.mark.parametrize(
    ("said", "cells", "problem"),
    [
        ({"evaluated": 970.0}, "0 open 30 s ago", None),
        ({"evaluated": 970.0, "open": [{}, {}]}, "2 open 30 s ago", None),
        ({"evaluated": None}, "0 open", None),
        ({"evaluated": 100.0}, "0 open 15 min ago", "arc: alerts were last judged 15 min ago: `systemctl status"),
        (
            {"evaluated": 970.0, "destinations": [{"name": "phone", "failing since": LATER, "why": "nobody answers"}]},
            "0 open 30 s ago",
            f"arc: destination phone has taken nothing since {LATER}: nobody answers",
        ),
        (None, "?", "arc: speedtest-alerts does not answer"),
    ],
)
def test_the_status_table_tells_of_alerts(said, cells, problem):
    nothing = {"open": [], "destinations": []}
    printed = {"/usr/local/bin/speedtest-archive": json.dumps({"nodes": {}})}
    if said is not None:
        printed["/usr/local/bin/speedtest-alerts"] = json.dumps({**nothing, **said})
    seen = {"plan": {"drift": []}, "programs": printed}
    hostvars = {
        "arc": {"speedtest_archive_observed": seen, "speedtest_archive_alerts_destinations": [{"name": "phone"}]}
    }
    found = status.fleet_status(hostvars, {"speedtest_archive": ["arc"]}, ["arc"], now=1000.0)
    (row,) = [line for line in found["table"] if line.startswith("arc (alerts)")]
    assert " ".join(row.split()) == f"arc (alerts) {cells}"
    assert [words[: len(problem or "")] for words in found["problems"]] == ([problem] if problem else [])
    del hostvars["arc"]["speedtest_archive_alerts_destinations"]
    assert "(alerts)" not in str(status.fleet_status(hostvars, {"speedtest_archive": ["arc"]}, ["arc"], now=1000.0))


@pytest.mark.parametrize(
    ("backup", "cell", "problem"),
    [
        ({}, "backup:none", "arc: there is no backup yet"),
        ({"at": NOW}, f"backup:{NOW[:16]}", None),
        (
            {"at": NOW, "failure": {"at": LATER, "message": "no route to host"}},
            f"backup:{NOW[:16]}",
            f"arc: the backup of {LATER[:16]} failed: no route to host",
        ),
    ],
)
def test_the_status_table_tells_of_backups(backup, cell, problem):
    seen = {
        "plan": {"drift": []},
        "programs": {"/usr/local/bin/speedtest-archive": json.dumps({"nodes": {}, "backup": backup})},
    }
    hostvars = {
        "arc": {"speedtest_archive_observed": seen, "speedtest_archive_backup_repository": "/srv/backup"},
    }
    found = status.fleet_status(hostvars, {"speedtest_archive": ["arc"]}, ["arc"])
    assert any(cell in line for line in found["table"])
    assert [text for text in found["problems"] if problem and text.startswith(problem)] == found["problems"]
    hostvars["arc"]["speedtest_archive_backup_repository"] = ""
    assert status.fleet_status(hostvars, {"speedtest_archive": ["arc"]}, ["arc"])["problems"] == []


@pytest.mark.parametrize(
    ("variables", "plan", "health", "cell", "problem"),
    [
        ({}, {"drift": []}, {"status": "healthy", "scheduler": "running"}, "127.0.0.1:8000 healthy", None),
        (
            {"speedtest_dashboard_bind": "::1", "speedtest_dashboard_port": 8080},
            {"drift": []},
            {"status": "degraded", "scheduler": "stopped", "why": "the last ingest was 9 min ago"},
            "[::1]:8080 degraded",
            "arc: the dashboard is degraded: the last ingest was 9 min ago",
        ),
        ({}, {"drift": []}, None, "127.0.0.1:8000 ", None),
        (
            {},
            {"drift": []},
            {"status": "unreachable", "why": "http://127.0.0.1:8000/health: refused"},
            "127.0.0.1:8000 does not answer",
            "arc: the dashboard does not answer: http://127.0.0.1:8000/health: refused",
        ),
        (
            {},
            {"drift": ["unit x: not active"], "units": [{"name": "x"}]},
            None,
            "NOT RUNNING",
            "arc: differs from the inventory: unit x: not active",
        ),
        ({"speedtest_dashboard_state": "absent"}, {"drift": []}, None, "absent", None),
        (
            {"speedtest_dashboard_runtime": "compose"},
            {"drift": ["container x is missing"], "projects": [{}]},
            None,
            "NOT RUNNING",
            "arc: differs from the inventory: container x is missing",
        ),
    ],
)
def test_the_status_says_where_the_dashboard_listens_and_how_it_is(variables, plan, health, cell, problem):
    programs = {"/usr/local/bin/speedtest-dashboard": json.dumps(health) if health else ""}
    hostvars = {"arc": {**variables, "speedtest_dashboard_observed": {"plan": plan, "programs": programs}}}
    found = status.fleet_status(hostvars, {"speedtest_dashboard": ["arc"]}, ["arc"])
    (row,) = [line for line in found["table"] if line.startswith("arc (dashboard)")]
    assert cell in row
    assert found["problems"] == ([problem] if problem else [])


@pytest.mark.parametrize(
    ("variables", "plan", "cell"),
    [
        ({}, {"drift": []}, "https://speed.example.org"),
        ({"speedtest_front_https_port": 8443}, {"drift": []}, "https://speed.example.org:8443"),
        ({}, {"drift": ["unit x: not active"], "units": [{"name": "x"}]}, "NOT RUNNING"),
        ({"speedtest_front_state": "absent"}, {"drift": []}, "absent"),
    ],
)
def test_the_status_says_under_which_name_the_front_answers(variables, plan, cell):
    seen = {"speedtest_front_observed": {"plan": plan, "programs": {}}}
    hostvars = {"arc": {"speedtest_front_name": "speed.example.org", **variables, **seen}}
    found = status.fleet_status(hostvars, {"speedtest_front": ["arc"]}, ["arc"])
    (row,) = [line for line in found["table"] if line.startswith("arc (front)")]
    assert cell in row.split("  ") or f" {cell} " in row
    assert found["problems"] == [f"arc: differs from the inventory: {words}" for words in plan["drift"]]


@pytest.mark.parametrize(
    ("variables", "plan", "cell"),
    [
        ({}, {"drift": []}, "worker"),
        ({"speedtest_cluster_parts": ["worker", "scheduler"]}, {"drift": []}, "scheduler, worker"),
        ({"speedtest_cluster_parts": []}, {"drift": []}, "asks"),
        ({}, {"drift": ["speedtest-worker.service does not run"], "units": [{}]}, "NOT RUNNING"),
        ({"speedtest_cluster_state": "absent"}, {"drift": []}, "absent"),
    ],
)
def test_the_status_says_what_a_member_of_the_cluster_runs(variables, plan, cell):
    hostvars = {
        "big": {"speedtest_cluster_observed": {"plan": plan}, **variables},
        "away": {"speedtest_cluster_observed": {"unreachable": True, "msg": "no route to host"}},
    }
    found = status.fleet_status(hostvars, {"speedtest_cluster": ["big", "away"]}, ["big", "away"])
    _, big, away = (" ".join(line.split()) for line in found["table"])
    assert big.startswith(f"big (cluster) {cell} ")
    assert away == "away (cluster) UNREACHABLE"
    drift = [f"big: differs from the inventory: {words}" for words in plan["drift"]]
    assert found["problems"] == [*drift, "away: unreachable: no route to host"]


@pytest.mark.parametrize(
    ("said", "plan", "cell", "problems"),
    [
        ({}, {"drift": []}, "empty", []),
        ({"synced": "2026-03-31T12:00:00.000Z", "lag": 0}, {"drift": []}, "synced 5 min ago", []),
        ({"synced": "2026-03-31T12:00:00.000Z", "lag": 3}, {"drift": []}, "3 behind", []),
        (
            {
                "synced": "2026-03-31T12:00:00.000Z",
                "lag": 3,
                "failing_since": "2026-03-31T12:01:00.000Z",
                "why": "gone",
            },
            {"drift": []},
            "3 behind",
            ["arc: the database does not follow the archive since 2026-03-31T12:01: gone"],
        ),
        (
            {
                "synced": "2026-03-31T12:00:00.000Z",
                "dump_failing_since": "2026-03-31T03:10:00.000Z",
                "dump_why": "full",
            },
            {"drift": []},
            "synced 5 min ago",
            ["arc: the database cannot be dumped since 2026-03-31T03:10: full"],
        ),
        ({}, {"drift": [], "units": [{"name": "x"}]}, "NOT RUNNING", []),
        (
            {"synced": "2026-03-31T12:00:00.000Z", "failing_since": "2026-03-31T12:01:00.000Z", "why": "gone"},
            {"drift": [], "units": [{"name": "x"}]},
            "NOT RUNNING",
            ["arc: the database does not follow the archive since 2026-03-31T12:01: gone"],
        ),
    ],
)
def test_the_status_says_how_far_the_database_has_got(said, plan, cell, problems):
    programs = {"/usr/local/bin/speedtest-database": json.dumps(said)}
    hostvars = {"arc": {"speedtest_database_observed": {"plan": plan, "programs": programs}}}
    now = unix_time("2026-03-31T12:05:00.000Z")
    found = status.fleet_status(hostvars, {"speedtest_database": ["arc"]}, ["arc"], now)
    (row,) = [line for line in found["table"] if line.startswith("arc (database)")]
    assert f" {cell} " in f"{row} "
    assert found["problems"] == problems


def test_the_status_names_what_is_wrong_with_the_archive():
    state = {"nodes": {}, "backup": {}, "problems": ["a month cannot be read any more"]}
    programs = {"/usr/local/bin/speedtest-archive": json.dumps(state)}
    hostvars = {"arc": {"speedtest_archive_observed": {"plan": {"drift": []}, "programs": programs}}}
    found = status.fleet_status(hostvars, {"speedtest_archive": ["arc"]}, ["arc"])
    assert found["problems"] == ["arc: a month cannot be read any more"]


FLEET_FILES = {
    "authorized": "/home/.ssh/authorized_keys",
    "schedule": "/srv/a/fleet/schedule.json",
    "command": "/opt/receive",
}
NOT_COMPARED = "arc: what it holds of the nodes cannot be compared with the inventory: "


def compared(known, texts, key="ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43):
    """The problems with what the archive host holds of a node, and the node's slot in the registry."""
    file = {"kind": "file", "owner": "root", "group": "service", "mode": "0640"}
    read = {"files": {path: {**file, "text": text} for path, text in texts.items()}}
    looked = {"problems": {}, **({"state": known} if isinstance(known, dict) else {"unknown": known})}
    seen = {**said_by({"node": "a", "last_record": {"status": "ok"}}), "texts": {"/etc/x/id_ed25519.pub": key}}
    hostvars = {"a": {"speedtest_logger_observed": seen, "fleet_look": looked, "fleet_read_before": read}}
    groups = {"speedtest_nodes": ["a"], "speedtest_archive": ["arc"]}
    archive = {"files": FLEET_FILES, "group": "service"}
    return status.fleet_status(hostvars, groups, ["a"], archive=archive)["problems"]


def test_the_status_compares_what_the_archive_host_holds_of_the_nodes():
    slot = {"interval_seconds": 600, "offset_seconds": 60}
    entry = {**slot, "location": "unknown-location", "uplink": "", "plan_download_mbps": 0, "plan_upload_mbps": 0}
    nodes = {"a": [{**entry, "valid_from": NOW, "valid_to": None}]}
    known = {
        "schedule": {"nodes": nodes},
        "slots": {"a": slot},
        "names": ["a"],
        "leaving": [],
        "authorized": "",
        "earlier": [],
    }
    known |= {"tokens": None, "https": [], "invitations": None, "enrolled": {}}
    line = f'restrict,command="/opt/receive --node a" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{"A" * 43} a'
    keys = f"# managed by Ansible: speedtest_archive\n{line}\n"
    right = {FLEET_FILES["authorized"]: keys, FLEET_FILES["schedule"]: json.dumps(known["schedule"])}
    assert compared(known, right) == []
    assert compared(known, {**right, FLEET_FILES["authorized"]: "by hand"}) == [
        "arc: differs from the inventory: authorized_keys"
    ]
    assert compared(known, {**right, FLEET_FILES["schedule"]: json.dumps({"nodes": {}})}) == [
        "arc: differs from the inventory: schedule.json: what nodes may deliver, its place, owner or mode"
    ]
    moved = {**known, "slots": {"a": {**slot, "offset_seconds": 120}}}
    assert compared(moved, right) == ["arc: differs from the inventory: schedule"]
    (problem,) = compared(known, right, "none")
    assert problem.startswith(f"{NOT_COMPARED}a: /etc/x/id_ed25519.pub: seen 'none', which is no ed25519 public key")
    assert compared("arc: no route to host", right) == [f"{NOT_COMPARED}arc: no route to host"]


def test_status_of_a_limited_run_shows_those_hosts_only():
    groups = {"speedtest_nodes": ["a", "b"], "speedtest_archive": ["arc"]}
    found = status.fleet_status({"a": {}, "b": {}, "arc": {}}, groups, ["a"])
    assert found["problems"] == ["a: unreachable"]
