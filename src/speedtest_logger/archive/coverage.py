"""coverage: every slot that a node should have had, and what became of it.

state/schedule.json holds, for each node, the schedules that Ansible deployed and from when to when each was in force:
{"nodes": {NAME: [{"valid_from": TIME, "valid_to": TIME or null, "interval_seconds": N, "offset_seconds": N, …}]}}.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

from speedtest_logger.archive import store
from speedtest_logger.archive.layout import Layout
from speedtest_logger.errors import StorageError
from speedtest_logger.record import unix_time, utc_text
from speedtest_logger.schedule import Schedule

GRACE_SECONDS = 900
Outcome = tuple[str, str | None, int]  # status, reason, number of records
OUTCOMES = ("ok", "partial", "failed", "skipped", "missed", "pending")


@dataclass
class Cover:
    """One node's slots in a period: expected = ok + partial + failed + skipped + missed + pending."""

    node: str
    expected: int = 0
    outcomes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    reasons: dict[str, int] = field(default_factory=dict)
    unscheduled: int = 0

    def to_row(self) -> dict[str, Any]:
        """The counts as one flat row; percentages are of the slots that are due."""
        due = self.expected - self.outcomes["pending"]
        accounted = due - self.outcomes["missed"]
        return {
            "node": self.node,
            "expected": self.expected,
            **self.outcomes,
            "unscheduled": self.unscheduled,
            "accounted_pct": round(100 * accounted / due, 2) if due else None,
            "ok_pct": round(100 * self.outcomes["ok"] / due, 2) if due else None,
            "reasons": ", ".join(f"{reason} {count}" for reason, count in sorted(self.reasons.items())),
        }


def read_schedules(layout: Layout) -> dict[str, list[dict[str, Any]]]:
    """The fleet's schedules with their history. Raises StorageError for a file that cannot be read."""
    file = layout.state / "schedule.json"
    if not file.exists():
        return {}
    try:
        nodes: dict[str, list[dict[str, Any]]] = json.loads(file.read_text(encoding="utf-8"))["nodes"]
    except (ValueError, KeyError) as error:
        raise StorageError(f"{file} cannot be read ({error}): restore it, or remove it and run site.yml") from error
    return nodes


def expected_slots(history: list[dict[str, Any]], start: float, end: float) -> list[int]:
    """The slots (Unix time, s) in start <= slot < end of a node's schedules, each while it was in force."""
    slots: set[int] = set()
    for entry in history:
        first = max(start, unix_time(entry["valid_from"]))
        last = min(end, unix_time(entry["valid_to"])) if entry.get("valid_to") else end
        if first < last:
            slots.update(Schedule(entry["interval_seconds"], entry["offset_seconds"]).between(first, last))
    return sorted(slots)


def coverage(layout: Layout, start: float, end: float, grace: float = GRACE_SECONDS) -> list[Cover]:
    """Each node's slots between start and end (Unix time, s). One younger than `grace` (s) is pending."""
    found = outcomes_by_node(layout, start, end)
    schedules, covers = read_schedules(layout), []
    for node in sorted({*schedules, *found}):
        cover, records = Cover(node), dict(found.get(node, {}))
        for slot in expected_slots(schedules.get(node, []), start, end):
            status, reason = "pending" if slot > time.time() - grace else "missed", None
            if slot in records:
                status, reason, _ = records.pop(slot)
            cover.expected += 1
            cover.outcomes[status] += 1
            if reason:
                cover.reasons[reason] = cover.reasons.get(reason, 0) + 1
        cover.unscheduled = sum(count for _, _, count in records.values())
        if cover.expected or cover.unscheduled:
            covers.append(cover)
    return covers


def outcomes_by_node(layout: Layout, start: float, end: float) -> dict[str, dict[int | None, Outcome]]:
    """Outcomes by node and slot; under None those of records without a slot."""
    sql = """
        SELECT node, CAST(epoch(scheduled_at) AS BIGINT) AS slot, first(status), first(reason), count(*)
        FROM records WHERE coalesce(scheduled_at, started_at) >= to_timestamp(?)
        AND coalesce(scheduled_at, started_at) < to_timestamp(?) GROUP BY node, slot
    """
    found: dict[str, dict[int | None, Outcome]] = {}
    with store.connect(layout) as connection:
        for node, slot, status, reason, count in connection.execute(sql, [start, end]).fetchall():
            found.setdefault(node, {})[slot] = (status, reason, count)
    return found


def fleet(layout: Layout, now: float | None = None) -> dict[str, dict[str, Any]]:
    """For each known node: its last archived record and the last 24 hours' coverage."""
    now = time.time() if now is None else now
    state: dict[str, dict[str, Any]] = {c.node: {"coverage": c.to_row()} for c in coverage(layout, now - 86_400, now)}
    sql = """
        SELECT node, count(*), max(epoch(finished_at)), arg_max(status, started_at), arg_max(reason, started_at),
               median(download_bps), median(upload_bps), median(latency_ms) FROM records GROUP BY node
    """
    with store.connect(layout) as connection:
        rows = connection.execute(sql).fetchall()
    for node, count, last, status, reason, down, up, latency in rows:
        state.setdefault(node, {}).update(
            records=count,
            last_finished_at=utc_text(last),
            last_status=status,
            last_reason=reason,
            median_download_bps=down,
            median_upload_bps=up,
            median_latency_ms=latency,
        )
    return state
