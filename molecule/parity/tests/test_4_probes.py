"""Probes of a systemd node and of a compose node tell alike whose fault it was, and so does the message of the line."""

from __future__ import annotations

import json
from typing import Any

from fleet import LAB, attempt, ingest, lab, on, wait_until

from speedtest_logger.record import unix_time

ARCHIVE = "container"
NODES = (ARCHIVE, "timer")
SAID = "the gateway answered and the internet did not "
RUN_SECONDS = 10  # one may have been under way


def probes(*options: str) -> list[dict[str, Any]]:
    """What the archive has of the line's probes once all nodes have delivered."""
    for node in NODES:
        on(node, "speedtest-logger push --force", check=False)
    ingest(ARCHIVE)
    asked = f"speedtest-archive probes --location home --last 1h --format json {' '.join(options)} 2>/dev/null"
    rows: list[dict[str, Any]] = json.loads(on(ARCHIVE, asked))
    return rows


def test_probes_of_both_runtimes_ask_the_same_and_say_whose_fault_it_is(internet_away):
    began, _ = internet_away

    def failures() -> list[dict[str, Any]]:
        return [row for row in probes("--failures") if unix_time(row["from"]) > began - RUN_SECONDS]

    wait_until("both nodes' results", lambda: {row["node"] for row in failures()} == set(NODES), 400, ARCHIVE)
    assert {(row["probe"], row["target"]) for row in failures()} == {("ping", "hub")}
    assert all(SAID in row["diagnosis"] for row in failures())
    asked = {(row["node"], row["probe"], row["target"]) for row in probes()}
    assert asked == {(node, "ping", target) for node in NODES for target in ("gateway", "hub")}


def test_the_message_of_the_line_that_is_down_says_so_and_that_it_is_over_too(internet_away):
    _, file = internet_away

    def lines(start: str) -> list[str]:
        ingest(ARCHIVE)
        on(ARCHIVE, "speedtest-alerts run --now")
        heard = on(ARCHIVE, f"cat {file}", check=False).splitlines()
        told = [line for each in heard if each.startswith("{") for line in json.loads(each)["message"].splitlines()]
        return [line.strip() for line in told if line.strip().startswith(start)]

    wait_until("it is told", lambda: bool(lines("home: line down since")), 180, ARCHIVE)
    lab("restore", LAB, "hub")
    wait_until("it is over", lambda: bool(lines("home: line down is over")), 180, ARCHIVE)
    for start in ("home: line down since", "home: line down is over"):
        (line,) = lines(start)
        print(line)
        assert f"; probes: {SAID}" in line
        assert ": the line or the provider (" in line


def test_the_status_of_both_has_the_same_registry():
    here, there = (json.loads(attempt(node, "speedtest-logger status --json").stdout)["probes"] for node in NODES)
    fixed = ("probe", "on", "targets")
    assert [[each[name] for name in fixed] for each in here] == [[each[name] for name in fixed] for each in there]
    for each in (*here, *there):
        assert (each["last_run"] is not None) == each["on"] == (each["probe"] == "ping"), each
