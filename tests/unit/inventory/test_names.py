"""Names of hosts, groups, files and variables: ours, almost ours, and other people's."""

from __future__ import annotations

import pytest
from builders import ROOT
from everything import GROUPS, problems

from speedtest_logger.inventory import check, names
from speedtest_logger.inventory.found import Inventory


@pytest.mark.parametrize("host", ["mini_pc", "Mini_PC", "mini.pc"])
def test_names_that_inventories_have_make_names_of_nodes(host):
    assert check.problems(Inventory({host: {}}, {group: [host] for group in GROUPS}, checkout=ROOT)) == []


@pytest.mark.parametrize("host", ["büro-pc", "a123456789." * 7])
def test_a_host_name_that_makes_none_says_what_to_set_and_where(host):
    (line,) = check.problems(Inventory({host: {}}, {group: [host] for group in GROUPS}, checkout=ROOT))
    assert f"set speedtest_logger_node_name in host_vars/{host}.yml" in line


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("speedtest_loger_interval", "speedtest_logger_interval"),
        ("speedtest_logger_intervall", "speedtest_logger_interval"),
        ("spedtest_logger_interval", "speedtest_logger_interval"),
        ("docker_host_sources", "docker_host_source"),
        ("managed_host_apt_cache", "managed_host_apt_cache_valid_seconds"),
    ],
)
def test_a_variable_that_is_almost_ours_is_named(name, meant):
    assert names.concerns_us(name)
    (line,) = problems(**{name: "1h"})
    assert f"{name}: seen a value on h; there is no such variable: did you mean {meant}?" in line


def test_other_peoples_variables_are_theirs():
    for name in (
        "ansible_user_uid",
        "nginx_port",
        "my_speed",
        "docker_host",
        "hardened",
        "__speedtest_logger_wanted",
    ):
        assert not names.concerns_us(name), name


def test_a_group_or_file_that_is_almost_ours_is_named(tmp_path):
    groups = {
        **GROUPS,
        "speedtest_node": ["x"],
        "speedtest_archives": [],
        "mine": ["h"],
        "speedtest_nodes_berlin": ["h"],
    }
    assert [line.split(":")[0] for line in problems(groups)] == ["group speedtest_archives", "group speedtest_node"]
    assert "did you mean speedtest_nodes?" in problems(groups)[1]
    for folder, files in (
        ("host_vars", ["hh.yml", "h.yml", ".x.yml", "h.yml~"]),
        ("group_vars", ["all.yml", "speedtest_node"]),
    ):
        (tmp_path / folder).mkdir()
        for name in files:
            (tmp_path / folder / name).touch()
    found = problems(folders=(tmp_path,))
    assert [line.split(":")[0] for line in found] == ["group_vars/speedtest_node", "host_vars/hh.yml"]
    assert "did you mean speedtest_nodes?" in found[0]
    assert "did you mean h?" in found[1]


def test_an_inventory_without_archive_or_nodes_says_so():
    found = check.problems(Inventory({"a": {}, "b": {}}, {"speedtest_archive": ["a", "b"]}, checkout=ROOT))
    assert found == [
        "group speedtest_archive: seen a, b; put exactly one host into it, or set "
        "speedtest_archive_shared: true for all of them",
        "group speedtest_nodes: seen none; put the machines that measure into it",
    ]
    (missing,) = check.problems(Inventory({}, {}, ("/nowhere/hosts.yml",), checkout=ROOT))
    assert "/nowhere/hosts.yml: seen no such file" in missing
    (empty,) = check.problems(Inventory({}, {}, ("/dev/null",), checkout=ROOT))
    assert "/dev/null; there is no host in it" in empty
