"""Slots of a period, of which whole days come from their tallies and only the edges from the slots.

What `slots` gives, and equal to it: for a fleet's year in a fraction of the time. Nodes that have a day that cannot be
counted by itself, and those that moved where one location is asked about, are asked slot by slot.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from speedtest_logger.archive.format.schema import numbered
from speedtest_logger.archive.read import slots, tally
from speedtest_logger.archive.read.coverage import GRACE_SECONDS, Cover, ended
from speedtest_logger.archive.read.rollup import COUNTS, Rollups
from speedtest_logger.archive.read.slots import DAY, Numbers, Records, Scope, Strip, is_down, is_measured
from speedtest_logger.archive.read.tallied import FACTS, Facts, Question, days_of, facts_of, reasons_of
from speedtest_logger.archive.read.tally import Histories

TRIES = 3
ALL = Scope()
COUNTED = ("ok", "partial", "failed", "skipped", "missed", "expected", "unscheduled", "unscheduled_failed")
ENDS = ("down_first", "outages", "down_last")
BLOBS = ("status", "reason", "extra_at", "extra_status")


@dataclass(frozen=True)
class Node:
    """What is known of a node whose days are tallied: its place, its slots outside of these, and its rows of `days`."""

    edges: Strip
    first: int
    last: int


@dataclass(frozen=True)
class Found:
    """Tallies of whole days, the nodes that they and their edges make up, and all others' slots."""

    question: Question
    days: pa.Table
    nodes: list[Node]
    others: list[Strip]
    reasons: list[str]  # the tallies' numbers
    given: pa.Table  # how often each node gave which reason on which day


@contextmanager
def _snapshot(rollups: Rollups) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to which nothing changes meanwhile."""
    connection = rollups.reading()
    connection.execute("BEGIN")
    try:
        yield connection
    finally:
        connection.close()


def _ask(rollups: Rollups, question: Question, now: float, columns: tuple[str, ...]) -> Found:
    """The answer from tallies; slot by slot where there are none, or they change faster than they can be asked."""
    first, last = question.days()
    rollups.refresh()
    for _ in range(TRIES if first < last else 0):
        version = rollups.version
        with _snapshot(rollups) as connection:
            edges = slots.rows_of(connection, question.period, question.edges(), question.scope)
            facts = facts_of(rollups, connection, version, question.schedules, now)
            if facts.fresh:
                return _found(connection, question, columns, Records.of(edges), facts)
        tally.refresh(rollups, question.schedules, now)
    with _snapshot(rollups) as connection:
        strips = slots.strips_of(connection, question.schedules, question.period, question.scope, question.late)
    nothing = pa.table({name: [] for name in (*FACTS, *columns)})
    return Found(question, nothing, [], strips, [], nothing)


def _found(
    connection: duckdb.DuckDBPyConnection, question: Question, columns: tuple[str, ...], edges: Records, facts: Facts
) -> Found:
    scope, parts = question.scope, question.edges()
    histories = question.schedules
    known = {name: scope.history(history) for name, history in histories.items() if scope.node in (None, name)}
    names = {name for name in known if known[name]} | set(edges.order)
    days = days_of(connection, question, names, (*FACTS, *columns), facts)
    bounds, whole = _bounds(days), _whole(days, scope)
    nodes, slow = [], []
    for name in sorted({*names, *bounds}):
        begin, until = bounds.get(name, (0, 0))
        if name in bounds.keys() - whole or histories.get(name, []) != known.get(name, []):
            slow.append(name)
            continue
        own = edges.of_node(name)
        place = slots.place_of(known.get(name, []), _first_place(edges, own, days, begin, until))
        if scope.covers(name, place):
            expected = np.concatenate([slots.expected(known.get(name, []), *part) for part in parts])
            nodes.append(Node(slots.strip_of(name, place, expected, own, question.late, edges), begin, until))
    of_slow = Scope(scope.node, scope.location, tuple(slow))
    others = slots.strips_of(connection, question.schedules, question.period, of_slow, question.late) if slow else []
    counted = [node.edges.node for node in nodes] if columns == COUNTS else []
    given = reasons_of(connection, question, counted) if counted else days.slice(0, 0)
    return Found(question, days, nodes, others, facts.reasons, given)


def _bounds(days: pa.Table) -> dict[str, tuple[int, int]]:
    """The first row of each node's days, and the one after the last."""
    numbers, texts = numbered(days["node"])
    bounds = np.searchsorted(numbers, np.arange(len(texts) + 1)).tolist()
    return {name: (bounds[place], bounds[place + 1]) for place, name in enumerate(texts)}


def _whole(days: pa.Table, scope: Scope) -> set[str]:
    """The nodes whose days can all be taken as they are."""
    usable = days["plain"]
    if scope.location is not None:
        here = pc.fill_null(pc.equal(days["location"], scope.location), fill_value=True)
        usable = pc.and_(usable, pc.and_not(here, days["mixed"]))
    return set(pc.unique(days["node"]).to_pylist()) - set(pc.unique(days.filter(pc.invert(usable))["node"]).to_pylist())


def _first_place(edges: Records, own: Numbers, days: pa.Table, begin: int, until: int) -> str | None:
    """Where a node's first record of all was measured."""
    found = [(int(edges.started[own[0]]), edges.places[edges.place[own[0]]])] if len(own) else []
    of_days = days.slice(begin, until - begin)
    started = of_days["first"]
    if len(started) - started.null_count:
        row = pc.index(started, pc.min(started)).as_py()
        found.append((started[row].as_py(), of_days["location"][row].as_py()))
    return min(found)[1] if found else None


def strips(
    rollups: Rollups,
    schedules: Histories,
    period: tuple[float, float],
    *,
    node: str | None = None,
    location: str | None = None,
    now: float | None = None,
) -> list[Strip]:
    """As `slots.strips`."""
    now = time.time() if now is None else now
    found = _ask(rollups, Question.of(schedules, period, Scope(node, location), now), now, BLOBS)
    return sorted([*_strips_of(found), *found.others], key=lambda strip: strip.node)


def _strips_of(found: Found) -> Iterator[Strip]:
    """The nodes' days and edges put together."""
    question, midnight = found.question, found.question.days()[0] * DAY
    statuses, status_at = _values(found.days, "status", "i1")
    reasons, reason_at = _values(found.days, "reason", "i2")
    extra, extra_at = _values(found.days, "extra_status", "i1")
    moments = pc.list_flatten(found.days["extra_at"]).to_numpy() if found.nodes else extra
    for node in found.nodes:
        edges, texts = node.edges, [*found.reasons, *node.edges.reasons]
        before = int(np.searchsorted(edges.at, midnight))
        why = np.where(edges.reason < 0, -1, edges.reason + len(found.reasons))
        of_status = slice(status_at[node.first], status_at[node.last])
        of_extra = slice(extra_at[node.first], extra_at[node.last])
        history = question.scope.history(question.schedules.get(edges.node, []))
        yield Strip(
            edges.node,
            edges.location,
            slots.expected(history, *question.period),
            np.concatenate([edges.status[:before], statuses[of_status], edges.status[before:]]),
            np.concatenate([why[:before], reasons[slice(reason_at[node.first], reason_at[node.last])], why[before:]]),
            np.concatenate([edges.unscheduled_at, moments[of_extra]]),
            np.concatenate([edges.unscheduled_status, extra[of_extra]]),
            texts,
            ended(history, question.period[1]),
        )


def _values(days: pa.Table, name: str, kind: str) -> tuple[Numbers, Numbers]:
    """All rows' bytes as numbers, and where those of each row begin; of one row more, where they end."""
    column = days[name].cast(pa.binary()).combine_chunks()
    _, places, content = column.buffers()
    size = np.dtype(kind).itemsize
    if not len(column) or places is None:
        return np.array([], kind), np.zeros(1, "i8")
    offsets = np.frombuffer(places, "i4")[column.offset : column.offset + len(column) + 1]
    values: Numbers = np.frombuffer(content or b"", kind, int(offsets[-1]) // size)
    return values, offsets // size


def covers(
    rollups: Rollups,
    schedules: Histories,
    period: tuple[float, float],
    *,
    scope: Scope = ALL,
    now: float | None = None,
    by_day: bool = False,
) -> list[Cover]:
    """The counts as `slots.covers` makes them, by node, or by node and day (UTC)."""
    now = time.time() if now is None else now
    found = _ask(rollups, Question.of(schedules, period, scope, now), now, COUNTS)
    return _covers_of(found, by_day=by_day)


def totals(rollups: Rollups, schedules: Histories, now: float) -> dict[str, Cover]:
    """The counts of all slots that ever were, by node: as `covers` of all time, without a look at each day."""
    tally.refresh(rollups, schedules, now)
    over = int((now - GRACE_SECONDS) // DAY)
    sums = ", ".join(f"sum({name})" for name in COUNTED)
    sql = f"SELECT node, bool_and(plain), {sums} FROM tally WHERE day < ? GROUP BY node"
    rows = rollups.reading().execute(sql, [over]).fetchall()
    slow = tuple(node for node, plain, *_ in rows if not plain)
    made = {(cover.node, ""): cover for cover in covers(rollups, schedules, (over * DAY, now), now=now)}
    for node, plain, *counts in rows:
        if plain:
            known = made.get((node, ""))
            _take(made, (node, known.location if known else "", ""), [int(count) for count in counts])
    if slow:
        whole = covers(rollups, schedules, (0, now), scope=Scope(nodes=slow), now=now)
        made |= {(cover.node, ""): cover for cover in whole}
    return {node: cover for (node, _), cover in made.items()}


def spans(
    rollups: Rollups,
    schedules: Histories,
    period: tuple[float, float],
    *,
    location: str | None = None,
    now: float | None = None,
) -> tuple[list[Cover], dict[str, int]]:
    """The same by node, and how many outages of slots.FEWEST_SLOTS slots at least each of the nodes had."""
    now = time.time() if now is None else now
    found = _ask(rollups, Question.of(schedules, period, Scope(location=location), now), now, COUNTS)
    return _covers_of(found, by_day=False), _outages_of(found)


def _covers_of(found: Found, *, by_day: bool) -> list[Cover]:
    part = slots.utc_days if by_day else None
    made: dict[tuple[str, str], Cover] = {}
    for strip in [*found.others, *(node.edges for node in found.nodes)]:
        for cover in slots.covers([strip], part):
            made[cover.node, cover.day or ""] = cover
    days = found.days["day"].to_numpy()
    counts = np.stack([found.days[name].to_numpy() for name in COUNTED], axis=1).astype("i8")
    places = {}
    for node in found.nodes:
        edges, rows = node.edges, counts[node.first : node.last]
        if not len(rows):
            continue
        places[edges.node] = edges.location
        if not by_day:
            _take(made, (edges.node, edges.location, ""), rows.sum(axis=0).tolist())
            continue
        names = slots.utc_days(days[node.first : node.last].astype("i8") * DAY).tolist()
        for name, row in zip(names, rows.tolist(), strict=True):
            _take(made, (edges.node, edges.location, name), row)
    _take_reasons(made, found, places, by_day=by_day)
    return [made[key] for key in sorted(made)]


def _take(made: dict[tuple[str, str], Cover], key: tuple[str, str, str], counts: list[int]) -> None:
    """Add a day's or node's counts, which are in the order of COUNTED."""
    node, location, day = key
    cover = made.setdefault((node, day), Cover(node, location, day or None))
    for name, count in zip(COUNTED[:-3], counts[:-3], strict=True):
        cover.outcomes[name] += count
    expected, unscheduled, failed = counts[-3:]
    cover.expected += expected
    cover.unscheduled += unscheduled
    cover.unscheduled_failed += failed


def _take_reasons(made: dict[tuple[str, str], Cover], found: Found, places: dict[str, str], *, by_day: bool) -> None:
    keys = ["node", "code", *(["day"] if by_day else [])]
    rows = found.given.group_by(keys).aggregate([("count", "sum")]) if places else found.given.slice(0, 0)
    days = slots.utc_days(rows["day"].to_numpy().astype("i8") * DAY).tolist() if by_day and places else None
    for row, (node, code, count) in enumerate(
        zip(*(rows[name].to_pylist() for name in ("node", "code", "count_sum")), strict=True) if places else ()
    ):
        if node in places:
            made[node, days[row] if days else ""].reasons[found.reasons[code]] += count


def _outages_of(found: Found) -> dict[str, int]:
    """How many outages each node had: those within its days and edges, and those over midnight.

    One over midnight is what ends a part that has a measurement, all of the parts that have none, and what begins the
    next one that has.
    """
    facts, owners, names = _facts_of(found)
    measured, down, first, inner, last = facts.T
    stops = np.flatnonzero(measured)
    before, after = stops[:-1], stops[1:]
    downs = np.concatenate([[0], np.cumsum(down)])
    run = last[before] + downs[after] - downs[before + 1] + first[after]
    over = after[(owners[before] == owners[after]) & (run >= slots.FEWEST_SLOTS)]
    counts = np.bincount(owners, inner, len(names)) + np.bincount(owners[over], minlength=len(names))
    return {name: int(count) for name, count in zip(names, counts.tolist(), strict=True) if count}


def _facts_of(found: Found) -> tuple[Numbers, Numbers, list[str]]:
    """Of each part of each node, in order: measured slots, those without, these at its begin, its outages, at its end.

    Before a node's first part and after its last one stand parts that have nothing but a measurement.
    """
    midnight = found.question.days()[0] * DAY
    columns = {name: found.days[name].to_numpy().astype("i8") for name in COUNTS}
    measured, down = columns["ok"] + columns["partial"], columns["failed"] + columns["missed"]
    days = np.stack([measured, down, *(columns[name] for name in ENDS)], axis=1)
    bound = np.array([[1, 0, 0, 0, 0]])
    parts, names = [np.zeros((0, 5), "i8")], []
    for strip in found.others:
        parts.append(np.concatenate([bound, _facts_of_slots(strip, np.zeros(len(strip.at), "i8"), 1), bound]))
        names.append(strip.node)
    for node in found.nodes:
        edges = _facts_of_slots(node.edges, (node.edges.at >= midnight).astype("i8"), 2)
        parts.append(np.concatenate([bound, edges[:1], days[node.first : node.last], edges[1:], bound]))
        names.append(node.edges.node)
    lengths = [len(part) for part in parts[1:]]
    return np.concatenate(parts), np.repeat(np.arange(len(names)), lengths), names


def _facts_of_slots(strip: Strip, of: Numbers, count: int) -> Numbers:
    ends = tally.ends_of(strip, of, count)
    measured, down = (np.bincount(of[which(strip.status)], minlength=count) for which in (is_measured, is_down))
    return np.stack([measured, down, *(ends[name] for name in ENDS)], axis=1)
