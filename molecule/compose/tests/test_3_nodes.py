"""A systemd node and a compose node, side by side."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import time
from collections.abc import Callable

import pytest
from fleet import attempt, between_slots, measure_by_hand, on, query, wait_until

from speedtest_logger.record import unix_time, utc_text

TIMER, CONTAINER, ARCHIVE = "porch", "shed", "hub"
NODES = (TIMER, CONTAINER)
SLOTS, BY_HAND = 2, 3
# what tells one record from another, and what no two measurements have in common
OWN = {"run_id", "node", "runtime", "scheduled_at", "started_at", "finished_at", "raw_sha256"}
OWN |= {"attempt"}  # whoever finds the target still busy with the other one tries again
MEASURED = {
    "download_bps",
    "upload_bps",
    "upload_latency_ms",
    "latency_ms",
    "latency_low_ms",
    "latency_high_ms",
    "jitter_ms",
    "bytes_received",
    "bytes_sent",
    "background_rx_bytes",
    "background_tx_bytes",
    "packet_loss_pct",
}
BY_RUNTIME = {
    # the engines come from the same distribution, but as different builds of one version where Debian has repaired one
    "engine_version",
}
RUN_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
# events of a loop, and those that come of what happened to meet
BY_CHANCE = {"another_push_is_running", "slot_is_being_measured", "try_failed", "delivery_failed", "delivery_put_off"}
LOOPS = {"loop_started", "loop_stopping"}
RUNTIME_FILES = {"/etc/speedtest-telemetry/compose.yml", "/etc/speedtest-telemetry/.env"}


@pytest.fixture(scope="module", autouse=True)
def since() -> float:
    """When both began to do the same (Unix time, s): before, one of them was stopped, rebooted and switched."""
    began = time.time()
    for _ in range(BY_HAND):
        for node in NODES:  # in turns, as they share an uplink and its server
            between_slots(*NODES)
            measure_by_hand(node)

    def enough() -> bool:
        """Whether each has its slots: those passed while the other one measured by hand."""
        return all(sum(row["scheduled_at"] is not None for row in rows(node, began)) >= SLOTS for node in NODES)

    wait_until(f"both nodes have {SLOTS} slots in the archive", enough, 420, CONTAINER)
    return began


def rows(node: str, since: float):
    return query(
        f"SELECT * FROM records WHERE node = '{node}' AND status = 'ok' AND started_at > to_timestamp({since})", ARCHIVE
    )


def files(node: str) -> set[str]:
    """Kind, mode, owner, group and path of everything that the node has; names made of times and ids generalized."""
    found = on(
        node,
        "cd / && find etc/speedtest-telemetry var/lib/speedtest-telemetry var/log/speedtest-telemetry"
        " var/lib/speedtest-metrics opt/speedtest-telemetry"
        " -not -name '*.pyc' -not -name __pycache__ -printf '%y %m %u:%g /%p\n'",
    )
    text = RUN_ID.sub("RUN", found)
    text = re.sub(r"(year|month|day)=\d+", r"\1=N", text)
    text = re.sub(r"speedtest_\d\d-\d\d-\d\d(_\w+)?\.csv", "speedtest_TIME.csv", text)
    lines = set(text.splitlines())
    fleeting = ("/outbox/", "/probes/", "/state/measuring")
    return {line for line in lines if not any(part in line for part in fleeting)}


def test_the_same_files_with_the_same_modes_and_owners():
    names = ("loop", "log_alone", "probes", "probes_alone")  # as time has it
    own = RUNTIME_FILES | {f"/var/lib/speedtest-telemetry/state/{name}.json" for name in names}
    only: set[str] = set()

    def alike() -> bool:
        """What one of them is just writing, or remembers until its next delivery, is gone again soon."""
        only.clear()
        only.update(line.split()[-1] for line in files(TIMER) ^ files(CONTAINER))
        return only <= own

    try:
        wait_until("the files are the same", alike, 60)
    finally:
        print("files that differ:", sorted(only))
    assert on(TIMER, "id speedtest") == on(CONTAINER, "id speedtest")


def test_the_same_settings():
    environment = {
        node: dict(line.split("=", 1) for line in on(node, "cat /etc/speedtest-telemetry/logger.env").splitlines()[1:])
        for node in NODES
    }
    differ = {
        name
        for name in environment[TIMER] | environment[CONTAINER]
        if environment[TIMER].get(name) != environment[CONTAINER].get(name)
    }
    print("settings that differ:", sorted(differ))
    assert differ == {"SPEEDTEST_NODE", "SPEEDTEST_RUNTIME", "SPEEDTEST_OFFSET_SECONDS"}


def test_the_same_columns_and_nothing_but_the_runtime_differs(since):
    here, there = rows(TIMER, since), rows(CONTAINER, since)
    assert list(here[0]) == list(there[0])
    differ = {
        name for name in here[0] if {row[name] for row in here} != {row[name] for row in there} and name not in MEASURED
    }
    print("columns that differ:", sorted(differ))
    assert differ <= OWN | BY_RUNTIME
    assert {row["runtime"] for row in here} == {"systemd"}
    assert {row["runtime"] for row in there} == {"compose"}
    for name in MEASURED:
        assert {row[name] is None for row in here} == {row[name] is None for row in there}, name


def test_the_same_lines_in_the_log(since):
    def shape(node: str) -> dict[str, set[str]]:
        lines = [json.loads(line) for line in on(node, "cat /var/log/speedtest-diag.log").splitlines()]
        found: dict[str, set[str]] = {}
        for line in lines:
            # those that are not ok come of what happened to meet, and say why
            if line["time"] > utc_text(since) and line.get("status", "ok") == "ok":
                found.setdefault(line["event"], set()).update(line)
        return found

    here, there = shape(TIMER), shape(CONTAINER)
    differ = {event for event in here | there if here.get(event) != there.get(event)}
    print("events that differ:", sorted(differ))
    assert differ <= LOOPS | BY_CHANCE
    assert here["record"] == there["record"]


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("measure --wait", 0),
        ("push --force", 0),
        ("status", 0),
        ("doctor", 0),
        ("healthcheck", 0),
        ("config check", 0),
        ("config shout", 2),
        ("nothing", 2),
    ],
)
def test_the_same_exit_codes(command, code):
    done = {node: attempt(node, f"speedtest-logger {command}") for node in NODES}
    said = "\n".join(f"{node}: {answer.stdout}" for node, answer in done.items())
    assert {node: answer.returncode for node, answer in done.items()} == dict.fromkeys(NODES, code), said


# probes are told of after five minutes: most of them have passed by now
def test_the_same_metrics_which_are_right_and_for_all_to_read():
    names = {}
    for node in NODES:

        def told(node: str = node) -> dict[str, float]:
            text = on(node, "runuser -u nobody -- cat /var/lib/speedtest-metrics/speedtest.prom")
            lines = (line.split() for line in text.splitlines() if not line.startswith("#"))
            return {words[0].partition("{")[0]: float(words[-1]) for words in lines}

        def agrees(node: str = node, told: Callable[[], dict[str, float]] = told) -> bool:
            last = json.loads(attempt(node, "speedtest-logger status --json").stdout)["last_record"]
            found = told()
            is_of_last = found["speedtest_logger_last_run_timestamp_seconds"] == unix_time(last["finished_at"])
            return is_of_last and "speedtest_probe_loss_ratio" in found  # five minutes after the first probe

        wait_until(f"{node} tells of its last run and of its probes", agrees, 330, node)
        found = told()
        names[node] = set(found)
        assert found["speedtest_logger_last_run_success"] == 1
        assert 0 < found["speedtest_logger_last_run_duration_seconds"] < 60
        assert found["speedtest_logger_outbox_records"] <= 1
        assert found["speedtest_logger_budget_used_bytes"] > 1_000_000
        assert found["speedtest_logger_log_bytes"] > 0
    assert names[TIMER] == names[CONTAINER]
    assert "speedtest_logger_delivery_last_success_timestamp_seconds" in names[TIMER]


def test_the_same_exit_code_where_nothing_answers():
    def unanswered(node: str) -> subprocess.CompletedProcess[str]:
        setting = "SPEEDTEST_IPERF3_SERVERS=hub:9"
        env = "/etc/speedtest-telemetry/logger.env"
        inside = f"docker exec -e {setting} speedtest-logger speedtest-logger measure --wait"
        outside = f"{setting} /opt/speedtest-telemetry/current/bin/speedtest-logger --env-file {env} measure --wait"
        return attempt(node, outside if node == TIMER else inside)

    done = {node: unanswered(node) for node in NODES}
    assert {node: answer.returncode for node, answer in done.items()} == dict.fromkeys(NODES, 3)
    assert all("reason=server_unreachable" in answer.stdout for answer in done.values())


@pytest.mark.parametrize("column", ["download_bps", "upload_bps"])
def test_medians_lie_within_five_percent(since, column):
    here, there = (statistics.median(row[column] for row in rows(node, since)) for node in NODES)
    print(f"{column}: systemd {here / 1e6:.2f}, compose {there / 1e6:.2f} Mbit/s, ratio {there / here:.4f}")
    assert abs(there / here - 1) < 0.05
