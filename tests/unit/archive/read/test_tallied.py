"""What is in memory of the tables of tallies is what they say now."""

from __future__ import annotations

import pytest
from builders import DAY, FIRST, fresh, put, slot, write_schedule

from speedtest_logger.archive.read import changes, coverage, days, tallied, tally
from speedtest_logger.archive.read.local_time import Zone
from speedtest_logger.archive.read.rollup import COUNTS, Rollups
from speedtest_logger.errors import UsageError
from speedtest_logger.record import utc_text

NOW = FIRST + 9 * DAY + 7.0
STEP = 3 * 3600
NODES = ("attic", "porch", "shed")
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
    tally.refresh(rollups, coverage.read_schedules(rollups.layout), NOW)


def known(rollups, version=None, number=None):
    """Whether all days are counted, and the tallies, as a question finds them."""
    schedules = coverage.read_schedules(rollups.layout)
    version = rollups.version if version is None else version
    number = rollups.tallied if number is None else number
    with days._snapshot(rollups) as connection:
        connection.execute("FROM about").fetchall()
        fresh_ = tallied.is_fresh(rollups, connection, version, schedules, NOW)
        return fresh_, tallied.tallied(rollups, connection, number)


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
    rollups.tallied += 1
    assert known(rollups)[1] is not first
    assert known(rollups, number=rollups.tallied - 1)[1] is not first  # it changed before the connection looked
    rollups.tallied -= 1
    assert known(rollups)[1] is first


def test_what_was_fresh_is_asked_again_while_tables_change(rollups, monkeypatch):
    assert known(rollups)[0]
    asked = []
    monkeypatch.setattr(tally, "is_fresh", lambda *_: not asked.append(1))
    assert (known(rollups)[0], len(asked)) == (True, 0)
    rollups.version += 1
    assert (known(rollups)[0], len(asked)) == (True, 1)
    assert (known(rollups)[0], len(asked)) == (True, 2)
