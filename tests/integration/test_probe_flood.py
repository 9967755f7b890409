"""A node that floods the archive with results of probes: real processes of receive and ingest, and 40 MB of results."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from test_log_flood import ARCHIVE, RECEIVE, Stage

from speedtest_logger import wire
from speedtest_logger.archive.arrive.limits import Limits
from speedtest_logger.probe_result import ProbeResult
from speedtest_logger.record import utc_text

MB = 1_000_000
DELIVERIES, EACH = 4, 6 * MB  # of the node that floods
HONEST = 6  # deliveries of the other one meanwhile


@pytest.fixture
def stage(tmp_path):
    return Stage(tmp_path)


def results(node: str, count: int, back: float, target: str = "1.1.1.1") -> list[dict[str, object]]:
    """Results, one second apart."""
    row = ProbeResult(
        location=node, probe="ping", target=target, runs=5, sent=15, lost=15, reason="no_answer", message="x" * 150
    )
    first = time.time() - back
    return [
        {**row.to_row(), "started_at": utc_text(first + number), "finished_at": utc_text(first + number + 240)}
        for number in range(count)
    ]


def deliver(stage: Stage, node: str, back: float, found: list[dict[str, object]]) -> dict[str, object]:
    """A record with results behind it, by a process of receive."""
    given = stage.record(node, back) + wire.probe_lines(found)
    answer: dict[str, object] = json.loads(
        stage.run(RECEIVE, "--node", node, "--root", str(stage.layout.root), node=node, given=given)
    )
    return answer


def flood(stage: Stage, number: int) -> dict[str, object]:
    """Six MB of results over a month, behind a record."""
    found = results("mallory", 15_000, 86_400 * 30 - 20_000 * number, target=f"host-{number}")
    assert len(wire.probe_lines(found)) > EACH
    return deliver(stage, "mallory", 1_000 - number, found)


def test_a_node_that_floods_is_capped_and_nobody_elses_results_or_records_are(stage):
    with ThreadPoolExecutor() as pool:
        others = pool.submit(
            lambda: [deliver(stage, "attic", 1_000 - n, results("attic", 3, 900 - 10 * n)) for n in range(HONEST)]
        )
        answers = [flood(stage, number) for number in range(DELIVERIES)]
        assert [answer["probes"] for answer in others.result()] == [True] * HONEST
    assert [(len(answer["accepted"]), answer["probes"]) for answer in answers] == [(1, True)] * DELIVERIES
    limit = Limits().probe_day_mb * MB
    waiting = sum(file.stat().st_size for file in stage.layout.probe_inbox.glob("mallory/*"))
    assert 0.9 * limit < waiting <= limit
    stage.run(ARCHIVE, "--root", str(stage.layout.root), "ingest")
    said = stage.run(ARCHIVE, "--root", str(stage.layout.root), "query", "--format", "json",
                     "SELECT node, count(*) AS n FROM records GROUP BY node ORDER BY node")  # fmt: skip
    assert json.loads(said) == [{"node": "attic", "n": HONEST}, {"node": "mallory", "n": DELIVERIES}]
    kept = json.loads(
        stage.run(ARCHIVE, "--root", str(stage.layout.root), "probes", "--last", "40d", "--format", "json")
    )
    assert [row["results"] for row in kept if row["node"] == "attic"] == [3 * HONEST]
    total = sum(row["results"] for row in kept if row["node"] == "mallory")
    assert 15_000 < total < DELIVERIES * 15_000
    fleet = json.loads(stage.run(ARCHIVE, "--root", str(stage.layout.root), "fleet"))
    assert any(problem.startswith("node mallory: ") and "probe_day_mb" in problem for problem in fleet["problems"])
    assert not any(problem.startswith("node attic: ") for problem in fleet["problems"])
