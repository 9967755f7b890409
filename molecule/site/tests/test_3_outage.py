"""Cables are pulled and a node reboots: afterwards every slot is accounted for, and nothing is there twice."""

from __future__ import annotations

import time

import pytest
from fleet import LAB, attempt, coverage, lab, on, pause, query, to_slot, wait_until

SLOTS = 2
INTERVAL = 60
MEASURED = 20  # seconds after which a slot's record is written, on a busy machine too


@pytest.fixture(scope="module", autouse=True)
def outage():
    """The archive's cable is out, and shed's for the same time; porch reboots meanwhile."""
    slots = [time.time() + to_slot(node) for node in ("attic", "shed")]
    lab("cut", LAB, "archive")
    lab("cut", LAB, "shed")
    began = time.time()
    lab("reboot", LAB, "porch")
    first = max((slot - began) % INTERVAL for slot in slots)  # the first of each may have gone by meanwhile
    pause(began + first + (SLOTS - 1) * INTERVAL + MEASURED - time.time())  # shed cannot be asked
    wait_until("slots were measured", lambda: waiting("attic", began) >= SLOTS, 60)
    ended = time.time()
    lab("restore", LAB, "archive")
    lab("restore", LAB, "shed")
    wait_until("all outboxes are empty", all_delivered, 300)
    return began, ended


def waiting(node: str, since: float) -> int:
    """How many records that a node made since then (Unix time, s) wait for delivery."""
    return int(
        attempt(node, f"find /var/lib/speedtest-telemetry/outbox -newermt @{since} -name '*.csv' | wc -l").stdout
    )


def all_delivered() -> bool:
    for node in ("attic", "porch", "shed"):
        on(node, "systemctl start speedtest-push.service; speedtest-logger push --force", check=False)
    return all(
        int(on(node, "ls /var/lib/speedtest-telemetry/outbox | wc -l")) <= 1 for node in ("attic", "porch", "shed")
    )


def test_the_cut_nodes_slots_failed_with_their_reason(outage):
    began, ended = outage
    rows = query(
        f"SELECT status, reason FROM records WHERE node = 'shed' AND started_at > to_timestamp({began}) "
        f"AND finished_at < to_timestamp({ended})"
    )
    assert len(rows) >= SLOTS
    assert {(row["status"], row["reason"]) for row in rows} == {("failed", "no_route")}


def test_the_others_went_on_measuring_and_lost_nothing(outage):
    began, ended = outage
    rows = query(
        f"SELECT status FROM records WHERE node = 'attic' AND scheduled_at > to_timestamp({began}) "
        f"AND finished_at < to_timestamp({ended})"
    )
    assert len(rows) >= SLOTS
    assert {row["status"] for row in rows} == {"ok"}


def test_every_slot_is_accounted_for_and_nothing_is_there_twice():
    for cover in coverage("--last", "20min", "--grace", "2min").values():
        assert cover["expected"] == sum(
            cover[name] for name in ("ok", "partial", "failed", "skipped", "missed", "pending")
        )
        assert cover["missed"] <= (1 if cover["node"] == "porch" else 0), cover
    assert (
        query("SELECT node, scheduled_at FROM records WHERE scheduled_at IS NOT NULL GROUP BY ALL HAVING count(*) > 1")
        == []
    )
    assert query("SELECT run_id FROM records GROUP BY ALL HAVING count(*) > 1") == []
