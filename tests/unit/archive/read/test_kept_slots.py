"""Slots of days that are over: the same whether they are read or kept, for few nodes and many, and never too many."""

from __future__ import annotations

import numpy as np
import pytest
from builders import DAY, FIRST, by_hand, fresh, put, slot, write_schedule

from speedtest_logger.archive.read import coverage, kept_slots, tally
from speedtest_logger.archive.read.kept_slots import BLOCK_DAYS, OVERHEAD, KeptSlots
from speedtest_logger.archive.read.local_time import Zone
from speedtest_logger.archive.read.rollup import Rollups
from speedtest_logger.archive.read.slots import CODES
from speedtest_logger.record import utc_text

NODES = ("attic", "porch", "shed")
STEP = 6 * 3600
BEGIN = FIRST // DAY
LENGTH = 2 * BLOCK_DAYS
NOW = FIRST + LENGTH * DAY + 3600.0


def by_hand_at(day):
    return FIRST + day * DAY + 60


@pytest.fixture(scope="module")
def connection(tmp_path_factory):
    layout = fresh(tmp_path_factory)
    entry = {"valid_from": utc_text(FIRST), "valid_to": None, "interval_seconds": STEP, "offset_seconds": 0}
    write_schedule(layout, **{node: [{**entry, "location": "home"}] for node in NODES})
    failed = {"status": "failed", "reason": "dns_failed"}
    put(layout, *(slot("attic", FIRST + number * STEP, **(failed if number % 3 else {})) for number in range(99)))
    put(layout, *(by_hand("porch", day, by_hand_at(day) - 1) for day in range(LENGTH)))  # it starts a second later
    rollups = Rollups(layout, layout.root / "rollup.duckdb", Zone.named("UTC"))
    tally.refresh(rollups, coverage.read_schedules(layout), NOW)
    yield rollups.reading()
    rollups.close()


def asked(kept, connection, nodes, first, last):
    """What is said of some days of each node, as lists."""
    found = kept.of(lambda: connection, dict.fromkeys(nodes, (first, last)))
    parts = {
        node: zip(*(piece.of_days(first, last) for piece in pieces), strict=True) for node, pieces in found.items()
    }
    return {node: [np.concatenate(values).tolist() for values in columns] for node, columns in parts.items()}


@pytest.mark.parametrize("days", [(0, LENGTH), (3, 4), (30, 40), (-40, 5), (LENGTH, LENGTH + 3)])
def test_they_are_what_became_of_the_slots(connection, days):
    first, last = (BEGIN + day for day in days)
    found = asked(KeptSlots(), connection, NODES, first, last)
    slots = range(max(0, days[0]) * 4, max(0, min(days[1], LENGTH)) * 4)
    attic = [CODES["missed" if each >= 99 else "failed" if each % 3 else "ok"] for each in slots]
    assert found["attic"] == [attic, [0 if each < 99 and each % 3 else -1 for each in slots], [], []]
    assert found["shed"] == [[CODES["missed"]] * len(slots), [-1] * len(slots), [], []]
    assert found["porch"][2] == [by_hand_at(day) for day in range(max(0, days[0]), min(days[1], LENGTH))]


def test_whether_read_or_kept_one_by_one_or_all_is_the_same(connection, monkeypatch):
    read = asked(KeptSlots(), connection, NODES, BEGIN, BEGIN + LENGTH)
    kept = KeptSlots()
    for node in NODES:
        for first in range(BEGIN, BEGIN + LENGTH, 7):
            asked(kept, connection, [node], first, first + 7)
    assert asked(kept, None, NODES, BEGIN, BEGIN + LENGTH) == read  # without a connection
    monkeypatch.setattr(kept_slots, "FEW_NODES", 0)
    assert asked(KeptSlots(), connection, NODES, BEGIN, BEGIN + LENGTH) == read


def test_what_was_not_asked_for_the_longest_goes(connection):
    most = 3 * OVERHEAD
    kept = KeptSlots(most)
    every = asked(KeptSlots(), connection, NODES, BEGIN, BEGIN + LENGTH)
    for _ in range(3):
        assert asked(kept, connection, NODES, BEGIN, BEGIN + LENGTH) == every
        assert 0 < sum(slots.nbytes for slots in kept._kept.values()) == kept._size <= most
    asked(kept, connection, ["attic"], BEGIN, BEGIN + 1)
    assert list(kept._kept)[-1] == ("attic", BEGIN // BLOCK_DAYS)
