"""A setting of the node is one row of config.py: its file, variable, check and documentation follow."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from builders import ROOT

from speedtest_logger import env_file
from speedtest_logger.inventory import environment, settings
from speedtest_logger.inventory.found import View
from speedtest_logger.node import config

L = settings.PREFIX
# Variables of 40 nodes, and the file that Ansible's templates made of each when they still did.
RECORDED = [json.loads(line) for line in (ROOT / "tests/fixtures/logger-env.jsonl").read_text("utf-8").splitlines()]


def file_of(recorded):
    """What is made of a recorded node's variables today."""
    variables = {L + "node_name": "attic-example", **recorded["variables"]}
    return environment.logger_env(View("", variables, ("speedtest_logger",)))


@pytest.mark.parametrize("recorded", RECORDED)
def test_the_file_is_what_the_templates_wrote(recorded):
    assert file_of(recorded).splitlines() == recorded["file"]


def test_the_recorded_files_differ_in_every_setting_that_was_drawn():
    assert len({"\n".join(recorded["file"]) for recorded in RECORDED}) == len(RECORDED)
    assert len({name for recorded in RECORDED for name in recorded["variables"]}) == 26


@pytest.mark.parametrize("recorded", RECORDED)
def test_the_node_reads_what_the_inventory_says(recorded, tmp_path):
    variables = recorded["variables"]
    (tmp_path / "logger.env").write_text(file_of(recorded), encoding="utf-8")
    read, wrong = config.read(env_file.read(tmp_path / "logger.env"))
    assert wrong == []
    assert read.location == variables.get(L + "location", "unknown-location")
    assert read.offset_seconds == variables[L + "slots"]["offset_seconds"]
    assert read.engine["iperf3"].extra_args == tuple(variables.get(L + "iperf3_extra_args", ()))


# --- a setting more

ROW = '    politeness: int = _option(Whole(0, 9), 3, "How polite the node is; see SPEEDTEST_QUIET_HOURS.")\n'
ASK = """
import json
from pathlib import Path
from speedtest_logger import env_file
from speedtest_logger.inventory import check, environment
from speedtest_logger.inventory.found import Inventory, View
from speedtest_logger.node import config
values = {"speedtest_logger_politeness": 7, "speedtest_logger_node_name": "a"}
text = environment.logger_env(View("a", values, ("speedtest_logger",)))
open("logger.env", "w").write(text)
read = config.load(env_file.read(Path("logger.env")))
groups = {"speedtest_nodes": ["a"], "speedtest_archive": ["a"]}
wrong = check.problems(Inventory({"a": {"speedtest_logger_politeness": 10}}, groups))
print(json.dumps([text, read.politeness, wrong]))
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The checkout with a setting more: one row."""
    place = tmp_path_factory.mktemp("copy")
    for name in ("src", "docs", "roles", "share"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    file = place / Path(config.__file__).relative_to(ROOT)
    before, found, after = file.read_text(encoding="utf-8").partition("    paused: bool = ")
    assert found
    file.write_text(before + ROW + found + after, encoding="utf-8")
    for argv in (["docs/generate.py"], ["-c", ASK]):
        done = subprocess.run(
            [sys.executable, *argv], cwd=place, capture_output=True, text=True, check=False,
            env={"PYTHONPATH": str(place / "src")},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    return place, json.loads(done.stdout)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("roles/speedtest_logger/defaults/main.yml",
         "# How polite the node is; see speedtest_logger_quiet_hours.\nspeedtest_logger_politeness: 3\n"),
        ("roles/speedtest_logger/README.md", "| `speedtest_logger_politeness` | int: a whole number from 0 to 9 |"),
        ("docs/reference/roles.md", "| `speedtest_logger_politeness` |"),
        ("docs/reference/settings.md",
         "from 0 to 9 | `3` | How polite the node is; see SPEEDTEST_QUIET_HOURS. |"),
    ],
)  # fmt: skip
def test_a_new_setting_is_one_row_and_documented_everywhere(copy, file, words):
    assert words not in (ROOT / file).read_text(encoding="utf-8")
    assert words in (copy[0] / file).read_text(encoding="utf-8")


def test_a_new_setting_has_a_type_for_ansible(copy):
    specs = yaml.safe_load((copy[0] / "roles/speedtest_logger/meta/argument_specs.yml").read_text(encoding="utf-8"))
    option = specs["argument_specs"]["main"]["options"]["speedtest_logger_politeness"]
    assert (option["type"], option["default"]) == ("int", 3)


def test_a_new_setting_reaches_the_node_and_is_checked_before(copy):
    text, read, wrong = copy[1]
    assert 'SPEEDTEST_POLITENESS="7"\nSPEEDTEST_PAUSED="false"\n' in text
    assert read == 7
    assert "speedtest_logger_politeness: seen 10 on a; a whole number from 0 to 9 is expected" in wrong
