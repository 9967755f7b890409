"""The loop's plan and the health of a node: pure functions of the clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedtest_logger.node import config, loop, status
from speedtest_logger.node.spool import Spool
from speedtest_logger.record import run_id_of_slot, utc_text
from speedtest_logger.schedule import Schedule

DAY = 20_000 * 86_400
BASE = {"SPEEDTEST_NODE": "attic", "SPEEDTEST_INTERVAL_SECONDS": "600", "SPEEDTEST_OFFSET_SECONDS": "130"}
HERE = config.load({**BASE, "SPEEDTEST_PUSH_INTERVAL_SECONDS": "300"})
SLOT = DAY + 130


def test_a_start_delivers_at_once_and_measures_at_the_next_slot_only():
    plan = loop.Plan(HERE, SLOT - 5)
    assert plan.wait(SLOT - 5) == 0
    assert plan.due(SLOT - 5, after_measuring=False) == [loop.PUSH]
    assert plan.wait(SLOT - 5) == 5
    assert loop.MEASURE not in plan.due(SLOT - 1, after_measuring=False)
    assert loop.MEASURE in plan.due(SLOT, after_measuring=False)
    assert plan.due(SLOT + 1, after_measuring=False) == []
    assert plan.due(SLOT + 20, after_measuring=True) == [loop.PUSH]
    assert plan.next_push == SLOT + 300
    assert loop.Plan(HERE, SLOT).next_slot == SLOT + 600  # a restart does not replay the slot


@given(st.lists(st.integers(-4000, 4000), max_size=60))
def test_whatever_the_clock_does_a_slot_starts_only_when_one_has_come(steps):
    now = SLOT + 1
    plan = loop.Plan(HERE, now)
    slots = Schedule(600, 130)
    for step in steps:
        before, now = now, now + step
        started = loop.MEASURE in plan.due(now, after_measuring=False)
        assert started == (slots.slot_at(now) > slots.slot_at(before))
        assert 0 < plan.next_slot - now <= 600
        assert 0 <= plan.wait(now) <= loop.LONGEST_WAIT_SECONDS


@pytest.fixture
def node(settings):
    here = settings(interval_seconds="600", offset_seconds="130", measure_timeout_seconds="60")
    Spool(here.state_dir).prepare()
    return here


def test_health_is_that_the_last_slot_was_accounted_for(node):
    spool, over = Spool(node.state_dir), SLOT + 30 + 3 + 60 + status.SLACK_SECONDS
    assert not status.health(node, over)["healthy"]
    spool.write_state("last_slot", {"run_id": run_id_of_slot("attic", utc_text(SLOT))})
    assert status.health(node, over)["healthy"]
    assert status.health(node, over + 599)["healthy"]  # the next slot may be running still
    assert not status.health(node, over + 600)["healthy"]
    spool.write_state("loop", {"started_at": utc_text(SLOT + 601)})
    assert status.health(node, over + 600)["healthy"]
    assert not status.health(node, over + 1200)["healthy"]
