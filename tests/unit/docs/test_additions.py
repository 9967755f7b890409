"""What is added goes where CONTRIBUTING says and nowhere else: one of each is added to a copy of the checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
import yaml
from additions import ADDED, ASK
from builders import ROOT
from test_contributing import is_there, places, text_of

FOLDERS = ("src", "docs", "roles", "share", "plugins", "lab", "docker", "kubernetes", "tests")
COPIED = (*FOLDERS, "CONTRIBUTING.md", "pyproject.toml")
# What tells that something was forgotten.
TELLING = [
    "tests/unit/engines/test_catalogue.py",
    "tests/unit/engines/test_engines.py",
    "tests/unit/plugins/test_desired.py",
    "tests/unit/plugins/test_host_state.py",
]
OF_AN_ADDITION = "acme or catalogue or list_of_a_plan or what_is_answered"


def rows():
    """CONTRIBUTING's table of what is added: files that are always touched, and files that may be."""
    lines = text_of("CONTRIBUTING.md").partition("| you add | in |")[2].partition("\n\n")[0].splitlines()[2:]
    cells = [line.strip("| ").split(" | ", 1) for line in lines]
    return {what: [places(part) for part in (where + " Where ").split(" Where ", 1)] for what, where in cells}


def fits(file, place):
    """Whether a file is a place, lies in it, or has its name."""
    return file == place or (place.endswith("/") and file.startswith(place)) or file.endswith(f"/{place}")


def run(place, *argv):
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(place / "src")}
    return subprocess.run(
        [sys.executable, *argv], cwd=place, capture_output=True, text=True, check=False, env=environment
    )


def add(place, file, before, text):
    """Put a text before the one place in a file that has these words; without words into a new file."""
    old = (place / file).read_text(encoding="utf-8") if before else ""
    assert old.count(before) == 1 or not before, f"{file}: {before}"
    (place / file).write_text(old.replace(before, text + before) if before else text, encoding="utf-8")


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A checkout with a setting, an engine, a reason and a kind of thing more; and what it answers."""
    place = tmp_path_factory.mktemp("copy")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__", "*.tgz"))
        else:
            shutil.copy(ROOT / name, place / name)
    for addition in ADDED.values():
        for file, texts in addition.items():
            for before, text in texts:
                add(place, file, before, text)
    for argv in (["docs/generate.py"], ["-c", ASK]):
        done = run(place, *argv)
        assert done.returncode == 0, done.stderr
    return place, json.loads(done.stdout)


@pytest.mark.parametrize("what", ADDED)
def test_an_addition_touches_the_files_that_contributing_names(what):
    always, perhaps = rows()[what]
    assert [place for place in always + perhaps if not is_there(place)] == []
    named = {file: {place for place in always + perhaps if fits(file, place)} for file in ADDED[what]}
    assert [file for file, found in named.items() if not found] == []
    for_people = {place for place in always if place.startswith(("tests/unit/", "docs/"))}
    assert set(always) - set().union(*named.values()) == for_people


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("roles/speedtest_logger/defaults/main.yml",
         "# How polite the node is; see speedtest_logger_quiet_hours.\nspeedtest_logger_politeness: 3\n"),
        ("roles/speedtest_logger/README.md", "| `speedtest_logger_politeness` | int: a whole number from 0 to 9 |"),
        ("docs/reference/roles.md", "| `speedtest_logger_politeness` |"),
        ("docs/reference/settings.md",
         "from 0 to 9 | `3` | How polite the node is; see SPEEDTEST_QUIET_HOURS. |"),
        ("roles/speedtest_logger/defaults/main.yml",
         "# Acme: HOST or HOST:PORT of your own servers.\nspeedtest_logger_acme_servers: []\n"),
        ("docs/reference/settings.md",
         "| `SPEEDTEST_ACME_PROGRAM` | a program's name, or its absolute path | `acme-cli` |"),
        ("docs/reference/glossary.md", "speedtest-cli, Acme's program, Ookla's speedtest"),
        ("docs/reference/record.md", "| `captive_portal` | a portal asked for a login |"),
    ],
)  # fmt: skip
def test_an_addition_is_documented_everywhere(copy, file, words):
    assert words not in (ROOT / file).read_text(encoding="utf-8")
    assert words in (copy[0] / file).read_text(encoding="utf-8")


def test_an_addition_has_a_type_for_ansible(copy):
    specs = yaml.safe_load((copy[0] / "roles/speedtest_logger/meta/argument_specs.yml").read_text(encoding="utf-8"))
    options = specs["argument_specs"]["main"]["options"]
    setting = options["speedtest_logger_politeness"]
    assert (setting["type"], setting["default"]) == ("int", 3)
    assert "acme" in options["speedtest_logger_engines"]["choices"]


def test_a_new_setting_reaches_the_node_and_is_checked_before(copy):
    read, wrong = copy[1]["setting"]
    assert 'SPEEDTEST_POLITENESS="7"\nSPEEDTEST_PAUSED="false"\n' in copy[1]["file"]
    assert read == 7
    assert "speedtest_logger_politeness: seen 10 on a; a whole number from 0 to 9 is expected" in wrong


def test_a_new_engine_reaches_the_node_is_checked_before_and_installed(copy):
    program, servers, unnamed, itself, unknown = copy[1]["engine"]
    assert 'SPEEDTEST_ACME_SERVERS="h:7"\n' in copy[1]["file"]
    assert (program, servers) == ("acme-cli", ["h:7"])
    assert [line for line in unnamed if "acme has no public list, name HOST or HOST:PORT of yours" in line]
    assert [
        line for line in itself if "speedtest_logger_acme_servers" in line and "localhost is the node itself" in line
    ]
    assert [line for line in unknown if "speedtest_cli, acme, ookla" in line]
    assert copy[1]["package"] == ["acme-tools"]


def test_a_new_probe_reaches_the_node_and_is_checked_before(copy):
    targets, unnamed, unknown = copy[1]["probe"]
    assert targets == ["h:123"]
    assert [line for line in unnamed if "speedtest_logger_ntp_targets" in line and "name HOST" in line]
    assert [line for line in unknown if "http, irtt, ntp, traceroute" in line]


def test_a_new_reason_is_given_and_taken(copy):
    assert copy[1]["reason"] == ["captive_portal", True]


def test_a_new_kind_is_looked_at_told_of_and_taken_off(copy):
    unheard, gone, drift = copy[1]["kind"]
    assert unheard == []
    assert gone == [{"path": "/bin/x", "value": "cap_net_raw=ep"}]
    assert drift == ["/bin/x: its capabilities are seen of /bin/x"]


def test_the_tests_that_tell_what_was_forgotten_are_satisfied(copy):
    done = run(copy[0], "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", OF_AN_ADDITION, *TELLING)
    assert done.returncode == 0, done.stdout[-3000:]
