"""How each line stands now: what is wrong, since when, in a sentence; the worst first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from speedtest_logger.archive.format.schema import numbered
from speedtest_logger.archive.read import coverage, slots
from speedtest_logger.archive.read.coverage import OUTCOMES, Cover
from speedtest_logger.archive.read.slots import Numbers
from speedtest_logger.dashboard.figures.source import Source
from speedtest_logger.dashboard.figures.types import Line, Measured, Node, Plan, State

DAY, HOUR = 86_400, 3600
SLOW_SHARE = 0.7  # of the plan
SLOW_TESTS = 3  # in a row, that make a line slow
LONGEST_SEARCH = 30 * DAY  # back for the beginning of an outage
FEWEST_SLOTS = 2  # in a row, that make an outage: one test may fail
OF_THE_LINE = ("no_route", "dns_failed", "server_unreachable")
ORDER: dict[State, int] = {state: place for place, state in enumerate(get_args(State))}
WORST = ("failed", "missed", "skipped", "partial", "pending", "ok")  # worst first
RANK = np.array([WORST.index(name) for name in OUTCOMES])
SHORT = """node, location, CAST(floor(epoch(started_at)) AS BIGINT) AS "at", run_id, status, reason,
    download_bps AS download, upload_bps AS upload, latency_ms AS latency, download_latency_ms AS download_latency,
    upload_latency_ms AS upload_latency, jitter_ms AS jitter, packet_loss_pct AS loss, engine, server_name AS server"""
MEDIANS = ("download", "upload", "latency", "download_latency", "upload_latency")


@dataclass(frozen=True)
class Tests:
    """A line's tests that measured a speed, newest first: when (Unix time, s), and bit/s, NaN where there is none."""

    at: Numbers
    download: Numbers
    upload: Numbers


@dataclass(frozen=True)
class Day:
    """What is asked once of the last 24 h for all lines."""

    now: float
    strips: dict[str, list[slots.Strip]]
    last: dict[str, Measured]
    runtimes: dict[str, str]
    medians: dict[str, dict[str, float | None]]
    speeds: dict[str, dict[int, float | None]]
    tests: dict[str, Tests]


def lines(source: Source, now: float, location: str | None = None) -> list[Line]:
    """All lines or one, those that need somebody first."""
    day = _ask(source, now, location)
    found = [_line(source, day, place) for place in sorted({*day.strips, *day.medians})]
    return sorted(found, key=lambda line: (ORDER[line.state], line.since or 0, line.location))


def _ask(source: Source, now: float, location: str | None) -> Day:
    start = now - DAY
    strips: dict[str, list[slots.Strip]] = {}
    for strip in source.strips(start, now, now, location=location):
        strips.setdefault(strip.location, []).append(strip)
    narrowed, given = source.where(location, None)
    newest = source.rollups.rows(
        f"""SELECT {SHORT}, runtime FROM recent WHERE rowid IN
            (SELECT arg_max(rowid, started_at) FROM recent WHERE true {narrowed} GROUP BY node)""",
        given,
    )
    runtimes = {row["node"]: row.pop("runtime") for row in newest}
    columns = ", ".join(f"quantile_cont({_column(name)}, 0.5) AS {name}" for name in MEDIANS)
    since = {**given, "since": start}
    medians = source.rollups.rows(
        f"SELECT location, {columns} FROM recent WHERE started_at >= to_timestamp($since) {narrowed} GROUP BY location",
        since,
    )
    speeds: dict[str, dict[int, float | None]] = {}
    hours = f"SELECT location, start, download FROM hour WHERE start > $since AND whole {narrowed}"
    for row in source.rollups.rows(hours, {**given, "since": start - HOUR}):
        speeds.setdefault(row["location"], {})[row["start"]] = row["download"]
    return Day(
        now,
        strips,
        {row["node"]: Measured(**row) for row in newest},
        runtimes,
        {row.pop("location"): row for row in medians},
        speeds,
        _tests(source, start, narrowed, given),
    )


def _tests(source: Source, start: float, narrowed: str, given: dict[str, str]) -> dict[str, Tests]:
    """Each line's tests since a time (Unix time, s)."""
    sql = f"""SELECT location, CAST(floor(epoch(started_at)) AS BIGINT) AS "at", download_bps, upload_bps FROM recent
              WHERE started_at >= to_timestamp($since) AND (download_bps IS NOT NULL OR upload_bps IS NOT NULL)
              {narrowed}"""
    rows = source.rollups.ask(sql, {**given, "since": start})
    places, names = numbered(rows["location"])
    columns = [rows[name].to_numpy() for name in ("at", "download_bps", "upload_bps")]
    order = np.lexsort((-columns[0], places))
    ends = np.searchsorted(places[order], np.arange(len(names) + 1)).tolist()
    return {
        name: Tests(*(column[order[ends[number] : ends[number + 1]]] for column in columns))
        for number, name in enumerate(names)
    }


def _column(name: str) -> str:
    return f"{name}_bps" if name in ("download", "upload") else f"{name}_ms"


def _line(source: Source, day: Day, location: str) -> Line:
    strips = day.strips.get(location, [])
    nodes = [node_of(source, day, strip.node, location) for strip in strips]
    plan = source.plan(location)
    state, since, sentence = judge(source, day, location, plan)
    hours = [int(day.now) // HOUR * HOUR - HOUR * back for back in range(23, -1, -1)]
    edges = np.array([*hours, hours[-1] + HOUR])
    speeds = day.speeds.get(location, {})
    last = max((node.last for node in nodes if node.last), key=lambda found: found.at, default=None)
    return Line(
        location,
        state,
        since,
        sentence,
        plan,
        nodes,
        last,
        day.medians.get(location) or dict.fromkeys(MEDIANS),
        together(location, slots.covers(strips)),
        hours,
        [speeds.get(hour) for hour in hours],
        worst(strips, edges),
    )


def node_of(source: Source, day: Day, name: str, location: str) -> Node:
    """A node with what it said of itself."""
    hello, last = source.hello(name), day.last.get(name)
    entry = source.current(name)
    outbox = hello.get("outbox")
    return Node(
        name,
        location,
        day.runtimes.get(name),
        hello.get("version"),
        entry.get("interval_seconds"),
        source.next_slot(name, day.now),
        last_seen(hello, last.at if last else None),
        last,
        _whole(outbox.get("records")) if isinstance(outbox, dict) else None,
        hello.get("clock_offset"),
        _whole(hello.get("disk_free")),
        _bundle_error(hello.get("converged")),
    )


def _bundle_error(said: Any) -> str | None:
    return str(said["error"]) if isinstance(said, dict) and said.get("error") else None


def last_seen(hello: dict[str, Any], last: float | None) -> int | None:
    """When a node was heard of (Unix time, s): by its own word, or by its last record."""
    return max((moment for moment in (_whole(hello.get("last_seen")), _whole(last)) if moment), default=None)


def _whole(value: object) -> int | None:
    return int(value) if isinstance(value, (int, float)) else None


def together(location: str, covers: Iterable[Cover]) -> dict[str, Any]:
    """The coverage of several nodes as one row."""
    made = Cover("", location)
    for cover in covers:
        made.add(cover)
    return made.to_row()


def worst(strips: Iterable[slots.Strip], edges: Numbers) -> list[str | None]:
    """The worst outcome of the slots from each edge to the next one; None where there was no slot."""
    ranks = np.full(len(edges) - 1, len(WORST))
    for strip in strips:
        ends = np.searchsorted(strip.at, edges)
        some = np.flatnonzero(np.diff(ends))
        if len(some):
            # reduceat takes all up to the next place of the list, and these follow each other without a gap
            own = np.minimum.reduceat(RANK[strip.status[: ends[-1]]], ends[some])
            ranks[some] = np.minimum(ranks[some], own)
    return [WORST[rank] if rank < len(WORST) else None for rank in ranks.tolist()]


def judge(source: Source, day: Day, location: str, plan: Plan) -> tuple[State, int | None, str]:
    """A line's state, since when it lasts (Unix time, s), and a sentence."""
    strips = day.strips.get(location, [])
    heard = [strip for strip in strips if strip.node in day.last]
    if not heard and not day.medians.get(location):
        return "new", None, "no test has arrived yet"
    strips = [strip for strip in strips if source.ended(strip.node, day.now) is None]
    lasting = [outage for outage in slots.outages(strips, FEWEST_SLOTS) if outage.end is None]
    if lasting and len(lasting) == sum(len(strip.at) > 0 for strip in strips):
        return _all_out(source, day, location, lasting)
    found = _slow(day.tests.get(location), plan)
    if found:
        return found
    if lasting:
        first = min(lasting, key=lambda outage: outage.start)
        others = f" and {len(lasting) - 1} more" if len(lasting) > 1 else ""
        if first.reason == "missed":
            return "silent", first.start, f"{first.node}{others} is silent, while others of this line speak"
        return "failing", first.start, f"tests of {first.node}{others} fail: {first.reason}"
    return "well", None, "well" if strips else "no node measures it any more"


def _all_out(source: Source, day: Day, location: str, lasting: list[coverage.Outage]) -> tuple[State, int | None, str]:
    """No node of the line measures: what the slots say of it, since when at most LONGEST_SEARCH ago."""
    if not all(_began_within(outage, day.strips[location]) for outage in lasting):
        strips = source.strips(day.now - LONGEST_SEARCH, day.now, day.now, location=location)
        strips = [strip for strip in strips if source.ended(strip.node, day.now) is None]
        lasting = [outage for outage in slots.outages(strips, FEWEST_SLOTS) if outage.end is None] or lasting
    start = max(outage.start for outage in lasting)
    reasons = {reason for outage in lasting for reason in outage.reasons} - {*coverage.DOWN}
    said = ", ".join(sorted(reasons))
    agree = f"; {len(lasting)} nodes agree" if len(lasting) > 1 else ""
    if not reasons:
        return "silent", start, f"nothing has been heard{agree}"
    if reasons & set(OF_THE_LINE):
        return "down", start, f"the line is down: {said}{agree}"
    return "failing", start, f"tests fail: {said}{agree}"


def _began_within(outage: coverage.Outage, strips: list[slots.Strip]) -> bool:
    """Whether an outage's node measured before it in the same strip: else it may have begun earlier."""
    own = (strip for strip in strips if strip.node == outage.node)
    return any(bool(slots.is_measured(strip.status[strip.at < outage.start]).any()) for strip in own)


def _slow(tests: Tests | None, plan: Plan) -> tuple[State, int, str] | None:
    """Whether the last tests were all far below the plan."""
    if tests is None:
        return None
    shares = np.fmin(tests.download / (plan.download or np.nan), tests.upload / (plan.upload or np.nan))
    count = int(np.argmin(np.append(shares < SLOW_SHARE, False)))
    if count < SLOW_TESTS:
        return None
    middle = float(np.sort(shares[:count])[count // 2])
    return "slow", int(tests.at[count - 1]), f"{middle:.0%} of the plan for {count} tests"
