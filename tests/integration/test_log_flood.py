"""A node that shouts: real processes of push, receive and ingest, and 100 MB of lines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from builders import ROOT

from speedtest_logger import wire
from speedtest_logger.archive.arrive.limits import Limits
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.log import Log
from speedtest_logger.node import config, measure
from speedtest_logger.node.spool import Spool

MB = 1_000_000
DELIVERIES, EACH = 4, 25 * MB  # of the node that shouts
HONEST = 6  # pushes of the other one meanwhile
PUSH = "speedtest_logger.node.cli"
RECEIVE = "speedtest_logger.archive.arrive.receive"
ARCHIVE = "speedtest_logger.archive.cli"
START = "import sys; from {} import main; sys.exit(main())"


class Stage:
    """An archive, and nodes whose ssh is receive itself."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.layout = folder, Layout(folder / "archive")
        self.layout.prepare()
        (folder / "bin").mkdir()
        ssh = folder / "bin/ssh"
        start = f"exec {sys.executable} -c '{START.format(RECEIVE)}'"
        ssh.write_text(f"#!/bin/sh\n{start} --node $SPEEDTEST_NODE --root {self.layout.root}\n")
        ssh.chmod(0o755)

    def environment(self, node: str) -> dict[str, str]:
        return {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT / "src"),
            "SPEEDTEST_NODE": node,
            "SPEEDTEST_LOCATION": node,
            "SPEEDTEST_STATE_DIR": str(self.folder / node),
            "SPEEDTEST_LOG_FILE": str(self.folder / f"{node}.log"),
            "SPEEDTEST_ARCHIVE_HOST": "archive.example.org",
            "SPEEDTEST_ENGINES": "iperf3",
            "SPEEDTEST_IPERF3_SERVERS": "192.0.2.1:5201",
        }

    def settings(self, node: str) -> config.Settings:
        return config.load({k: v for k, v in self.environment(node).items() if k.startswith("SPEEDTEST_")})

    def record(self, node: str, back: float) -> bytes:
        """A record's line."""
        return json.dumps(measure.begin(self.settings(node), None, time.time() - back).to_row()).encode() + b"\n"

    def run(self, module: str, *arguments: str, node: str = "attic", given: bytes = b"") -> str:
        done = subprocess.run(
            [sys.executable, "-c", START.format(module), *arguments],
            env=self.environment(node), input=given, capture_output=True, check=False, timeout=600,
        )  # fmt: skip
        assert done.returncode == 0, (done.stdout[-500:], done.stderr[-1_000:])
        return done.stdout.decode()

    def lines(self, node: str) -> list[dict[str, object]]:
        said = self.run(ARCHIVE, "--root", str(self.layout.root), "logs", "--node", node, "--level", "debug",
                        "--limit", "1000000", "--format", "json")  # fmt: skip
        return [json.loads(line) for line in said.splitlines()]


@pytest.fixture
def stage(tmp_path):
    return Stage(tmp_path)


def shout(stage: Stage, number: int) -> dict[str, object]:
    """25 MB of lines behind a record."""
    text = json.dumps({"level": "error", "event": "shouted", "filler": "x" * 900})
    count = EACH // len(text)
    first = number * EACH
    content = wire.log_lines("a-1", ((first + at * 1_000, text) for at in range(count)))
    given = stage.record("mallory", 1_000 - number) + content
    assert len(content) > EACH
    answer: dict[str, object] = json.loads(
        stage.run(RECEIVE, "--node", "mallory", "--root", str(stage.layout.root), node="mallory", given=given)
    )
    return answer


def speak(stage: Stage) -> None:
    """A node that measures, logs and delivers."""
    settings = stage.settings("attic")
    spool = Spool(settings.state_dir)
    spool.prepare()
    for number in range(HONEST):
        Log(settings.log_file).event("debug", "numbered", number=number)
        spool.write(measure.begin(settings, None, time.time() - 1_000 + number))
        stage.run(PUSH, "push", "--force")


def test_a_node_that_shouts_is_capped_and_nobody_elses_lines_or_records_are(stage):
    with ThreadPoolExecutor() as pool:
        others = pool.submit(speak, stage)
        answers = [shout(stage, number) for number in range(DELIVERIES)]
        others.result()
    assert [(len(answer["accepted"]), answer["log"]) for answer in answers] == [(1, True)] * DELIVERIES
    assert sum(file.stat().st_size for file in stage.layout.log_inbox.glob("mallory/*")) < 5.1 * MB
    stage.run(ARCHIVE, "--root", str(stage.layout.root), "ingest")
    said = stage.run(ARCHIVE, "--root", str(stage.layout.root), "query", "--format", "json",
                     "SELECT node, count(*) AS n FROM records GROUP BY node ORDER BY node")  # fmt: skip
    assert json.loads(said) == [{"node": "attic", "n": HONEST}, {"node": "mallory", "n": DELIVERIES}]
    shouted = stage.lines("mallory")
    kept = sum(row["event"] == "shouted" for row in shouted)
    assert 0.9 * Limits().log_day_mb * MB < kept * 1_000 < 1.1 * Limits().log_day_mb * MB
    [told] = [row["fields"] for row in shouted if row["event"] == "lines_left_out"]
    first = EACH // 948  # lines of the first delivery; how many more were left out is told in an hour
    assert 0.95 * first - kept < told["lines"] < first
    fleet = json.loads(stage.run(ARCHIVE, "--root", str(stage.layout.root), "fleet"))
    assert any(problem.startswith("node mallory: ") and "log_day_mb" in problem for problem in fleet["problems"])
    assert not any(problem.startswith("node attic: ") for problem in fleet["problems"])
    numbers = [row["fields"]["number"] for row in stage.lines("attic") if row["event"] == "numbered"]
    assert numbers == list(range(HONEST))


def test_a_log_of_many_megabytes_costs_a_push_little_and_no_record(stage):
    """A node whose own program went wild: what it pushes is small, whatever it has."""
    settings = stage.settings("attic")
    spool = Spool(settings.state_dir)
    spool.prepare()
    spool.write_state("archive", {"knows": ["hello", "log"]})
    spool.write_state("log", {"file": "1-1", "offset": 0})  # delivered before: an outage is what lies between
    text = json.dumps({"level": "info", "event": "wild", "filler": "x" * 150}) + "\n"
    for number in range(10):
        name = f"attic.log.{number}" if number else "attic.log"
        (stage.folder / name).write_text(f'{{"event": "file {number}"}}\n' + text * (5 * MB // len(text)))
    for number in range(3):
        spool.write(measure.begin(settings, None, time.time() - 1_000 + number))
        said = json.loads(stage.run(PUSH, "push", "--force", "--json"))
        assert (said["accepted"], said["waiting"]) == (1, 0)
    size = sum(file.stat().st_size for file in stage.layout.log_inbox.glob("attic/*"))
    assert 0.5 * MB < size < 1.5 * MB
