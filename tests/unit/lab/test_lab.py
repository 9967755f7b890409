"""The lab's own parts that need no root; what it boots, the molecule scenarios show."""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from builders import ROOT

from lab import cli, emulation, host, images, network, prepared, suites, wheels
from lab import lab as model
from lab.forward import free_port
from lab.shell import LabError
from plugins.desired import docker_host, speedtest_archive, speedtest_dashboard, things


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("attic:bookworm", ("attic", "bookworm", 0.0, 0.0)),
        ("shed:trixie:200/50", ("shed", "trixie", 200.0, 50.0)),
        ("a-1:trixie:0.5/0.1", ("a-1", "trixie", 0.5, 0.1)),
    ],
)
def test_nodes_from_the_command_line(text, node):
    found = model.parse_node(text, 1)
    assert (found.name, found.suite, found.down_mbit, found.up_mbit) == node


@pytest.mark.parametrize(
    ("text", "docker", "prepared"),
    [
        ("hub:bookworm", False, False),
        ("hub:bookworm+prepared:100/40", False, True),
        ("hub:bookworm+docker+prepared", True, True),
        ("shed:trixie+docker:60/40", True, False),
    ],
)
def test_what_a_node_has_besides_its_suite(text, docker, prepared):
    found = model.parse_node(text, 1)
    assert (found.docker, found.prepared) == (docker, prepared)


def test_a_suite_that_cannot_be_prepared_is_named():
    with pytest.raises(LabError, match=r"'shed:noble\+prepared': noble cannot be prepared: bookworm and trixie can"):
        model.parse_node("shed:noble+prepared", 1)


@pytest.mark.parametrize(
    "text", ["attic", "attic:sid", "../x:bookworm", "Attic:bookworm", "a:bookworm:fast", "a:bookworm:1"]
)
def test_bad_nodes_are_named(text):
    with pytest.raises(LabError, match=r"'.*'"):
        model.parse_node(text, 1)


def test_what_is_missing_is_said(monkeypatch):
    monkeypatch.setattr(host.shutil, "which", lambda _: None)
    monkeypatch.setattr(host.os, "geteuid", lambda: 1000)
    with pytest.raises(LabError) as caught:
        host.prepare()
    for words in (
        "not root: run as root",
        "debootstrap is missing: install debootstrap",
        "systemd-nspawn is missing: install systemd-container",
    ):
        assert words in str(caught.value)


@pytest.mark.parametrize(
    "sources",
    [
        "Types: deb\nURIs: http://mirror.example.org/debian\nSuites: bookworm\n\nTypes: deb\n"
        "URIs: http://mirror.example.org/debian-security\nSuites: bookworm-security\n",
        "# deb http://old.example.org/debian bookworm main\ndeb [a=b] http://mirror.example.org/debian bookworm main\n"
        "deb http://mirror.example.org/debian-security bookworm-security main\n",
    ],
)
def test_the_mirror_is_this_machines_own(sources, tmp_path, monkeypatch):
    folder = tmp_path / "sources.list.d"
    folder.mkdir()
    (folder / ("x.sources" if "URIs" in sources else "x.list")).write_text(sources)

    def redirected(path="."):
        return tmp_path / str(path).removeprefix("/etc/apt/") if str(path).startswith("/etc/apt") else Path(path)

    monkeypatch.setattr(suites, "Path", redirected)
    assert suites.apt_mirrors() == ("http://mirror.example.org/debian", "http://mirror.example.org/debian-security")


def test_an_unknown_lab_or_node_is_said():
    done = subprocess.run(
        [sys.executable, "-m", "lab", "ssh", "no-such-lab", "x"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode in (1, 2)
    assert "lab: " in done.stderr


@pytest.mark.parametrize("part", ["SETUP", "TRIM"])
def test_the_image_changes_its_name_with_its_recipe(part, monkeypatch):
    before = images.image_dir("bookworm")
    monkeypatch.setattr(images, part, getattr(images, part) + "# more")
    assert images.image_dir("bookworm") != before


@pytest.mark.parametrize("change", ["base image", "recipe", "lock"])
def test_the_prepared_layer_changes_its_name_with_all_that_it_is_made_from(change, tmp_path, monkeypatch):
    before = prepared.layer("bookworm", docker=False)
    if change == "base image":
        monkeypatch.setattr(images, "SETUP", images.SETUP + "# more")
    elif change == "recipe":
        monkeypatch.setattr(prepared, "SETUP", prepared.SETUP + "# more")
    else:
        (tmp_path / "lock").write_text(wheels.LOCKS["dashboard"].read_text() + "# more\n")
        monkeypatch.setitem(wheels.LOCKS, "dashboard", tmp_path / "lock")
    assert prepared.layer("bookworm", docker=False) != before


def test_prepared_nodes_have_docker_where_it_can_run():
    assert prepared.layer("trixie", docker=True) != prepared.layer("trixie", docker=False)
    wanted = " ".join(docker_host.PACKAGES["distribution"]["debian"])
    assert set(wanted.split()) <= set(prepared.setup("trixie", docker=True).split())
    assert "docker.io" not in prepared.setup("trixie", docker=False)


@pytest.mark.parametrize("role", [speedtest_archive, speedtest_dashboard])
def test_prepared_packages_lie_where_the_role_has_them(role):
    written = yaml.safe_load((ROOT / f"roles/{role.ROLE}/defaults/main.yml").read_text())
    inputs = {name.removeprefix(f"{role.ROLE}_"): value for name, value in written.items()}
    part = role.ROLE.removeprefix("speedtest_")
    where = role.names({**inputs, "requirements_file": str(wheels.LOCKS[part])})["venv_dir"]
    assert wheels.venv(part) == where
    assert f"touch {things.venv(where, '', ()).item['mark']}\n" in prepared.setup("bookworm", docker=False)


def test_an_inventory_of_ones_own_needs_no_more_than_the_labs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(images, "HOME", tmp_path)
    model.Lab("try", 7, [model.parse_node("minipc:trixie", 1)]).save()
    cli.inventory(argparse.Namespace(lab="try"))
    (tmp_path / "try.yml").write_text(capsys.readouterr().out)
    ansible = Path(sys.executable).with_name("ansible-inventory")
    sources = ["-i", ROOT / "inventory/homelab", "-i", tmp_path / "try.yml"]
    done = subprocess.run([ansible, *sources, "--host", "minipc"], cwd=ROOT, capture_output=True, text=True, check=True)
    seen = json.loads(done.stdout)
    assert seen["ansible_host"] == model.load("try").address(model.load("try").node("minipc"))
    assert seen["ansible_user"] == "ops"
    assert seen["ansible_ssh_private_key_file"] == f"{tmp_path}/labs/try/id_ed25519"
    assert seen["managed_host_apt_cache_valid_seconds"] == 1_000_000_000
    assert seen["speedtest_logger_uplink"] == "home-fibre"


def test_numbers_go_round_and_skip_those_in_use(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "HOME", tmp_path)
    monkeypatch.setattr(model, "MOST_LABS", 4)
    assert [model.next_number(set()) for _ in range(5)] == [1, 2, 3, 4, 1]
    assert model.next_number({2, 3}) == 4
    with pytest.raises(LabError, match="remove some"):
        model.next_number({1, 2, 3, 4})


@pytest.mark.parametrize(("others", "deleted"), [({7}, False), (set(), True)])
def test_the_route_for_all_labs_goes_with_the_last_one(others, deleted, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(network, "LOCK", tmp_path / "lock")
    monkeypatch.setattr(network, "numbers_in_use", lambda: others)
    monkeypatch.setattr(network, "succeeds", asked.append)
    network.delete_route()
    assert asked == [["ip", "route", "delete", *network.UNREACHABLE]] * deleted


def test_a_taken_port_is_passed_over():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        first = taken.getsockname()[1]
        assert free_port(first) > first


def test_no_free_port_is_said(monkeypatch):
    monkeypatch.setattr("lab.forward.TRIED", 1)
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(LabError, match="--to"):
        free_port(taken.getsockname()[1])


def test_wheels_are_those_that_a_lock_means_for_a_version():
    lock = "a==1 \\\n    --hash=sha256:0\nb==2 ; python_full_version < '3.12' \\\n    --hash=sha256:1\n"
    lock += "b==3 ; python_full_version >= '3.12' \\\n    --hash=sha256:2 \\\n    --hash=sha256:3\n"
    one = "a==1 \\\n    --hash=sha256:0\n"
    assert "".join(wheels.entries(lock, "3.11")) == one + "b==2 \\\n    --hash=sha256:1\n"
    assert "".join(wheels.entries(lock, "3.13")) == one + "b==3 \\\n    --hash=sha256:2 \\\n    --hash=sha256:3\n"


def test_a_distribution_that_this_machine_is_not_of_has_its_mirror_beside(monkeypatch):
    monkeypatch.setattr(suites, "apt_mirrors", lambda: ("http://mirror.example.org/debian/", None))
    noble = suites.SUITES["noble"]
    assert noble.mirror() == "http://mirror.example.org/ubuntu"
    assert noble.sources().splitlines() == [
        f"deb http://mirror.example.org/ubuntu {name} main universe"
        for name in ("noble", "noble-updates", "noble-security")
    ]


def test_a_mirror_that_does_not_answer_is_told_and_ends_the_run_with_75(tmp_path):
    nobody = socket.create_server(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{nobody.getsockname()[1]}/debian"
    nobody.close()
    script = f"""
import sys
from lab import cli, host, suites
host.prepare = lambda: None
suites.apt_mirrors = lambda: ({address!r}, None)
sys.argv = ["lab", "images", "build", "noble"]
sys.exit(cli.main())
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "SPEEDTEST_LAB_DIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 75
    assert "lab: NOT TESTED: no mirror of noble" in done.stderr
    assert "Nothing was built and nothing was tested" in done.stderr


def test_the_gate_builds_no_image_that_it_does_not_need():
    assert set(images.EXPECTED) < set(images.CACHED) == set(suites.SUITES)


@pytest.mark.parametrize("name", emulation.ARCHITECTURES)
def test_the_kernel_is_told_of_an_architecture_in_the_form_that_it_knows(name, monkeypatch):
    monkeypatch.setattr(emulation.shutil, "which", lambda program: f"/usr/bin/{program}")
    _, entry, kind, offset, magic, mask, program, flags = emulation.ARCHITECTURES[name].rule.split(":")
    assert entry.startswith("speedtest-")
    assert (kind, offset, flags) == ("M", "", "OCF")
    assert program.startswith("/usr/bin/qemu-")
    assert (
        len(bytes(magic, "ascii").decode("unicode_escape")) == len(bytes(mask, "ascii").decode("unicode_escape")) == 20
    )
