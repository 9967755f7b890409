"""Slots of a period, of which days that are over come from their tallies and only the running day from the slots.

What `slots` gives, and equal to it: for a fleet's year in a fraction of the time. Nodes that have a day that cannot be
counted by itself, and those that moved where one location is asked about, are asked slot by slot.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from speedtest_logger import registry
from speedtest_logger.archive.read import slots, tally
from speedtest_logger.archive.read.coverage import GRACE_SECONDS, Cover, ended
from speedtest_logger.archive.read.kept_slots import NONE, Slots
from speedtest_logger.archive.read.rollup import COUNTS, Rollups
from speedtest_logger.archive.read.slots import DAY, Numbers, Records, Scope, Strip, is_down, is_measured
from speedtest_logger.archive.read.tallied import ChangedError, Tallied, View
from speedtest_logger.archive.read.tally import Histories

TRIES = 3
ALL = Scope()
COUNTED = ("ok", "partial", "failed", "skipped", "missed", "expected", "unscheduled", "unscheduled_failed")
ENDS = ("down_first", "outages", "down_last")
COLUMNS = [COUNTS.index(name) for name in COUNTED]
Part = tuple[float, float]  # of a period: from one Unix time (s) to another


@dataclass(frozen=True)
class Question:
    """What is asked: a period, of which nodes, by which schedules; a slot after `late` (Unix time, s) is pending.

    `counted`: of whole days the counts are enough.
    """

    period: Part
    scope: Scope
    schedules: Histories
    late: float
    counted: bool

    @classmethod
    def of(cls, schedules: Histories, period: Part, scope: Scope, now: float, *, counted: bool) -> Question:
        """The question at a time (Unix time, s)."""
        return cls(period, scope, schedules, now - GRACE_SECONDS, counted)

    def history(self, node: str) -> registry.History:
        """What the schedules say of a node, as far as it is asked about."""
        return self.scope.history(self.schedules.get(node, []))

    def over(self) -> int:
        """The first day (since 1970, UTC) that is not over."""
        return int(self.late // DAY)

    def touched(self) -> tuple[int, int]:
        """The first day that is over and of which the period has something, and the one after the last."""
        first, last = days_of(self.period)
        return first, max(first, min(last, self.over()))

    def whole(self) -> tuple[int, int]:
        """The first day of which the counts are enough, and the one after the last."""
        start, end = self.period
        first = int(-(-start // DAY))
        return first, max(first, min(int(end // DAY), self.over())) if self.counted else first

    def parts(self) -> list[Part]:
        """What of the period lies before and after these days."""
        (start, end), (first, last) = self.period, self.whole()
        return [(start, first * DAY), (last * DAY, end)] if first < last else [self.period]

    def edges(self) -> list[Part]:
        """What of these parts is over."""
        midnight = self.over() * DAY
        return [(begin, min(until, midnight)) for begin, until in self.parts() if begin < min(until, midnight)]

    def running(self) -> Part:
        """What of the period is not over, which may be nothing."""
        start, end = self.period
        begin = max(start, self.over() * DAY)
        return begin, max(begin, end)


def days_of(part: Part) -> tuple[int, int]:
    """The first day that a part touches, and the one after the last."""
    return int(part[0] // DAY), int(-(-part[1] // DAY))


@dataclass(frozen=True)
class Node:
    """What is known of a node: its slots outside of the days that are counted, and these days' rows of the tallies."""

    edges: Strip
    rows: slice


@dataclass(frozen=True)
class Found:
    """Nodes by their tallies, and all others' slots."""

    question: Question
    tallied: Tallied | None
    nodes: list[Node]
    others: list[Strip]


def _ask(rollups: Rollups, question: Question, now: float) -> Found:
    """The answer from tallies; slot by slot where there are none, or they change faster than they can be asked."""
    first, last = question.touched()
    rollups.refresh()
    remembers = True
    for _ in range(TRIES if first < last else 0):
        with View(rollups, remembers=remembers) as view, suppress(ChangedError):
            if view.is_fresh(question.schedules, now):
                return _found(view, question)
        tally.refresh(rollups, question.schedules, now)
        remembers = False
    with View(rollups) as view:
        return Found(question, None, [], _slot_by_slot(view, question, question.scope))


def _slot_by_slot(view: View, question: Question, scope: Scope) -> list[Strip]:
    return slots.strips_of(view.connection(), question.schedules, question.period, scope, question.late)


def _found(view: View, question: Question) -> Found:
    past, running = view.tallied(), _running(view, question)
    chosen, slow = {}, []
    for name in _names(question, past, running):
        place = _place(question, past, name, running)
        if place is None:
            slow.append(name)
        elif question.scope.covers(name, place):
            chosen[name] = place
    edges = [(part, past.slots_of(view.connection, chosen, *days_of(part))) for part in question.edges()]
    nodes = []
    for name, place in chosen.items():
        history = question.history(name)
        now = slots.expected(history, *question.running())
        today = slots.strip_of(name, place, now, running.of_node(name), question.late, running)
        strip = _joined(
            question, [_cut(history, part, pieces.get(name, [NONE])) for part, pieces in edges], today, past
        )
        rows = past.days.within(name, *question.whole())
        if history or len(strip.unscheduled_at) or rows.start < rows.stop:
            nodes.append(Node(strip, rows))
    of_slow = replace(question.scope, nodes=tuple(slow))
    return Found(question, past, nodes, _slot_by_slot(view, question, of_slow) if slow else [])


def _running(view: View, question: Question) -> Records:
    """The running day's records that are of the period, and started within a day of it."""
    rows = view.running(question.scope, question.over())
    moment, started = rows["moment"].to_numpy(), rows["started"].to_numpy()
    (begin, until), (start, end) = question.running(), question.period
    inside = (moment >= begin) & (moment < until) & (started >= (start - DAY) * 1000) & (started < (end + DAY) * 1000)
    return Records.of(rows if inside.all() else rows.filter(pa.array(inside)))


def _names(question: Question, past: Tallied, running: Records) -> list[str]:
    """The nodes that the answer may be about."""
    scope = question.scope
    known = set(past.days.rows)
    if scope.location is not None:
        known = past.mixed | past.nodes_at.get(scope.location, set())
    named = [name for name in question.schedules if question.history(name)] if scope.node is None else [scope.node]
    names = {*named, *running.order, *known}
    return sorted(name for name in names if scope.node in (None, name) and name in (scope.nodes or names))


def _place(question: Question, past: Tallied, name: str, running: Records) -> str | None:
    """Where a node measures; None where its days cannot be taken as they are."""
    history, scope = question.history(name), question.scope
    rows = past.days.within(name, *question.touched())
    places, is_mixed = past.days["place"][rows], past.days["mixed"][rows].any()
    if history != question.schedules.get(name, []) or not past.days["plain"][rows].all():
        return None
    found = {past.places[place] for place in np.unique(places).tolist() if place >= 0}
    if scope.location is not None and (is_mixed or not found <= {scope.location}):
        return None
    if history and history[-1].get("location"):
        return slots.place_of(history, None)
    if history and rows.start < rows.stop:  # the place of its first record in the period, which no tally knows
        return None
    own = running.of_node(name)
    found |= {running.places[running.place[own[0]]]} if len(own) else set()
    if len(found) > 1 or is_mixed:  # which one was the first?
        return None
    return slots.place_of(history, next(iter(found), None))


def _cut(history: registry.History, part: Part, pieces: list[Slots]) -> list[Numbers]:
    """What of a node's days lies in a part of them: as Slots.of_days."""
    begin, until = part
    first, last = days_of(part)
    columns = zip(*(piece.of_days(first, last) for piece in pieces), strict=True)
    status, reason, extra_at, extra_status = (np.concatenate(values) for values in columns)
    before, after = (
        len(slots.expected(history, *edge)) if edge[0] < edge[1] else 0
        for edge in ((first * DAY, begin), (until, last * DAY))
    )
    within = slice(before, len(status) - after)
    extra = (extra_at >= begin) & (extra_at < until)
    return [status[within], reason[within], extra_at[extra], extra_status[extra]]


def _joined(question: Question, edges: list[list[Numbers]], today: Strip, past: Tallied) -> Strip:
    """A node's parts put together, of which all but the running day have the tallies' reasons."""
    history, reasons = question.history(today.node), [*past.reasons, *today.reasons]
    kind = np.min_scalar_type(-len(reasons) - 1)
    reason = np.where(today.reason < 0, -1, today.reason + len(past.reasons)).astype(kind)
    last = [today.status, reason, today.unscheduled_at, today.unscheduled_status]
    status, reason, extra_at, extra_status = (np.concatenate(column) for column in zip(*edges, last, strict=True))
    at = [slots.expected(history, *part) for part in question.parts()]
    return replace(
        today,
        at=at[0] if len(at) == 1 else np.concatenate(at),
        status=status,
        reason=reason,
        unscheduled_at=extra_at,
        unscheduled_status=extra_status,
        reasons=reasons,
        ended=ended(history, question.period[1]),
    )


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
    found = _ask(rollups, Question.of(schedules, period, Scope(node, location), now, counted=False), now)
    return sorted([*(known.edges for known in found.nodes), *found.others], key=lambda strip: strip.node)


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
    found = _ask(rollups, Question.of(schedules, period, scope, now, counted=True), now)
    return _covers_of(found, by_day=by_day)


def totals(rollups: Rollups, schedules: Histories, now: float) -> dict[str, Cover]:
    """The counts of all slots that ever were, by node."""
    return {cover.node: cover for cover in covers(rollups, schedules, (0, now), now=now)}


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
    found = _ask(rollups, Question.of(schedules, period, Scope(location=location), now, counted=True), now)
    return _covers_of(found, by_day=False), _outages_of(found)


def _covers_of(found: Found, *, by_day: bool) -> list[Cover]:
    part = slots.utc_days if by_day else None
    made: dict[tuple[str, str], Cover] = {}
    for strip in [*found.others, *(node.edges for node in found.nodes)]:
        for cover in slots.covers([strip], part):
            made[cover.node, cover.day or ""] = cover
    for node in found.nodes:
        if found.tallied and node.rows.start < node.rows.stop:
            _take_days(made, found.question, found.tallied, node, by_day=by_day)
    return [made[key] for key in sorted(made)]


def _take_days(
    made: dict[tuple[str, str], Cover], question: Question, past: Tallied, node: Node, *, by_day: bool
) -> None:
    """Add a node's days that are counted."""
    name, place = node.edges.node, node.edges.location
    counts = past.counts[node.rows][:, COLUMNS]
    reasons = past.given.within(name, *question.whole())
    days, codes, numbers = (past.given[column][reasons] for column in ("day", "code", "count"))
    if by_day:
        texts = slots.utc_days(past.days["day"][node.rows].astype("i8") * DAY).tolist()
        for text, row in zip(texts, counts.tolist(), strict=True):
            _take(made, (name, place, text), row)
        given = slots.utc_days(days.astype("i8") * DAY).tolist()
    else:
        _take(made, (name, place, ""), counts.sum(axis=0).tolist())
        numbers = np.bincount(codes, numbers)
        codes = np.flatnonzero(numbers)
        numbers, given = numbers[codes].astype("i8"), [""] * len(codes)
    for text, code, number in zip(given, codes.tolist(), numbers.tolist(), strict=True):
        made[name, text].reasons[past.reasons[code]] += number


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
    bound = np.array([[1, 0, 0, 0, 0]])
    parts, names = [np.zeros((0, 5), "i8")], []
    for strip in found.others:
        parts.append(np.concatenate([bound, _facts_of_slots(strip, np.zeros(len(strip.at), "i8"), 1), bound]))
        names.append(strip.node)
    midnight = found.question.whole()[0] * DAY
    for node in found.nodes:
        edges = _facts_of_slots(node.edges, (node.edges.at >= midnight).astype("i8"), 2)
        days = _facts_of_days(found.tallied, node) if found.tallied else bound[:0]
        parts.append(np.concatenate([bound, edges[:1], days, edges[1:], bound]))
        names.append(node.edges.node)
    lengths = [len(part) for part in parts[1:]]
    return np.concatenate(parts), np.repeat(np.arange(len(names)), lengths), names


def _facts_of_days(past: Tallied, node: Node) -> Numbers:
    counts = dict(zip(COUNTS, past.counts[node.rows].T, strict=True))
    measured, down = counts["ok"] + counts["partial"], counts["failed"] + counts["missed"]
    return np.stack([measured, down, *(counts[name] for name in ENDS)], axis=1)


def _facts_of_slots(strip: Strip, of: Numbers, count: int) -> Numbers:
    ends = tally.ends_of(strip, of, count)
    measured, down = (np.bincount(of[which(strip.status)], minlength=count) for which in (is_measured, is_down))
    return np.stack([measured, down, *(ends[name] for name in ENDS)], axis=1)
