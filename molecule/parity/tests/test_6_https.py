"""Both nodes deliver over https, by a unit and by a container, and over ssh again: no record is lost."""

from __future__ import annotations

import json

import pytest
from conftest import HOST, NAME, knows_front
from fleet import attempt, between_slots, on, playbook, query, recap

TIMER, CONTAINER = "timer", "container"
NODES = (TIMER, CONTAINER)
TOKEN = "/etc/speedtest-telemetry/token"


def delivered(node: str) -> str:
    """The run of a measurement that a node has just delivered."""
    between_slots(*NODES)
    record = json.loads(on(node, "speedtest-logger measure --wait --json 2>/dev/null | tail -n 1"))
    on(node, "speedtest-logger push --force")
    on(HOST, "speedtest-archive ingest")
    return str(record["run_id"])


@pytest.fixture(scope="module")
def runs(https) -> dict[str, list[str]]:
    """What each node delivered over https, and then over ssh."""
    for node in NODES:
        knows_front(node)
    done = playbook("site.yml", *https)
    assert done.returncode == 0, done.stdout[-3000:]
    return {node: [delivered(node)] for node in NODES}


@pytest.mark.parametrize("node", NODES)
def test_a_node_delivers_over_https_on_either_runtime(runs, node):
    assert f'SPEEDTEST_ARCHIVE_HOST="{NAME}"' in on(node, "cat /etc/speedtest-telemetry/logger.env")
    assert f"{NAME} answers" in on(node, "speedtest-logger push --hello")
    question = f"SELECT runtime, count(*) AS n FROM records WHERE run_id = '{runs[node][0]}' GROUP BY 1"
    assert query(question, HOST) == [{"runtime": "systemd" if node == TIMER else "compose", "n": 1}]


def test_a_second_run_changes_nothing(runs, https):
    again = playbook("site.yml", *https)
    assert again.returncode == 0, again.stdout[-3000:]
    assert {counts["changed"] for counts in recap(again).values()} == {0}, again.stdout[-3000:]


def test_a_container_without_its_token_delivers_nothing_and_loses_nothing(runs):
    on(CONTAINER, f"cp -p {TOKEN} /root/token && printf '%064d\\n' 0 >{TOKEN}")
    between_slots(*NODES)
    said = attempt(CONTAINER, "speedtest-logger measure --wait --json 2>/dev/null | tail -n 1")
    runs[CONTAINER].append(str(json.loads(said.stdout)["run_id"]))
    refused = attempt(CONTAINER, "speedtest-logger push --force")
    on(CONTAINER, f"cat /root/token >{TOKEN}; rm /root/token")
    assert refused.returncode != 0
    assert "does not know this node's token" in refused.stdout + refused.stderr
    on(CONTAINER, "speedtest-logger push --force")
    on(HOST, "speedtest-archive ingest")


def test_the_way_back_loses_nothing(runs):
    done = playbook("site.yml")
    assert done.returncode == 0, done.stdout[-3000:]
    for node in NODES:
        assert attempt(node, f"ls {TOKEN}").returncode != 0
        runs[node].append(delivered(node))
    for node, found in runs.items():
        named = ", ".join(f"'{run}'" for run in found)
        counted = query(
            f"SELECT count(*) AS n, count(DISTINCT run_id) AS runs FROM records WHERE run_id IN ({named})", HOST
        )
        assert counted == [{"n": len(found), "runs": len(found)}], node
