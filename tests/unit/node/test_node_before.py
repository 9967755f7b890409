"""The state of a node that the version before has made is gone on with."""

from __future__ import annotations

import csv
import json

import pytest
from builders import FIXTURES, unpack

from speedtest_logger.node import cli

RUNS = {
    "7bd5025e-8fc1-418f-8f5e-a5b7bca99d5d",
    "c40f6809-2057-4810-a916-e59f450bf0de",
    "5703fa03-d5f4-4384-8c4e-24a55886f937",
}


@pytest.fixture
def node(tmp_path):
    """Its settings, as they were, for a place of our own."""
    unpack(FIXTURES / "before/node.tgz", tmp_path)
    settings = {
        "NODE": "attic",
        "LOCATION": "home",
        "INTERVAL_SECONDS": 3600,
        "OFFSET_SECONDS": 7,
        "ENGINES": "iperf3",
        "IPERF3_SERVERS": "127.0.0.1:9",
        "OWN_SERVER_ALLOWED": "true",
        "MEASURE_TIMEOUT_SECONDS": 20,
        "STATE_DIR": tmp_path / "state",
        "LOG_FILE": tmp_path / "log/speedtest-diag.log",
    }
    file = tmp_path / "logger.env"
    file.write_text("".join(f'SPEEDTEST_{name}="{value}"\n' for name, value in settings.items()))
    return file


def test_what_it_has_not_delivered_still_waits_and_its_status_is_told(node, capsys):
    assert cli.main(["--env-file", str(node), "status", "--json"]) in (0, 1)
    said = json.loads(capsys.readouterr().out)
    assert said["outbox_records"] == 3
    assert said["last_record"]["run_id"] == "5703fa03-d5f4-4384-8c4e-24a55886f937"
    assert said["last_record"]["reason"] == "server_unreachable"


def test_a_new_measurement_joins_the_old_ones(node):
    assert cli.main(["--env-file", str(node), "measure"]) == 3  # nothing answers there
    texts = [file.read_text() for file in (node.parent / "state/outbox").glob("*.csv")]
    rows = [row for text in texts for row in csv.DictReader(text.splitlines())]
    assert len(rows) == 4
    assert {row["run_id"] for row in rows} > RUNS
    assert {row["node"] for row in rows} == {"attic"}
