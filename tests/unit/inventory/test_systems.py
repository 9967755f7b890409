"""Machines that cannot be what they are to be are named; and how a run ends in words."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from builders import ROOT, load

from speedtest_logger.archive import cli
from speedtest_logger.engines.catalogue import ENGINES
from speedtest_logger.inventory import systems


def plugin(name):
    return load(f"plugins/filter/{name}.py")


DEBIAN = {"id": "debian", "version_id": "12", "architecture": "amd64", "python": "3.11.2", "systemd": "252"}
ALL = [systems.NODE, systems.ARCHIVE, systems.TARGET]


@pytest.mark.parametrize(
    "seen",
    [
        DEBIAN,
        {**DEBIAN, "version_id": "13", "python": "3.13.5", "architecture": "arm64"},
        {**DEBIAN, "id": "ubuntu", "version_id": "24.04", "python": "3.12.3"},
    ],
)
def test_what_is_supported_is_taken(seen):
    assert systems.problem(seen, ALL) is None


@pytest.mark.parametrize(
    ("changes", "uses", "words"),
    [
        ({"id": "fedora", "version_id": "43", "architecture": ""}, ALL, "seen fedora 43, without apt; packages come"),
        ({"id": "alpine", "version_id": "3.22", "architecture": ""}, ["node"], "Debian 12 and 13, Raspberry Pi OS"),
        ({"python": ""}, ["node"], "sudo apt install python3"),
        (
            {"version_id": "11", "python": "3.9.2"},
            ["node"],
            "seen debian 11, amd64, Python 3.9.2; as node it needs 3.10",
        ),
        ({"id": "ubuntu", "version_id": "22.04", "python": "3.10.12"}, ALL, "as archive host it needs 3.11 or newer"),
        ({"id": "raspbian", "architecture": "armhf"}, ALL, "duckdb and pyarrow have no packages for armhf"),
        ({"systemd": 0}, ["target"], "this machine does not run systemd"),
    ],
)
def test_what_is_not_supported_is_named(changes, uses, words):
    assert words in systems.problem({**DEBIAN, **changes}, uses)


@pytest.mark.parametrize(
    "seen",
    [
        {**DEBIAN, "id": "ubuntu", "version_id": "22.04", "python": "3.10.12"},
        {**DEBIAN, "id": "raspbian", "architecture": "armhf"},
    ],
)
def test_what_cannot_be_an_archive_host_can_be_a_node(seen):
    assert systems.problem(seen, [systems.NODE, systems.TARGET]) is None


def test_timescaledb_is_a_package_of_debian_13_alone():
    assert systems.problem({**DEBIAN, "version_id": "13"}, [systems.TIMESCALE]) is None
    for system in ({"version_id": "12"}, {"id": "ubuntu", "version_id": "24.04"}):
        told = systems.problem({**DEBIAN, **system}, [systems.TIMESCALE])
        assert "TimescaleDB is a package of Debian 13 only: set speedtest_database_timescale_enabled: false" in told


# os-release, dpkg's architecture, Python; as a node and as an archive host: None, or words of the refusal
RECORDED = [
    ("debian-12", "amd64", "3.11.2", None, None),
    ("debian-13", "amd64", "3.13.5", None, None),
    ("ubuntu-24.04", "amd64", "3.12.3", None, None),
    (
        "ubuntu-22.04",
        "amd64",
        "3.10.12",
        None,
        "seen ubuntu 22.04, amd64, Python 3.10.12; as archive host it needs 3.11",
    ),
    ("debian-13", "arm64", "3.13.5", None, None),  # Raspberry Pi OS, 64 bit: it calls itself Debian
    ("debian-12", "arm64", "3.11.2", None, None),
    ("raspbian-12", "armhf", "3.11.2", None, "seen raspbian 12, armhf; as archive host it needs 64 bit"),
    ("debian-13", "armhf", "3.13.5", None, "seen debian 13, armhf; as archive host it needs 64 bit"),
    ("debian-11", "amd64", "3.9.2", "seen debian 11, amd64, Python 3.9.2; as node it needs 3.10", "seen debian 11"),
    ("fedora-41", "", "3.13.0", "seen fedora 41, without apt; packages come from apt here", "seen fedora 41"),
    ("alpine-3.22", "", "3.12.11", "seen alpine 3.22.1, without apt; packages come from apt here", "seen alpine"),
]


@pytest.mark.parametrize(("file", "architecture", "python", "as_node", "as_archive"), RECORDED)
def test_a_recorded_system_is_recognized(file, architecture, python, as_node, as_archive, tmp_path):
    programs = {"python3": python, **({"dpkg": architecture} if architecture else {})}
    for name, answer in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\necho {answer}\n")
        (tmp_path / name).chmod(0o755)
    recorded = ROOT / "tests/fixtures/os-release" / file
    look = systems.LOOK.replace("/etc/os-release", str(recorded)).replace("[ -d /run/systemd/system ]", "true")
    path = {"PATH": str(tmp_path)}
    done = subprocess.run(["/bin/sh", "-c", look], capture_output=True, text=True, check=True, env=path)
    seen = systems.parsed(done.stdout)
    for use, words in ((systems.NODE, as_node), (systems.ARCHIVE, as_archive)):
        told = systems.problem(seen, [use])
        assert (told is None) if words is None else told.startswith(words)


def test_each_roles_page_tells_where_it_was_seen_to_work():
    for file in (ROOT / "roles").glob("*/meta/main.yml"):
        told = yaml.safe_load(file.read_text())["galaxy_info"]["platforms"]
        seen = systems.SEEN_ON.get(file.parents[1].name, systems.DEBIAN)
        assert {each["name"]: tuple(each["versions"]) for each in told} == seen, file


@pytest.mark.parametrize(("system", "version"), [("ubuntu", "22.04"), ("ubuntu", "24.04"), ("debian", "12")])
def test_an_engine_that_a_release_does_not_package_is_known(system, version):
    absent = {name for name, each in ENGINES.items() if each.package and not each.package.is_in(system, version)}
    assert absent == {"librespeed"}


def test_a_look_at_this_machine_says_what_it_is():
    done = subprocess.run(["/bin/sh", "-c", systems.LOOK], capture_output=True, text=True, check=True)
    seen = systems.parsed(done.stdout)
    assert re.fullmatch(r"3\.\d+\.\d+\S*", seen["python"])
    assert f"ID={seen['id']}" in Path("/etc/os-release").read_text()
    assert seen["architecture"]


def test_each_machine_is_named_with_a_way_round_it():
    seen = "id=fedora\nversion_id=43\narchitecture=\npython=3.14.0\nsystemd=1\n"
    hostvars = {"php": {"__system": {"stdout": seen}}, "silent": {"__system": {"stdout": ""}}}
    (line,) = plugin("systems").system_problems(hostvars, {"speedtest_nodes": ["php", "silent"]}, ["php", "silent"])
    assert line.startswith("php: seen fedora 43, without apt")
    assert "--limit 'all:!php'" in line


@pytest.mark.parametrize(
    ("values", "is_refused"),
    [
        ({}, False),
        ({"timescale_enabled": True}, True),
        ({"timescale_enabled": True, "state": "absent"}, False),
        ({"timescale_enabled": True, "dsn": "postgresql://db/x"}, False),
    ],
)
def test_a_database_that_is_to_have_timescaledb_is_refused_before_anything_is_touched(values, is_refused):
    seen = "id=debian\nversion_id=12\narchitecture=amd64\npython=3.11.2\nsystemd=1\n"
    given = {f"speedtest_database_{name}": value for name, value in values.items()}
    hostvars = {"nas": {"__system": {"stdout": seen}, **given}}
    found = plugin("systems").system_problems(hostvars, {"speedtest_database": ["nas"]}, ["nas"])
    assert len(found) == is_refused


SLOTS = {
    "attic": {"interval_seconds": 3600, "offset_seconds": 600},
    "mini-pc": {"interval_seconds": 3600, "offset_seconds": 60},
}
HOSTVARS = {
    "attic": {
        "fleet_state": {"slots": SLOTS},
        "speedtest_logger_observed": {"plan": {"drift": ["a", "b", "c", "d"]}},
    },
    "mini_pc": {"fleet_state": {"slots": SLOTS}, "speedtest_logger_observed": {"plan": {"drift": []}}},
    "nas": {},
}
GROUPS = {"speedtest_nodes": ["attic", "mini_pc"], "speedtest_archive": ["nas"]}
HOSTS = ["attic", "mini_pc", "nas"]


def test_a_run_ends_with_what_was_done_and_what_comes_next():
    said = plugin("ending").fleet_next(
        HOSTVARS, GROUPS, {"all": HOSTS, "done": HOSTS}, [str(ROOT / "inventory/mine")], now=0
    )
    assert "attic: 4 brought to what the inventory says" in said
    assert "mini_pc: as the inventory says" in said
    assert "next slots: mini-pc at 00:01:00 UTC, attic at 00:10:00 UTC" in said
    assert "look at them: ansible-playbook playbooks/status.yml" in said


def test_a_run_ends_with_the_inventory_that_was_named_and_the_machines_that_failed():
    said = plugin("ending").fleet_next(HOSTVARS, GROUPS, {"all": HOSTS, "done": ["attic"]}, ["/home/me/fleet"], now=0)
    assert "look at them: ansible-playbook -i /home/me/fleet playbooks/status.yml" in said
    assert any(line.startswith("- not done: mini_pc, nas:") for line in said)


def test_a_check_ends_with_a_summary_for_each_machine():
    said = plugin("ending").fleet_next(HOSTVARS, GROUPS, {"all": HOSTS, "done": HOSTS}, [], checking=True, now=0)
    assert "attic: 4 would change: a; b; c and 1 more" in said
    assert said[-1] == "nothing was changed. To do it: ansible-playbook site.yml"


def test_a_reports_options_are_those_of_the_program():
    report = plugin("report")
    given = {"location": "home", "last": "30d", "plan_download": 100, "ansible_host": "192.0.2.1", "file": "x.html"}
    words = report.report_command(given, "/tmp/r")
    assert words[1:] == ["report", "--location=home", "--last=30d", "--plan-download=100", "/tmp/r/report.html"]
    known = {f"--{name.replace('_', '-')}" for name in report.OPTIONS}
    assert {"--location", "--last", "--from", "--to", "--plan-download", "--plan-upload"} <= known
    cli.parser().parse_args(words[1:])


def test_a_reports_place_counts_from_where_the_run_was_started():
    report = plugin("report")
    assert report.report_place("x.html", "/home/me") == "/home/me/x.html"
    assert report.report_place("/srv/x.html", "/home/me") == "/srv/x.html"
    with pytest.raises(report.AnsibleFilterError, match=r"ends in \.html"):
        report.report_place("x.txt", "/home/me")
