"""What the tables of tallies say is what they say now, in whatever way they are asked."""

from __future__ import annotations

import pytest
from builders import DAY, FIRST, fresh, put, slot, write_schedule

from speedtest_logger.archive.read import coverage, days, tallied, tally
from speedtest_logger.archive.read.local_time import Zone
from speedtest_logger.archive.read.rollup import Rollups
from speedtest_logger.record import utc_text

NOW = FIRST + 9 * DAY + 7.0
STEP = 3 * 3600
NODES = ("attic", "porch", "shed")


@pytest.fixture
def rollups(tmp_path_factory):
    layout = fresh(tmp_path_factory)
    entry = {"valid_from": utc_text(FIRST), "valid_to": None, "interval_seconds": STEP, "offset_seconds": 0}
    write_schedule(layout, **{node: [{**entry, "location": "home"}] for node in NODES})
    put(layout, *(slot(node, FIRST + number * STEP) for node in NODES for number in range(40)))
    made = Rollups(layout, layout.root / "rollup.duckdb", Zone.named("UTC"))
    tally.refresh(made, coverage.read_schedules(layout), NOW)
    yield made
    made.close()


def facts(rollups, version=None):
    schedules = coverage.read_schedules(rollups.layout)
    version = rollups.version if version is None else version
    with days._snapshot(rollups) as connection:
        connection.execute("FROM about").fetchall()
        return tallied.facts_of(rollups, connection, version, schedules, NOW)


def test_facts_hold_until_the_tables_change(rollups):
    first = facts(rollups)
    assert (first.fresh, first.places["home"], first.mixed) == (True, set(NODES), set())
    assert facts(rollups) is first
    put(rollups.layout, slot("attic", FIRST + 2 * DAY + 600))
    rollups.refresh()
    later = facts(rollups)
    assert (later is first, later.fresh) == (False, False)
    tally.refresh(rollups, coverage.read_schedules(rollups.layout), NOW)
    assert facts(rollups).fresh


def test_facts_of_tables_that_are_being_changed_are_not_kept(rollups):
    known = facts(rollups)
    rollups.version += 1
    assert facts(rollups) is not known
    assert facts(rollups, version=rollups.version - 1) is not known  # it changed before the connection looked
    rollups.version -= 1
    assert facts(rollups) is known


@pytest.mark.parametrize("scope", [{}, {"node": "attic"}, {"location": "home"}, {"location": "office"}])
def test_few_nodes_and_many_are_asked_for_alike(rollups, monkeypatch, scope):
    schedules = coverage.read_schedules(rollups.layout)

    def asked():
        found = days.covers(rollups, schedules, (FIRST, NOW), scope=tallied.Scope(**scope), now=NOW)
        return [cover.to_row() for cover in found]

    by_name = asked()
    monkeypatch.setattr(tallied, "FEW_NODES", 0)
    assert asked() == by_name
    assert len(by_name) == {"node": 1, "location": 3 * (scope.get("location") == "home")}.get(next(iter(scope), ""), 3)
