"""Roles, plugins and filters of our own go by their full names: an installed collection finds no others."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from builders import ROOT

NAME = "speedtest.telemetry"
FOLDERS = ("roles", "playbooks", "molecule", "benchmarks/converge")
FILTERS = [path.stem for path in (ROOT / "plugins/filter").glob("*.yml")]
LOOKUPS = [path.stem for path in (ROOT / "plugins/lookup").glob("*.py")]
ACTIONS = [path.stem for path in (ROOT / "plugins/action").glob("*.py")]
ROLES = [path.name for path in (ROOT / "roles").iterdir()]


def short_names(text: str) -> Iterator[str]:
    """Uses of what is ours by a short name, in YAML of Ansible's."""
    for pattern in (
        rf"\|\s*(?:{'|'.join(FILTERS)})\b",
        rf"(?:map|select|reject)\(['\"](?:{'|'.join(FILTERS)})['\"]",
        rf"(?:lookup|query)\(['\"](?:{'|'.join(LOOKUPS)})['\"]",
        rf"^ *(?:- )?(?:{'|'.join(ACTIONS)}):\s*(?:#.*)?$",
        rf"_role:\s+name: (?:{'|'.join(ROLES)})$",
        rf"^ *- role: (?:{'|'.join(ROLES)})$",
    ):
        yield from re.findall(pattern, text, re.MULTILINE)


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_short_name_is_used(folder):
    files = list((ROOT / folder).rglob("*.yml"))
    found = {str(file): names for file in files if (names := list(short_names(file.read_text(encoding="utf-8"))))}
    assert found == {}
    assert files


@pytest.mark.parametrize(
    "text",
    [
        "x: \"{{ groups | due_hosts('a') }}\"",
        "x: \"{{ lookup('desired', 'speedtest_front') }}\"",
        "x: \"{{ all | map('image_problem') }}\"",
        "- name: x\n  host_state:\n    role: y",
        "- ansible.builtin.import_role:\n    name: managed_host",
        "roles:\n  - role: speedtest_logger",
    ],
)
def test_a_short_name_is_seen(text):
    assert list(short_names(text))


def test_the_checkout_is_the_collection_by_links_that_do_not_contain_themselves():
    folder = ROOT / "collections/ansible_collections/speedtest/telemetry"
    links = {path.name: path.resolve() for path in folder.iterdir()}
    assert links == {name: ROOT / name for name in ("meta", "plugins", "roles")}
    assert (ROOT / "playbooks/collections").resolve() == ROOT / "collections"
