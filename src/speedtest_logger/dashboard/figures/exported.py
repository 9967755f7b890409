"""What Prometheus is told of each node, and of the archive: the same figures as pages show, for all nodes at once."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from speedtest_logger.archive.read import days
from speedtest_logger.archive.read.coverage import GRACE_SECONDS
from speedtest_logger.archive.read.rollup import RECENT_DAYS, STATUSES
from speedtest_logger.dashboard.figures.source import Source
from speedtest_logger.dashboard.figures.standing import last_seen
from speedtest_logger.dashboard.figures.types import Plan
from speedtest_logger.metrics import MEASURED

DAY = 86_400
COUNTED = (*STATUSES, "missed")  # outcomes of slots that are over
LOOKS = (3 * 3600, DAY, RECENT_DAYS * DAY)  # how far back is looked at once (s): most nodes measured just now
FRESH_INTERVALS = 2  # for so long what a node measured last is what it measures
UNKNOWN_INTERVAL = DAY // FRESH_INTERVALS  # of a node that has no schedule
COLUMNS = ", ".join(f"'{column}': {column}" for _, column, _ in MEASURED)
# When nodes did something last, of all records; the days say where to look.
BEFORE = """
    SELECT s.node, max(s.started) / 1000 AS "at", max(s.started) FILTER (s.status = 'ok') / 1000 AS success
    FROM slot s JOIN (
      SELECT node, max(start) AS any, max(start) FILTER (ok > 0) AS good FROM day
      WHERE list_contains($names, node) GROUP BY node) d
    ON s.node = d.node AND (s.started >= d.any * 1000
                            OR s.started BETWEEN d.good * 1000 AND (d.good + 90000) * 1000) GROUP BY s.node"""


@dataclass
class Last:
    """A node's last record: when it began (Unix time, s), where, what it measured; and when one began that was ok."""

    at: float
    success: float | None = None
    location: str | None = None
    values: dict[str, float | None] = field(default_factory=dict)  # by column; empty where it is long ago


@dataclass(frozen=True)
class Exported:
    """A node: what is expected of it, and what it did last. Times are Unix times (s), speeds bit/s."""

    node: str
    location: str
    interval: int | None
    plan: Plan
    last: Last | None
    seen: int | None


Totals = dict[str, dict[str, int]]  # by node: slots by outcome, and bytes that were `received` and `sent`


class Silent:
    """When nodes did something last that have been silent for longer than rollups keep records: asked now and then."""

    SECONDS = 300.0

    def __init__(self) -> None:
        self._asked = -self.SECONDS
        self._found: dict[str, Last] = {}
        self._names: set[str] = set()

    def of(self, source: Source, names: set[str]) -> dict[str, Last]:
        """Those of them that ever did something."""
        if names - self._names or time.monotonic() - self._asked > self.SECONDS:
            rows = source.rollups.rows(BEFORE, {"names": sorted(names)}) if names else []
            self._found = {row["node"]: Last(row["at"], row["success"]) for row in rows}
            self._names, self._asked = names, time.monotonic()
        return self._found


def nodes(source: Source, silent: Silent, now: float) -> list[Exported]:
    """The inventory's nodes, and those that no inventory knows and that have measured within a week, by name."""
    current, schedules = source.known().current, source.schedules()
    sql = "SELECT DISTINCT node FROM day WHERE start >= $since AND node <> ''"
    measured = (row["node"] for row in source.rollups.rows(sql, {"since": now - RECENT_DAYS * DAY}))
    names = {*current, *(name for name in measured if not schedules.get(name))}
    found: dict[str, Last] = {}
    for seconds in LOOKS:
        if waiting := _waiting(names, found):
            found |= _last(source, now - seconds, waiting if found else None)
    for name, before in silent.of(source, _waiting(names, found)).items():
        known = found.setdefault(name, before)
        known.success = known.success or before.success
    return [_exported(source, name, found.get(name), now) for name in sorted(names)]


def _waiting(names: set[str], found: dict[str, Last]) -> set[str]:
    """Those of whom something is not known yet."""
    return {name for name in names if name not in found or found[name].success is None}


def _last(source: Source, since: float, names: set[str] | None) -> dict[str, Last]:
    """Each node's last record and last success since a time (Unix time, s), of the records that the rollups keep."""
    narrowed, given = ("AND list_contains($names, node)", {"names": sorted(names)}) if names else ("", {})
    sql = f"""
        SELECT node, max(epoch(started_at)) AS "at", arg_max({{'location': location, {COLUMNS}}}, started_at) AS last,
               max(epoch(started_at)) FILTER (status = 'ok') AS success
        FROM recent WHERE started_at >= to_timestamp($since) {narrowed} GROUP BY node"""
    rows = source.rollups.rows(sql, {**given, "since": since})
    return {row["node"]: Last(row["at"], row["success"], row["last"].pop("location"), row["last"]) for row in rows}


def _exported(source: Source, name: str, last: Last | None, now: float) -> Exported:
    entry = source.current(name)
    interval = entry.get("interval_seconds")
    location = str(entry.get("location") or (last and last.location) or "")
    if last and now - last.at > FRESH_INTERVALS * (interval or UNKNOWN_INTERVAL) + GRACE_SECONDS:
        last.values.clear()
    seen = last_seen(source.hello(name), last.at if last else None)
    return Exported(name, location, interval, source.plan(location), last, seen)


def totals(source: Source, now: float) -> Totals:
    """Everything that was ever counted of the nodes that `nodes` tells of.

    A node without a schedule has no slots: its records are counted instead.
    """
    current, schedules = source.known().current, source.schedules()
    columns = ("bytes_received", "bytes_sent", *STATUSES)
    sums = ", ".join(f"CAST(coalesce(sum({name}), 0) AS BIGINT) AS {name}" for name in columns)
    rows = source.rollups.rows(f"SELECT node, {sums} FROM day WHERE node <> '' GROUP BY node")
    moved = {row["node"]: {"received": row["bytes_received"], "sent": row["bytes_sent"]} for row in rows}
    found = {row["node"]: {status: row[status] for status in STATUSES} for row in rows if row["node"] not in schedules}
    for node, cover in days.totals(source.rollups, schedules, now).items():
        if node in current:
            found[node] = {name: cover.outcomes[name] for name in COUNTED} | {"unscheduled": cover.unscheduled}
    return {node: counts | moved.get(node, {"received": 0, "sent": 0}) for node, counts in found.items()}
