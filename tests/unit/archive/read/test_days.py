"""Days that were counted beforehand make the same answers as the raw archive, whatever became of it since."""

from __future__ import annotations

from collections import Counter

import pytest
from builders import DAY, FIRST, by_hand, fresh, put, slot, write_schedule
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tries import tries

from speedtest_logger.archive.care import prune
from speedtest_logger.archive.read import coverage, days, slots, tally
from speedtest_logger.archive.read.dataset import Archive
from speedtest_logger.archive.read.local_time import Zone
from speedtest_logger.archive.read.rollup import Rollups
from speedtest_logger.record import utc_text

NODES, PLACES = ("attic", "porch", "shed"), ("home", "office")
STEP = 3 * 3600
SPAN = 80  # steps: ten days, of which the last four are another month's
BEGIN = FIRST + 25 * DAY


@st.composite
def histories(draw):
    """A node's schedules: one after the other, perhaps at another place and another offset."""
    cuts = sorted(draw(st.sets(st.integers(0, SPAN), min_size=1, max_size=3)))
    place = draw(st.sampled_from(PLACES))
    moves = draw(st.booleans())
    entries = []
    for number, cut in enumerate(cuts):
        last = cuts[number + 1] if number + 1 < len(cuts) else None
        entries.append(
            {
                "valid_from": utc_text(BEGIN + cut * STEP),
                "valid_to": None if last is None else utc_text(BEGIN + last * STEP),
                "interval_seconds": draw(st.sampled_from([STEP, 2 * STEP])),
                "offset_seconds": draw(st.sampled_from([0, 600])),
                "location": draw(st.sampled_from(PLACES)) if moves else place,
            }
        )
        if not draw(st.integers(0, 5)):  # as registries had none once
            del entries[-1]["location"]
    return entries


REGISTRIES = st.dictionaries(st.sampled_from(NODES), histories(), max_size=3)


@st.composite
def records(draw):
    """A record: of a slot, of one that nobody knows, by hand; some start days away from their slot."""
    node, place = draw(st.sampled_from(NODES)), draw(st.sampled_from(PLACES))
    at = BEGIN + draw(st.integers(0, SPAN)) * STEP + draw(st.sampled_from([0, 600]))
    status = draw(st.sampled_from(["ok", "partial", "failed", "failed", "skipped"]))
    reason = draw(st.sampled_from(["dns_failed", "no_route"])) if status in ("failed", "skipped") else None
    if draw(st.integers(0, 5)):
        late = draw(st.sampled_from([0.0, 1.5, 1.5, 1.5, 1.5, 3.0 * DAY, -1.5 * DAY]))
        return slot(node, at, place, late=late, status=status, reason=reason)
    return by_hand(node, draw(st.integers(1, 9)), at, place, status=status, reason=reason)


SCOPES = ({}, {"location": "home"}, {"node": "attic"}, {"location": "office", "node": "porch"})
STEPS = st.one_of(
    st.tuples(st.just("put"), st.lists(records(), min_size=1, max_size=25)),
    st.tuples(st.just("registry"), REGISTRIES),
    st.tuples(st.just("prune"), st.just(None)),
)
PERIODS = st.tuples(st.integers(-5, 40), st.integers(1, 90), st.sampled_from([0, 0.5]))


def do(layout, step):
    """Have something become of the archive or its registry."""
    what, how = step
    if what == "put":
        put(layout, *how)
    elif what == "registry":
        write_schedule(layout, **how)
    else:
        prune.prune(layout, BEGIN + 6 * DAY + 366 * DAY, 366 * DAY, None)


def check(rollups, period, now, scope):
    """Compare every answer about a period with what the raw archive says."""
    start, end = BEGIN + period[0] * STEP + period[2], BEGIN + (period[0] + period[1]) * STEP - period[2]
    schedules = coverage.read_schedules(rollups.layout)
    accounts = list(coverage.accounts(Archive(rollups.layout).only(**scope), start, end))
    within = (rollups, schedules, (start, end))
    asked = slots.Scope(**scope)
    for by_day, part in ((False, None), (True, coverage.utc_day)):
        wanted = [cover.to_row() for cover in coverage.covers_of(accounts, part)]
        assert [cover.to_row() for cover in days.covers(*within, scope=asked, now=now, by_day=by_day)] == wanted
    found = days.strips(*within, **scope, now=now)
    for shortest in (1, 2):
        outages = coverage.outages(accounts, shortest)
        assert slots.outages(found, shortest) == outages
    assert [cover.to_row() for cover in slots.covers(found, slots.utc_days)] == wanted
    if not scope:
        ever = coverage.covers_of(list(coverage.accounts(Archive(rollups.layout), 0, now)))
        counted = days.totals(rollups, schedules, now)
        wanted = {cover.node: (cover.expected, cover.outcomes, cover.unscheduled) for cover in ever}
        assert {n: (c.expected, c.outcomes, c.unscheduled) for n, c in counted.items()} == wanted
    if "node" not in scope:
        covers, counts = days.spans(*within, location=scope.get("location"), now=now)
        assert [cover.to_row() for cover in covers] == [c.to_row() for c in coverage.covers_of(accounts)]
        assert counts == Counter(outage.node for outage in coverage.outages(accounts, 2))


@given(
    REGISTRIES,
    st.lists(st.tuples(STEPS, PERIODS, st.integers(20, SPAN + 16)), min_size=1, max_size=4),
    st.sampled_from(["UTC", "Asia/Kolkata"]),
)
@settings(max_examples=tries(3), phases=[Phase.explicit, Phase.generate])
def test_they_are_what_coverage_says_after_every_change(tmp_path_factory, registry, steps, zone):
    layout = fresh(tmp_path_factory)
    write_schedule(layout, **registry)
    rollups = Rollups(layout, layout.root / "rollup.duckdb", Zone.named(zone))
    for step, period, hours in steps:
        do(layout, step)
        now = BEGIN + hours * STEP + 7.0
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("time.time", lambda now=now: now)
            for scope in SCOPES:
                check(rollups, period, now, scope)
    rollups.close()


@pytest.mark.parametrize("scope", SCOPES)
def test_a_node_that_no_registry_knows_is_found_in_whole_days(tmp_path_factory, monkeypatch, scope):
    layout, now = fresh(tmp_path_factory), BEGIN + 9 * DAY + 7.0
    put(layout, *(by_hand("attic", number, BEGIN + number * DAY + 3600) for number in range(5)))
    rollups = Rollups(layout, layout.root / "rollup.duckdb", Zone.named("UTC"))
    monkeypatch.setattr("time.time", lambda: now)
    for period in ((0, 40, 0), (8, 16, 0), (1, 40, 0.5)):  # days as they are, some of them, and edges
        check(rollups, period, now, scope)
    rollups.close()


def entry(**changes):
    base = {"valid_from": utc_text(BEGIN), "valid_to": None, "interval_seconds": STEP, "offset_seconds": 0}
    return {**base, "location": "home", **changes}


def test_only_what_changed_is_counted_again(tmp_path_factory, monkeypatch):
    layout = fresh(tmp_path_factory)
    write_schedule(layout, attic=[entry()], porch=[entry()])
    put(layout, *(slot(node, BEGIN + n * STEP) for node in ("attic", "porch") for n in range(SPAN)))
    rollups = Rollups(layout, layout.root / "rollup.duckdb", Zone.named("UTC"))
    counted = []
    original = tally._tallies_of
    monkeypatch.setattr(
        tally,
        "_tallies_of",
        lambda node, some, *rest: counted.append((node, some.tolist())) or original(node, some, *rest),
    )

    def again(now=BEGIN + 9 * DAY):
        counted.clear()
        tally.refresh(rollups, coverage.read_schedules(layout), now)
        return dict(counted)

    first = BEGIN // DAY
    assert again() == {key: list(range(first, first + 8)) for key in ("attic", "porch")}  # the ninth one is not over
    assert again() == {}
    assert again(BEGIN + 9 * DAY + 901) == {"attic": [first + 8], "porch": [first + 8]}
    put(layout, by_hand("attic", 1, BEGIN + 2 * DAY))  # it came late
    assert again()["attic"] == [first + 2]
    ended = entry(valid_to=utc_text(BEGIN + 6 * DAY))
    write_schedule(
        layout, attic=[ended, entry(valid_from=utc_text(BEGIN + 6 * DAY), offset_seconds=60)], porch=[entry()]
    )
    assert again(BEGIN + 9 * DAY + 901) == {"attic": [first + 6, first + 7, first + 8]}
    rollups.close()


@pytest.mark.parametrize("place", PLACES)
def test_a_run_of_a_day_that_is_over_which_comes_again_counts_once(tmp_path_factory, monkeypatch, place):
    layout, now = fresh(tmp_path_factory), BEGIN + 9 * DAY + 7.0
    write_schedule(layout, attic=[entry()])
    put(layout, by_hand("attic", 1, BEGIN + DAY))
    rollups = Rollups(layout, layout.root / "rollup.duckdb", Zone.named("UTC"))
    monkeypatch.setattr("time.time", lambda: now)
    check(rollups, (0, 80, 0), now, {})
    put(layout, by_hand("attic", 1, BEGIN + 8 * DAY + 23 * 3600 + 3000, place))  # another month, a day that runs
    for scope in ({}, {"node": "attic"}):
        for period in ((0, 80, 0), (9, 71, 0.5)):  # the earlier one is not in it
            check(rollups, period, now, scope)
    rollups.close()


def test_a_test_of_this_day_that_began_days_before_its_slot_is_among_all(tmp_path_factory, monkeypatch):
    layout, now = fresh(tmp_path_factory), BEGIN + 9 * DAY + 7.0
    put(layout, slot("attic", BEGIN + 8 * DAY + 3600, late=-1.5 * DAY))
    rollups = Rollups(layout, layout.root / "rollup.duckdb", Zone.named("UTC"))
    monkeypatch.setattr("time.time", lambda: now)
    check(rollups, (0, 80, 0), now, {})
    rollups.close()


@pytest.mark.parametrize("scope", [{}, {"location": "home"}])
def test_a_node_is_not_where_a_record_before_the_period_was(tmp_path_factory, monkeypatch, scope):
    layout, now = fresh(tmp_path_factory), BEGIN + 9 * DAY + 7.0
    known = entry()
    del known["location"]
    write_schedule(layout, attic=[known])
    put(layout, slot("attic", BEGIN + 2 * DAY + 3 * STEP))
    rollups = Rollups(layout, layout.root / "rollup.duckdb", Zone.named("UTC"))
    monkeypatch.setattr("time.time", lambda: now)
    check(rollups, (20, 12, 0), now, scope)  # from the noon after it
    rollups.close()
