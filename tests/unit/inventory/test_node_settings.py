"""A setting of the node is one row of config.py: its file, variable, check and documentation follow."""

from __future__ import annotations

import json

import pytest
from builders import ROOT

from speedtest_logger import __version__, env_file
from speedtest_logger.inventory import environment, settings
from speedtest_logger.inventory.found import View
from speedtest_logger.node import config

L = settings.PREFIX
# Variables of 40 nodes, and the file that Ansible's templates made of each when they still did.
RECORDED = [json.loads(line) for line in (ROOT / "tests/fixtures/logger-env.jsonl").read_text("utf-8").splitlines()]
RAISED = {'SPEEDTEST_RELEASE="0.1.0"': f'SPEEDTEST_RELEASE="{__version__}"'}
LATER = ('SPEEDTEST_LOG_DELIVERY_ENABLED="true"',)  # settings that came since, as they are by default


def file_of(recorded):
    """What is made of a recorded node's variables today; what came later is off."""
    variables = {L + "node_name": "attic-example", L + "metrics_enabled": False, **recorded["variables"]}
    return environment.logger_env(View("", variables, ("speedtest_logger",)))


@pytest.mark.parametrize("recorded", RECORDED)
def test_the_file_is_what_the_templates_wrote(recorded):
    lines = file_of(recorded).splitlines()
    assert [line for line in lines if line not in LATER] == [RAISED.get(line, line) for line in recorded["file"]]
    assert set(LATER) <= set(lines)


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
