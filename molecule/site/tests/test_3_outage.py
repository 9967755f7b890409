"""Cables are pulled and a node reboots: afterwards every slot is accounted for, and nothing is there twice."""

from __future__ import annotations

import json
import time
from datetime import datetime, timezone
from pathlib import Path

import pytest
from fleet import LAB, coverage, lab, on, query, wait_until

from speedtest_logger.node.spool import read_record
from speedtest_logger.record import utc_text

SLOTS = 2
INTERVAL = 60


@pytest.fixture(scope="module", autouse=True)
def outage():
    """The archive's cable is out, and shed's for the same time; porch reboots meanwhile."""
    lab("cut", LAB, "archive")
    lab("cut", LAB, "shed")
    began = time.time()
    lab("reboot", LAB, "porch")
    rebooted = time.time()
    nodes = ("attic", "shed")
    wait_until("slots were measured", lambda: all(waiting(node, began) >= SLOTS for node in nodes), 180, every=1)
    ended = time.time()
    lab("restore", LAB, "archive")
    lab("restore", LAB, "shed")
    wait_until("all outboxes are empty", all_delivered, 300)
    return began, rebooted, ended


def waiting(node: str, since: float) -> int:
    """How many slots since then (Unix time, s) wait on a node's disk for delivery: cut off, it cannot be asked."""
    listed = json.loads(lab("list", LAB, "--json"))
    root = Path(next(row["root"] for row in listed if row["node"] == node))
    records = map(read_record, (root / "var/lib/speedtest-telemetry/outbox").glob("*.csv"))
    return sum((record.scheduled_at or "") > utc_text(since) for record in records)


def all_delivered() -> bool:
    for node in ("attic", "porch", "shed"):
        on(node, "systemctl start speedtest-push.service; speedtest-logger push --force", check=False)
    return all(
        int(on(node, "ls /var/lib/speedtest-telemetry/outbox | wc -l")) <= 1 for node in ("attic", "porch", "shed")
    )


def test_the_cut_nodes_slots_failed_with_their_reason(outage):
    began, _, ended = outage
    rows = query(
        f"SELECT status, reason FROM records WHERE node = 'shed' AND started_at > to_timestamp({began}) "
        f"AND finished_at < to_timestamp({ended})"
    )
    assert len(rows) >= SLOTS
    assert {(row["status"], row["reason"]) for row in rows} == {("failed", "no_route")}


def test_the_others_went_on_measuring_and_lost_nothing(outage):
    began, _, ended = outage
    rows = query(
        f"SELECT status FROM records WHERE node = 'attic' AND scheduled_at > to_timestamp({began}) "
        f"AND finished_at < to_timestamp({ended})"
    )
    assert len(rows) >= SLOTS
    assert {row["status"] for row in rows} == {"ok"}


def test_every_slot_is_accounted_for_and_nothing_is_there_twice(outage):
    began, rebooted, _ = outage
    minute = datetime.fromtimestamp(began, timezone.utc).strftime("%Y-%m-%dT%H:%M")
    while_it_booted = 1 + int((rebooted - began) // INTERVAL)
    for cover in coverage("--from", minute, "--grace", "2min").values():
        assert cover["expected"] == sum(
            cover[name] for name in ("ok", "partial", "failed", "skipped", "missed", "pending")
        )
        assert cover["missed"] <= (while_it_booted if cover["node"] == "porch" else 0), cover
    assert (
        query("SELECT node, scheduled_at FROM records WHERE scheduled_at IS NOT NULL GROUP BY ALL HAVING count(*) > 1")
        == []
    )
    assert query("SELECT run_id FROM records GROUP BY ALL HAVING count(*) > 1") == []
