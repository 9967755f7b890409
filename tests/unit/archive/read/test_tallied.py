"""What is in memory of the tables of tallies is what they say now."""

from __future__ import annotations

import pytest
from builders import DAY, FIRST, fresh, put, slot, write_schedule

from speedtest_logger.archive.read import changes, coverage, days, tally
from speedtest_logger.archive.read import tallied as module
from speedtest_logger.archive.read.local_time import Zone
from speedtest_logger.archive.read.rollup import COUNTS, Rollups
from speedtest_logger.archive.read.slots import Scope
from speedtest_logger.archive.read.tallied import ChangedError, View
from speedtest_logger.errors import UsageError
from speedtest_logger.record import utc_text

NOW = FIRST + 9 * DAY + 7.0
STEP = 3 * 3600
NODES = ("attic", "porch", "shed")
HOME = Scope(location="home")
LAST_DAY = FIRST // DAY + 7  # that is over then


@pytest.fixture
def rollups(tmp_path_factory):
    layout = fresh(tmp_path_factory)
    entry = {"valid_from": utc_text(FIRST), "valid_to": None, "interval_seconds": STEP, "offset_seconds": 0}
    write_schedule(layout, **{node: [{**entry, "location": "home"}] for node in NODES})
    put(layout, *(slot(node, FIRST + number * STEP) for node in NODES for number in range(40)))
    made = Rollups(layout, layout.root / "rollup.duckdb", Zone.named("UTC"))
    count(made)
    yield made
    made.close()


def count(rollups):
    tally.refresh(rollups, schedules_of(rollups), NOW)


def schedules_of(rollups):
    return coverage.read_schedules(rollups.layout)


def known(rollups):
    """Whether all days are counted, and the tallies, as a question finds them."""
    with View(rollups) as view:
        return view.is_fresh(schedules_of(rollups), NOW), view.tallied()


def count_of(found, node, day, name):
    rows = found.days.within(node, day, day + 1)
    return found.counts[rows][:, COUNTS.index(name)].tolist()


def test_tallies_stay_in_memory_until_they_change(rollups):
    fresh_, first = known(rollups)
    assert (fresh_, first.nodes_at, first.mixed) == (True, {"home": set(NODES)}, set())
    assert count_of(first, "attic", LAST_DAY, "missed") == [8]
    put(rollups.layout, slot("attic", NOW - NOW % STEP))  # of the day that runs
    rollups.refresh()
    assert known(rollups) == (True, first)
    assert known(rollups)[1] is first
    put(rollups.layout, slot("attic", LAST_DAY * DAY))  # it came late
    rollups.refresh()
    assert known(rollups)[0] is False
    count(rollups)
    fresh_, later = known(rollups)
    assert (fresh_, count_of(later, "attic", LAST_DAY, "missed")) == (True, [7])


def test_tallies_of_another_state_of_the_archive_are_others(rollups, monkeypatch):
    before, since = known(rollups)[1], changes.since

    def restored(layout, cursor=None):
        if cursor:
            raise UsageError("the archive was restored to an earlier state")
        return since(layout)

    monkeypatch.setattr(changes, "since", restored)
    rollups._seen = None
    rollups.refresh()
    assert not known(rollups)[1].days.rows
    count(rollups)
    assert known(rollups)[1].days.rows == before.days.rows


def test_what_is_being_changed_is_not_kept(rollups):
    first = known(rollups)[1]
    with rollups.transaction(tallies=True):
        assert known(rollups)[1] is not first
        assert known(rollups)[1] is not known(rollups)[1]
    later = known(rollups)[1]
    assert later is not first
    with rollups.transaction():  # of other tables
        pass
    assert known(rollups)[1] is later


def test_what_is_in_memory_is_not_asked_for_until_the_tables_change(rollups, monkeypatch):
    asked = []
    reading = rollups.reading
    monkeypatch.setattr(rollups, "reading", lambda: asked.append(1) or reading())

    def look():
        asked.clear()
        with View(rollups) as view:
            found = view.is_fresh(schedules_of(rollups), NOW), view.running(HOME, LAST_DAY + 1), view.tallied()
        return len(asked), found[0], found[1].num_rows

    assert look() == (1, True, 0)
    assert look() == (0, True, 0)
    put(rollups.layout, slot("attic", NOW - NOW % STEP))
    rollups.refresh()
    assert look() == (1, True, 1)
    assert look() == (0, True, 1)


def test_what_was_taken_from_memory_is_of_the_same_moment_as_what_is_read(rollups):
    known(rollups)
    with View(rollups) as view:
        view.tallied()
        with rollups.transaction():
            pass
        with pytest.raises(ChangedError):
            view.running(HOME, LAST_DAY)
    with View(rollups, remembers=False) as view:
        rows = view.running(HOME, LAST_DAY)
        put(rollups.layout, slot("attic", NOW - NOW % STEP))
        rollups.refresh()
        assert view.running(HOME, LAST_DAY).num_rows == rows.num_rows  # nothing changes to a connection


def test_a_question_that_meets_a_change_is_asked_again(rollups, monkeypatch):
    asked, original = [], View.tallied

    def tallied(view):
        found = original(view)
        if not asked:
            asked.append(1)
            put(rollups.layout, slot("attic", NOW - NOW % STEP))
            rollups.refresh()
        return found

    period = (FIRST, NOW)
    before = days.covers(rollups, schedules_of(rollups), period, now=NOW)[0]
    module._known[rollups].running.clear()
    monkeypatch.setattr(View, "tallied", tallied)
    after = days.covers(rollups, schedules_of(rollups), period, now=NOW)[0]
    assert (before.node, after.node, asked) == ("attic", "attic", [1])
    assert after.outcomes["ok"] == before.outcomes["ok"] + 1


def test_only_what_there_is_room_for_is_kept_of_the_running_day(rollups, monkeypatch):
    monkeypatch.setattr(module, "MOST_SCOPES", 3)
    with View(rollups) as view:
        for number in range(9):
            view.running(Scope(location=f"place-{number}"), LAST_DAY)
        view.running(HOME, FIRST // DAY)
    kept = module._known[rollups].running
    assert [scope.location for scope, _ in kept] == ["place-7", "place-8", "home"]
    monkeypatch.setattr(module, "MOST_BYTES", 10)
    with View(rollups) as view:
        assert view.running(Scope(node="attic"), FIRST // DAY).num_rows == 40
    assert list(kept)[-1] == (HOME, FIRST // DAY), "what is larger than all there is room for is not kept"


def test_tallies_in_memory_are_taken_while_other_tables_change(rollups, monkeypatch):
    known(rollups)
    monkeypatch.setattr(module.Tallied, "of", None)
    with rollups.transaction(), View(rollups) as view:
        assert view.tallied().days.rows


def test_no_more_is_read_and_kept_than_nodes_have(rollups):
    _, found = known(rollups)
    with View(rollups) as view:
        read = found.slots_of(view.connection, [*NODES, "nobody"], 0, 2 * LAST_DAY)
    assert set(read) == set(NODES)
    assert sum(map(len, read.values())) == len(found.slots._kept) <= 2 * len(NODES)
