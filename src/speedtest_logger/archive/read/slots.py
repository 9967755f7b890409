"""What became of every slot, from the rollups: the same as `coverage` says, for a whole fleet at once.

Here a node's slots are arrays and no objects: a page that shows a fleet's day looks at some hundred thousand of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from speedtest_logger import registry
from speedtest_logger.archive.format.schema import numbered
from speedtest_logger.archive.read.coverage import DOWN, GRACE_SECONDS, MEASURED, OUTCOMES, Cover, Outage, Slot
from speedtest_logger.archive.read.rollup import Rollups
from speedtest_logger.record import UNKNOWN_LOCATION, unix_time
from speedtest_logger.schedule import Schedule

Numbers = np.ndarray[Any, Any]
CODES = {name: code for code, name in enumerate(OUTCOMES)}
MISSED, PENDING = CODES["missed"], CODES["pending"]
IS_DOWN = np.isin(np.arange(len(OUTCOMES)), [CODES[name] for name in DOWN])
IS_MEASURED = np.isin(np.arange(len(OUTCOMES)), [CODES[name] for name in MEASURED])


@dataclass(frozen=True)
class Strip:
    """A node's slots of a period in order, and the records that belong to none of them.

    `at` in Unix time (s), `status` as numbers of OUTCOMES, `reason` as numbers of `reasons`, -1 where there is none.
    """

    node: str
    location: str
    at: Numbers
    status: Numbers
    reason: Numbers
    unscheduled_at: Numbers
    unscheduled_status: Numbers
    reasons: list[str]

    def slot(self, place: int) -> Slot:
        """The slot at a place."""
        status, reason = OUTCOMES[self.status[place]], int(self.reason[place])
        text = "missed" if status == "missed" else None
        return Slot(int(self.at[place]), status, self.reasons[reason] if reason >= 0 else text)


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
    start, end = period
    rows = _rows(rollups, start, end, node, location)
    texts = {name: numbered(rows[name]) for name in ("node", "location")}
    statuses = _codes(rows["status"], CODES)
    reasons = rows["reason"].combine_chunks().dictionary_encode()
    reason = reasons.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    known = {name: history for name, history in schedules.items() if history}
    codes = {name: code for code, name in enumerate(texts["node"][1])}
    moments = rows["moment"].to_numpy()
    runs = rows["run"].fill_null(0).to_numpy()
    by_node = _in_order(texts, rows["started"].to_numpy())
    ends = np.searchsorted(texts["node"][0][by_node], np.arange(len(codes) + 1))
    found = []
    for name in sorted({*known, *codes}):
        history = [entry for entry in known.get(name, []) if location in (None, entry.get("location", location))]
        own = by_node[ends[codes[name]] : ends[codes[name] + 1]] if name in codes else np.array([], "i8")
        first_place = texts["location"][1][texts["location"][0][own[0]]] if len(own) else UNKNOWN_LOCATION
        place = str((history[-1].get("location") if history else None) or first_place)
        if node not in (None, name) or location not in (None, place):
            continue
        late = (time.time() if now is None else now) - GRACE_SECONDS
        columns = (moments[own], runs[own], statuses[own], reason[own])
        found.append(_strip(name, place, expected(history, start, end), columns, late, reasons.dictionary.to_pylist()))
    return found


def _in_order(texts: dict[str, tuple[Numbers, list[str]]], started: Numbers) -> Numbers:
    """Places of rows by node, then start, then location."""
    nodes, (numbers, names) = texts["node"][0], texts["location"]
    rank = np.argsort(np.argsort(np.array(names or [""])))
    if (np.diff(nodes) >= 0).all() and (np.diff(started)[np.diff(nodes) == 0] > 0).all():
        return np.arange(len(nodes))
    order: Numbers = np.lexsort((rank[numbers] if len(numbers) else numbers, started, nodes))
    return order


def _rows(rollups: Rollups, start: float, end: float, node: str | None, location: str | None) -> pa.Table:
    """The records whose slot, or else start, lies in a period, and that started within a day of it."""
    texts = {"node": node, "location": location}
    narrowed = "".join(f" AND {name} = ${name}" for name, value in texts.items() if value is not None)
    given = {name: value for name, value in texts.items() if value is not None}
    sql = f"""
        SELECT node, location, moment, run, status, reason, started FROM slot
        WHERE moment >= $first AND moment < $last AND started >= $first_ms AND started < $last_ms {narrowed}"""
    bounds = {"first": start, "last": end, "first_ms": (start - 86_400) * 1000, "last_ms": (end + 86_400) * 1000}
    return rollups.ask(sql, {**bounds, **given})


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


def _strip(
    name: str, place: str, slots: Numbers, columns: tuple[Numbers, ...], late: float, reasons: list[str]
) -> Strip:
    moments, runs, statuses, reason = columns
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
    free = free[np.sort(np.unique(runs[free], return_index=True)[1])]
    rest = np.concatenate([firsts[~hit], free])
    return Strip(name, place, slots, status, why, moments[rest], statuses[rest], reasons)


def covers(found: list[Strip], part: Callable[[Numbers], Numbers] | None = None) -> list[Cover]:
    """Strips as counts, by node, or by node and part of the period: its name as numbers or texts, of Unix times (s)."""
    made = [cover for strip in found for cover in _covers_of(strip, part)]
    return sorted(made, key=lambda cover: (cover.node, cover.day or ""))


def _covers_of(strip: Strip, part: Callable[[Numbers], Numbers] | None) -> list[Cover]:
    if part is None:
        return [_cover(strip, None, slice(None), slice(None))] if len(strip.at) + len(strip.unscheduled_at) else []
    days, rest = part(strip.at), part(strip.unscheduled_at)
    return [_cover(strip, str(day), days == day, rest == day) for day in np.unique(np.concatenate([days, rest]))]


def _cover(strip: Strip, day: str | None, slots: Any, rest: Any) -> Cover:
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


def outages(found: list[Strip], shortest: int = 1) -> list[Outage]:
    """The outages of at least `shortest` slots, oldest first, as `coverage.outages`."""
    made = [outage for strip in found for outage in _outages_of(strip, shortest)]
    tried: dict[str, list[tuple[Numbers, Numbers]]] = {}
    for strip in found:
        which = IS_DOWN[strip.status] | IS_MEASURED[strip.status]
        tried.setdefault(strip.location, []).append((strip.at[which], IS_MEASURED[strip.status[which]]))
    for outage in made:
        for at, measured in tried[outage.location]:
            _compare(outage, at, measured)
    return sorted(made, key=lambda outage: (outage.start, outage.node))


def _outages_of(strip: Strip, shortest: int) -> list[Outage]:
    places = np.flatnonzero(IS_DOWN[strip.status] | IS_MEASURED[strip.status])
    down = IS_DOWN[strip.status[places]]
    edges = np.flatnonzero(np.diff(np.concatenate([[False], down, [False]]).astype("i1")))
    made = []
    for first, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if end - first >= shortest:
            slots = [strip.slot(place) for place in places[first:end].tolist()]
            until = int(strip.at[places[end]]) if end < len(places) else None
            made.append(Outage(strip.node, strip.location, slots[0].at, until, slots))
    return made


def _compare(outage: Outage, at: Numbers, measured: Numbers) -> None:
    """As `coverage` does it."""
    first = int(np.searchsorted(at, outage.start, "left"))
    last = int(np.searchsorted(at, outage.slots[-1].at, "right"))
    if last > first:
        outage.watching += 1
        outage.seen_by += not measured[first:last].any()
    elif len(at):
        outage.watching += 1
        outage.seen_by += bool((~measured[max(0, first - 1) : last + 1]).any())
