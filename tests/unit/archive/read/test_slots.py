"""Slots of the rollups are what coverage of the raw archive says: counts, reasons, outages and whose fault each was."""

from __future__ import annotations

import pytest
from builders import FIRST, by_hand, fresh, put, slot, write_schedule
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tries import tries

from speedtest_logger import registry
from speedtest_logger.archive.read import coverage, slots
from speedtest_logger.archive.read.dataset import Archive
from speedtest_logger.archive.read.local_time import Zone
from speedtest_logger.archive.read.rollup import Rollups
from speedtest_logger.record import utc_text

NODES, PLACES = ("attic", "porch", "shed"), ("home", "office")
STEP = 3600
SPAN = 60  # intervals, over two days and a half


@st.composite
def histories(draw):
    """A node's schedules: one after the other, perhaps at another place and another offset."""
    cuts = sorted(draw(st.sets(st.integers(0, SPAN), min_size=1, max_size=3)))
    entries = []
    for number, cut in enumerate(cuts):
        last = cuts[number + 1] if number + 1 < len(cuts) else None
        entries.append(
            {
                "valid_from": utc_text(FIRST + cut * STEP),
                "valid_to": None if last is None else utc_text(FIRST + last * STEP),
                "interval_seconds": draw(st.sampled_from([STEP, 2 * STEP])),
                "offset_seconds": draw(st.sampled_from([0, 600])),
                "location": draw(st.sampled_from(PLACES)),
            }
        )
    return entries


@st.composite
def records(draw):
    node, place = draw(st.sampled_from(NODES)), draw(st.sampled_from(PLACES))
    at = FIRST + draw(st.integers(0, SPAN)) * STEP + draw(st.sampled_from([0, 600]))
    status = draw(st.sampled_from(["ok", "partial", "failed", "failed", "skipped"]))
    reason = draw(st.sampled_from(["dns_failed", "no_route"])) if status in ("failed", "skipped") else None
    if draw(st.integers(0, 5)):
        return slot(node, at, place, late=draw(st.sampled_from([0.0, 1.5])), status=status, reason=reason)
    return by_hand(node, draw(st.integers(1, 99)), at, place, status=status, reason=reason)


def both(layout, start, end, now, scope):
    """The strips of the rollups, and the accounts of the archive."""
    rollups = Rollups(layout, layout.root / "rollup.duckdb", Zone.named("UTC"))
    found = slots.strips(rollups, coverage.read_schedules(layout), (start, end), now=now, **scope)
    rollups.close()
    return found, list(coverage.accounts(Archive(layout).only(**scope), start, end))


SCOPES = st.sampled_from([{}, {"location": "home"}, {"node": "attic"}, {"location": "office", "node": "porch"}])


@given(
    st.dictionaries(st.sampled_from(NODES), histories(), max_size=3),
    st.lists(records(), max_size=40),
    st.tuples(st.integers(-5, 30), st.integers(1, 70)),
    st.integers(0, SPAN),
    SCOPES,
)
@settings(max_examples=tries(10), phases=[Phase.explicit, Phase.generate])
def test_they_are_what_coverage_says(tmp_path_factory, schedules, rows, period, hours, scope):
    layout = fresh(tmp_path_factory)
    write_schedule(layout, **schedules)
    if rows:
        put(layout, *rows)
    start, end = FIRST + period[0] * STEP, FIRST + (period[0] + period[1]) * STEP
    now = FIRST + hours * STEP + 7.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.time", lambda: now)
        found, accounts = both(layout, start, end, now, scope)
    for by_day, part in ((None, None), (coverage.utc_day, slots.utc_days)):
        wanted = [cover.to_row() for cover in coverage.covers_of(accounts, by_day)]
        assert [cover.to_row() for cover in slots.covers(found, part)] == wanted
    for shortest in (1, 2):
        assert slots.outages(found, shortest) == coverage.outages(accounts, shortest)


@given(histories(), st.integers(-10, 50), st.integers(1, 60))
def test_expected_slots_are_those_of_the_registry(history, first, length):
    start, end = FIRST + first * STEP + 0.5, FIRST + (first + length) * STEP + 0.25
    assert slots.expected(history, start, end).tolist() == registry.expected_slots(history, start, end)
