"""What became of every slot, from the rollups: the same as `coverage` says, for a whole fleet at once.

Here a node's slots are arrays and no objects: a page that shows a fleet's day looks at some hundred thousand of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import duckdb
import numpy as np
import pyarrow as pa

from speedtest_logger import registry
from speedtest_logger.archive.format.schema import numbered
from speedtest_logger.archive.read.coverage import DOWN, GRACE_SECONDS, MEASURED, OUTCOMES, Cover, Outage, ended
from speedtest_logger.archive.read.rollup import Rollups
from speedtest_logger.record import UNKNOWN_LOCATION, unix_time
from speedtest_logger.schedule import Schedule

Numbers = np.ndarray[Any, Any]
CODES = {name: code for code, name in enumerate(OUTCOMES)}
MISSED, PENDING = CODES["missed"], CODES["pending"]
DAY = 86_400
FEWEST_SLOTS = 2  # in a row, that make an outage: one test may fail


@dataclass(frozen=True)
class Strip:
    """A node's slots of a period in order, and the records that belong to none of them.

    `at` in Unix time (s), `status` as numbers of OUTCOMES, `reason` as numbers of `reasons`, -1 where there is none.
    `ended` as `coverage.ended` has it.
    """

    node: str
    location: str
    at: Numbers
    status: Numbers
    reason: Numbers
    unscheduled_at: Numbers
    unscheduled_status: Numbers
    reasons: list[str]
    ended: int | None = None

    def reasons_at(self, places: Numbers) -> list[str | None]:
        """The reasons of the slots at some places."""
        texts = [*self.reasons, "missed", None]
        without = np.where(self.status[places] == MISSED, len(self.reasons), len(self.reasons) + 1)
        numbers = np.where(self.reason[places] >= 0, self.reason[places], without)
        return [texts[number] for number in numbers.tolist()]


@dataclass(frozen=True)
class Records:
    """Records of a period as columns, by node, then start, then location; `order` has each node's places in them.

    `moment` is a record's slot (Unix time, s), or else its start; `run` is 0 for a record of a slot; `status`, `reason`
    and `place` are numbers of OUTCOMES, `reasons` (-1: none) and `places`; `started` in ms.
    """

    moment: Numbers
    run: Numbers
    status: Numbers
    reason: Numbers
    started: Numbers
    place: Numbers
    reasons: list[str]
    places: list[str]
    order: dict[str, Numbers]

    @classmethod
    def of(cls, rows: pa.Table) -> Records:
        """The same from rows of `slot`."""
        (nodes, names), (place, places) = numbered(rows["node"]), numbered(rows["location"])
        reasons = rows["reason"].combine_chunks().dictionary_encode()
        started = rows["started"].to_numpy()
        by_node = _in_order(nodes, place, places, started)
        ends = np.searchsorted(nodes[by_node], np.arange(len(names) + 1))
        return cls(
            rows["moment"].to_numpy(),
            rows["run"].fill_null(0).to_numpy(),
            _codes(rows["status"], CODES),
            reasons.indices.fill_null(-1).to_numpy(zero_copy_only=False),
            started,
            place,
            reasons.dictionary.to_pylist(),
            places,
            {name: by_node[ends[number] : ends[number + 1]] for number, name in enumerate(names)},
        )

    def of_node(self, node: str) -> Numbers:
        """The places of a node's records."""
        return self.order.get(node, np.array([], "i8"))


@dataclass(frozen=True)
class Scope:
    """Which nodes a question is about: all, one, those of a location, or some by name."""

    node: str | None = None
    location: str | None = None
    nodes: tuple[str, ...] | None = None

    def history(self, history: registry.History) -> registry.History:
        """What of a node's history is of the location."""
        return [entry for entry in history if self.location in (None, entry.get("location", self.location))]

    def covers(self, node: str, location: str) -> bool:
        """Whether a node at a location is asked about."""
        return self.node in (None, node) and self.location in (None, location) and node in (self.nodes or (node,))


def strips(
    rollups: Rollups,
    schedules: dict[str, registry.History],
    period: tuple[float, float],
    *,
    node: str | None = None,
    location: str | None = None,
    now: float | None = None,
) -> list[Strip]:
    """Each node's slots between two Unix times (s); one younger than GRACE_SECONDS at `now` is pending.

    Narrowed to a node or a location where they are given.
    """
    rollups.refresh()
    late = (time.time() if now is None else now) - GRACE_SECONDS
    return strips_of(rollups.reading(), schedules, period, Scope(node, location), late)


def strips_of(
    connection: duckdb.DuckDBPyConnection,
    schedules: dict[str, registry.History],
    period: tuple[float, float],
    scope: Scope,
    late: float,
) -> list[Strip]:
    """The same of the tables as a connection has them; a slot after `late` (Unix time, s) is pending."""
    records = Records.of(rows_of(connection, period, period, scope))
    known = {name: history for name, history in schedules.items() if history}
    found = []
    for name in sorted({*known, *records.order}):
        history = scope.history(known.get(name, []))
        own = records.of_node(name)
        place = place_of(history, records.places[records.place[own[0]]] if len(own) else None)
        if scope.covers(name, place):
            strip = strip_of(name, place, expected(history, *period), own, late, records)
            found.append(replace(strip, ended=ended(history, period[1])))
    return found


def place_of(history: registry.History, first: str | None) -> str:
    """Where a node measures: what its history says last, or else its first record."""
    return str((history[-1].get("location") if history else None) or first or UNKNOWN_LOCATION)


def _in_order(nodes: Numbers, place: Numbers, places: list[str], started: Numbers) -> Numbers:
    """Places of rows by node, then start, then location."""
    rank = np.argsort(np.argsort(np.array(places or [""])))
    if (np.diff(nodes) >= 0).all() and (np.diff(started)[np.diff(nodes) == 0] > 0).all():
        return np.arange(len(nodes))
    order: Numbers = np.lexsort((rank[place] if len(place) else place, started, nodes))
    return order


def rows_of(
    connection: duckdb.DuckDBPyConnection, period: tuple[float, float], part: tuple[float, float], scope: Scope
) -> pa.Table:
    """The records whose slot, or else start, lies in a part of a period, and that started within a day of it."""
    (start, end), (begin, until) = period, part
    given: dict[str, Any] = {"begin": begin, "until": until, "first": (start - DAY) * 1000, "last": (end + DAY) * 1000}
    texts = {"node": scope.node, "location": scope.location}
    narrowed = "".join(f" AND {name} = ${name}" for name, value in texts.items() if value is not None)
    given |= {name: value for name, value in texts.items() if value is not None}
    if scope.nodes is not None:
        narrowed += " AND list_contains($nodes, node)"
        given["nodes"] = list(scope.nodes)
    sql = f"""SELECT node, location, moment, run, status, reason, started FROM slot
              WHERE moment >= $begin AND moment < $until AND started >= $first AND started < $last {narrowed}"""
    return connection.sql(sql, params=given).to_arrow_table()


def _codes(column: pa.ChunkedArray, codes: dict[str, int]) -> Numbers:
    numbers, texts = numbered(column)
    known: Numbers = np.array([codes[text] for text in texts] or [0], "i1")[numbers]
    return known


def expected(history: registry.History, start: float, end: float) -> Numbers:
    """As `registry.expected_slots`."""
    parts = [np.array([], "i8")]
    for entry in history:
        first = max(start, unix_time(entry["valid_from"]))
        last = min(end, unix_time(entry["valid_to"])) if entry.get("valid_to") else end
        if first < last:
            slots = Schedule(entry["interval_seconds"], entry["offset_seconds"]).between(first, last)
            parts.append(np.arange(slots.start, slots.stop, slots.step))
    found: Numbers = np.unique(np.concatenate(parts)) if len(parts) > 2 else parts[-1]
    return found


def strip_of(name: str, place: str, slots: Numbers, own: Numbers, late: float, records: Records) -> Strip:
    """What became of a node's slots, by its own records (their places)."""
    moments, runs, statuses, reason = (
        column[own] for column in (records.moment, records.run, records.status, records.reason)
    )
    of_slot = np.flatnonzero(runs == 0)
    recorded, firsts = np.unique(moments[of_slot], return_index=True)
    firsts = of_slot[firsts]
    status = np.where(slots > late, PENDING, MISSED).astype("i1")
    why = np.full(len(slots), -1)
    where = np.searchsorted(slots, recorded)
    hit = np.zeros(len(recorded), bool)
    inside = where < len(slots)
    hit[inside] = slots[where[inside]] == recorded[inside]
    status[where[hit]], why[where[hit]] = statuses[firsts[hit]], reason[firsts[hit]]
    free = np.flatnonzero(runs != 0)
    if len(free):
        free = free[np.sort(np.unique(runs[free], return_index=True)[1])]
    rest = np.concatenate([firsts[~hit], free])
    return Strip(name, place, slots, status, why, moments[rest], statuses[rest], records.reasons)


def covers(found: list[Strip], part: Callable[[Numbers], Numbers] | None = None) -> list[Cover]:
    """Strips as counts, by node, or by node and part of the period: its name as numbers or texts, of Unix times (s)."""
    made = [cover for strip in found for cover in _covers_of(strip, part)]
    return sorted(made, key=lambda cover: (cover.node, cover.day or ""))


def _covers_of(strip: Strip, part: Callable[[Numbers], Numbers] | None) -> list[Cover]:
    if part is None:
        return [cover_of(strip, None, slice(None), slice(None))] if len(strip.at) + len(strip.unscheduled_at) else []
    days, rest = part(strip.at), part(strip.unscheduled_at)
    return [cover_of(strip, str(day), days == day, rest == day) for day in np.unique(np.concatenate([days, rest]))]


def cover_of(strip: Strip, day: str | None, slots: Any, rest: Any) -> Cover:
    """Some of a strip as counts."""
    status, reason = strip.status[slots], strip.reason[slots]
    cover = Cover(strip.node, strip.location, day, expected=len(status))
    counts = np.bincount(status, minlength=len(OUTCOMES)).tolist()
    cover.outcomes = dict(zip(OUTCOMES, counts, strict=True))
    numbers = np.bincount(reason[(reason >= 0) & (status != MISSED)], minlength=len(strip.reasons)).tolist()
    cover.reasons.update({text: number for text, number in zip(strip.reasons, numbers, strict=True) if number})
    unscheduled = strip.unscheduled_status[rest]
    cover.unscheduled = len(unscheduled)
    cover.unscheduled_failed = int((unscheduled == CODES["failed"]).sum())
    return cover


def utc_days(at: Numbers) -> Numbers:
    """The days (UTC) of Unix times (s), such as 2026-01-31."""
    days: Numbers = at.astype("M8[s]").astype("M8[D]").astype(str)
    return days


@dataclass(frozen=True)
class Tried:
    """The slots of a strip in which there was or should have been a test: their places, and which of these are down."""

    strip: Strip
    places: Numbers
    down: Numbers

    @classmethod
    def of(cls, strip: Strip) -> Tried:
        """Those of a strip."""
        down = is_down(strip.status)
        places = np.flatnonzero(down | is_measured(strip.status))
        return cls(strip, places, np.flatnonzero(down[places]))

    def before(self, times: list[int], side: Literal["left", "right"]) -> Numbers:
        """How many of them are before some times (Unix time, s), or not after them."""
        return np.searchsorted(self.places, np.searchsorted(self.strip.at, times, side))


def is_down(status: Numbers) -> Numbers:
    """Whether a slot has no measurement though it should, of numbers of OUTCOMES.

    To look each number up in a table takes ten times as long.
    """
    down: Numbers = (status == CODES[DOWN[0]]) | (status == CODES[DOWN[1]])
    return down


def is_measured(status: Numbers) -> Numbers:
    """Whether a slot has a measurement."""
    measured: Numbers = (status == CODES[MEASURED[0]]) | (status == CODES[MEASURED[1]])
    return measured


def outages(found: list[Strip], shortest: int = 1) -> list[Outage]:
    """The outages of at least `shortest` slots, oldest first, as `coverage.outages`."""
    tried = [Tried.of(strip) for strip in found]
    made = [outage for each in tried for outage in _outages_of(each, shortest)]
    by_place: dict[str, list[Outage]] = {}
    for outage in made:
        by_place.setdefault(outage.location, []).append(outage)
    for each in tried:
        if each.strip.location in by_place:
            _compare(by_place[each.strip.location], each)
    return sorted(made, key=lambda outage: (outage.start, outage.node))


def _outages_of(tried: Tried, shortest: int) -> list[Outage]:
    """A strip's own outages, not yet compared with its neighbours."""
    strip, down = tried.strip, tried.down
    breaks = np.flatnonzero(np.diff(down) > 1) + 1
    firsts, ends = np.concatenate([[0], breaks]), np.concatenate([breaks, [len(down)]])
    long = ends - firsts >= shortest
    firsts, ends = firsts[long], ends[long]
    if not len(down) or not len(firsts):
        return []
    said = [reason or "failed" for reason in strip.reasons_at(tried.places[down])]
    at = strip.at[tried.places[down]]
    after = down[ends - 1] + 1  # the slot that has a measurement again
    until = strip.at[tried.places[np.minimum(after, len(tried.places) - 1)]].tolist()
    if after[-1] == len(tried.places):
        until[-1] = strip.ended
    rows = zip(at[firsts].tolist(), until, at[ends - 1].tolist(), firsts.tolist(), ends.tolist(), strict=True)
    return [
        Outage(strip.node, strip.location, start, end, last, said[begin:stop]) for start, end, last, begin, stop in rows
    ]


def _compare(made: list[Outage], tried: Tried) -> None:
    """Whether a node could measure during outages of its location, as `coverage` finds it."""
    if not len(tried.places):
        return
    first = tried.before([outage.start for outage in made], "left")
    last = tried.before([outage.last for outage in made], "right")
    begin, end = np.maximum(first - 1, 0), np.minimum(last + 1, len(tried.places))  # its slots before and after tell
    places = np.searchsorted(tried.down, np.stack([first, last, begin, end]))
    none = places[1] - places[0] == last - first
    around = places[3] > places[2]
    for outage, seen in zip(made, np.where(last > first, none, around).tolist(), strict=True):
        outage.watching += 1
        outage.seen_by += seen
