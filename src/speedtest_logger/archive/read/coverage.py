"""coverage: every slot that a node should have had, and what became of it; outages made of them.

The registry holds, for each node, the schedules that Ansible deployed and from when to when each was in force.
"""

from __future__ import annotations

import bisect
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa

from speedtest_logger import registry
from speedtest_logger.archive.arrive import aside
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.read import hellos, questions
from speedtest_logger.archive.read.dataset import Archive
from speedtest_logger.archive.read.questions import DAY
from speedtest_logger.archive.read.render import rows_of
from speedtest_logger.record import RUNTIMES_WITHOUT_LOGIN, UNKNOWN_LOCATION, unix_time, utc_text
from speedtest_logger.registry import expected_slots

GRACE_SECONDS = 900
OUTCOMES = ("ok", "partial", "failed", "skipped", "missed", "pending")
MEASURED = ("ok", "partial")
DOWN = ("failed", "missed")


class Slot(NamedTuple):
    """What became of a slot (Unix time, s); a missed one has the reason `missed`."""

    at: int
    status: str
    reason: str | None


@dataclass
class Cover:
    """A node's slots in a period: expected = ok + partial + failed + skipped + missed + pending."""

    node: str
    location: str
    day: str | None = None
    expected: int = 0
    outcomes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    reasons: Counter[str] = field(default_factory=Counter)
    unscheduled: int = 0
    unscheduled_failed: int = 0

    def take_unscheduled(self, test: Slot) -> None:
        """Count a record that belongs to no slot: imported, by hand, or of a schedule that nobody knows any more."""
        self.unscheduled += 1
        self.unscheduled_failed += test.status == "failed"

    def take(self, slot: Slot) -> None:
        """Count a slot."""
        self.expected += 1
        self.outcomes[slot.status] += 1
        if slot.reason and slot.status != "missed":
            self.reasons[slot.reason] += 1

    def add(self, other: Cover) -> None:
        """Count another one's slots and records as well."""
        self.expected += other.expected
        self.unscheduled += other.unscheduled
        self.unscheduled_failed += other.unscheduled_failed
        self.reasons += other.reasons
        for name, count in other.outcomes.items():
            self.outcomes[name] += count

    def shares(self) -> dict[str, float]:
        """Percent of the slots that are due, by outcome; they add up to exactly 100 (largest remainders)."""
        due = self.expected - self.outcomes["pending"]
        if not due:
            return {}
        exact = {name: 10_000 * self.outcomes[name] / due for name in OUTCOMES if name != "pending"}
        whole = {name: int(value) for name, value in exact.items()}
        rest = sorted(exact, key=lambda name: whole[name] - exact[name])[: 10_000 - sum(whole.values())]
        return {name: (value + (name in rest)) / 100 for name, value in whole.items()}

    def to_row(self) -> dict[str, Any]:
        """The counts as one flat row; percentages are of the slots that are due, availability of those tried."""
        shares = self.shares()
        tried = sum(self.outcomes[name] for name in (*MEASURED, *DOWN))
        measured = sum(self.outcomes[name] for name in MEASURED)
        return {
            "node": self.node,
            "location": self.location,
            **({"day": self.day} if self.day else {}),
            "expected": self.expected,
            **self.outcomes,
            "unscheduled": self.unscheduled,
            "unscheduled_failed": self.unscheduled_failed,
            **{f"{name}_pct": shares.get(name) for name in OUTCOMES if name != "pending"},
            "accounted_pct": round(100 - shares["missed"], 2) if shares else None,
            "availability_pct": round(100 * measured / tried, 2) if tried else None,
            "reasons": ", ".join(f"{reason} {count}" for reason, count in sorted(self.reasons.items())),
        }


@dataclass
class Outage:
    """Slots in a row of a node without a measurement: from the first one's time to the next measured one's.

    Where the node was taken out of the inventory, it ends then: nobody expects anything any more. `last` is the time of
    its last slot, `reasons` what each of its slots said.
    """

    node: str
    location: str
    start: int
    end: int | None = None
    last: int = 0
    reasons: list[str] = field(default_factory=list)
    seen_by: int = 0
    watching: int = 0

    @property
    def reason(self) -> str:
        """What most of its slots said."""
        return max(dict.fromkeys(self.reasons), key=self.reasons.count)

    @property
    def blame(self) -> str:
        """The line where all nodes of the location saw it, the node where another one measured, unknown where alone."""
        if self.watching < 2:
            return "unknown"
        return "line" if self.seen_by == self.watching else "node" if self.seen_by == 1 else "some nodes"

    def to_row(self, now: float) -> dict[str, Any]:
        """One flat row; `until` is empty while it lasts."""
        return {
            "node": self.node,
            "location": self.location,
            "from": utc_text(self.start),
            "until": None if self.end is None else utc_text(self.end),
            "minutes": round(((now if self.end is None else self.end) - self.start) / 60, 1),
            "slots": len(self.reasons),
            "reason": self.reason,
            "seen_by": self.seen_by,
            "watching": self.watching,
            "blame": self.blame,
        }


def read_schedules(layout: Layout) -> dict[str, registry.History]:
    """The fleet's schedules with their history. Raises StorageError for a file that cannot be read."""
    found = registry.read(layout.root)
    return found.nodes if found else {}


@dataclass
class Account:
    """A node's slots of a period in order, and the records that belong to none of them, each at its start."""

    node: str
    location: str
    slots: list[Slot]
    unscheduled: list[Slot]
    ended: int | None = None  # when nothing was expected of it any more


def ended(history: registry.History, at: float) -> int | None:
    """When a node's last schedule ended (Unix time, s), where that was before a time."""
    until = history[-1].get("valid_to") if history else None
    return int(unix_time(until)) if until and unix_time(until) <= at else None


def accounts(
    archive: Archive, start: float, end: float, grace: float = GRACE_SECONDS, moments: pa.Table | None = None
) -> Iterator[Account]:
    """What became of each node's slots between start and end (Unix time, s); one younger than `grace` (s) is pending.

    An archive that was narrowed to a location or a node gives those only. `moments` of that time are asked for where
    they are not given.
    """
    found = recorded(questions.moments(archive, start, end) if moments is None else moments)
    schedules = {node: history for node, history in read_schedules(archive.layout).items() if history}
    for node in sorted({*schedules, *found}):
        history, records = schedules.get(node, []), found.get(node, {})
        wanted = archive.scope.location
        history = [entry for entry in history if wanted in (None, entry.get("location", wanted))]
        location = history[-1].get("location") if history else None
        location = str(location or next((place for *_, place in records.values()), UNKNOWN_LOCATION))
        if archive.scope.node not in (None, node) or wanted not in (None, location):
            continue
        slots = []
        for at in expected_slots(history, start, end):
            status, reason = ("pending", None) if at > time.time() - grace else ("missed", "missed")
            if (at, 0) in records:
                status, reason, _ = records.pop((at, 0))
            slots.append(Slot(at, status, reason))
        rest = [Slot(at, status, reason) for (at, _), (status, reason, _) in records.items()]
        yield Account(node, location, slots, rest, ended(history, end))


def recorded(moments: pa.Table) -> dict[str, dict[tuple[int, int], tuple[Any, ...]]]:
    """By node: (slot, 0) or, for a record without a slot, (its start, a number) -> status, reason, location."""
    found: dict[str, dict[tuple[int, int], tuple[Any, ...]]] = {}
    runs: dict[str, set[str]] = {}  # without a slot; an archive of earlier versions may have one twice
    for node, moment, run, *outcome in rows_of(moments):
        known = runs.setdefault(node, set())
        if run not in known:
            found.setdefault(node, {}).setdefault((moment, len(known) + 1 if run else 0), tuple(outcome))
        if run:
            known.add(run)
    return found


def coverage(
    archive: Archive, start: float, end: float, grace: float = GRACE_SECONDS, *, by_day: bool = False
) -> list[Cover]:
    """Each node's slots between start and end (Unix time, s), as a whole or by day (UTC)."""
    return covers_of(accounts(archive, start, end, grace), utc_day if by_day else None)


def utc_day(at: int) -> str:
    """The day (UTC) of a Unix time (s)."""
    return utc_text(at)[:10]


def covers_of(found: Iterable[Account], part: Callable[[int], str] | None = None) -> list[Cover]:
    """Accounts as counts, by node, or by node and part of the period (its name, of a Unix time in s)."""
    covers: dict[tuple[str, str], Cover] = {}
    for account in found:

        def cover(at: int, of: Account = account) -> Cover:
            day = part(at) if part else ""
            return covers.setdefault((of.node, day), Cover(of.node, of.location, day or None))

        for slot in account.slots:
            cover(slot.at).take(slot)
        for test in account.unscheduled:
            cover(test.at).take_unscheduled(test)
    return [covers[key] for key in sorted(covers)]


def outages(found: list[Account], shortest: int = 1) -> list[Outage]:
    """The outages of at least `shortest` slots, oldest first; a skipped or pending slot neither makes nor ends one."""
    made = [outage for account in found for outage in _outages_of(account) if len(outage.reasons) >= shortest]
    tried = {account.node: [slot for slot in account.slots if slot.status in (*MEASURED, *DOWN)] for account in found}
    for outage in made:
        for account in found:
            if account.location == outage.location:
                _compare(outage, tried[account.node])
    return sorted(made, key=lambda outage: (outage.start, outage.node))


def _outages_of(account: Account) -> Iterator[Outage]:
    current: Outage | None = None
    for slot in account.slots:
        if slot.status in DOWN:
            current = current or Outage(account.node, account.location, slot.at)
            current.last = slot.at
            current.reasons.append(slot.reason or slot.status)
        elif slot.status in MEASURED and current:
            current.end = slot.at
            yield current
            current = None
    if current:
        current.end = account.ended
        yield current


def _compare(outage: Outage, tried: list[Slot]) -> None:
    """Whether a node of the location tried to measure during an outage, and whether it could: by all that it tried.

    Nodes on one line have their slots at different moments: where one had none between the outage's first and last,
    its slots right before and after tell.
    """
    first = bisect.bisect_left(tried, outage.start, key=lambda slot: slot.at)
    last = bisect.bisect_right(tried, outage.last, key=lambda slot: slot.at)
    during = tried[first:last]
    if during:
        outage.watching += 1
        outage.seen_by += not any(slot.status in MEASURED for slot in during)
    elif tried:
        outage.watching += 1
        outage.seen_by += any(slot.status in DOWN for slot in tried[max(0, first - 1) : last + 1])


def fleet(archive: Archive, now: float | None = None) -> dict[str, dict[str, Any]]:
    """For each node of the last 30 days: its last archived record, medians, and the last day's medians and coverage.

    `said`: what a node said of itself that is not logged into: its bundles bring it to its desired state, or a cluster.
    """
    now = time.time() if now is None else now
    yesterday = now - DAY
    last, moments = questions.last_of_each(archive.only(start=now - 30 * DAY), yesterday, now)
    covers = covers_of(accounts(archive, yesterday, now, moments=moments))
    state: dict[str, dict[str, Any]] = {cover.node: {"coverage": cover.to_row()} for cover in covers}
    for row in last:
        of_day = {f"day_{way}_bps": row.pop(f"recent_{way}_bps") for way in ("download", "upload")}
        known = state.setdefault(row.pop("node"), {})
        known.update(of_day if row.pop("recent_records") else {})
        known.update(row)
    for node, lies in aside.of(archive.layout).items():
        if node in state:
            state[node]["aside"] = lies.different + lies.failed
    for node in hellos.times(archive.layout):
        said = hellos.of(archive.layout, node)
        if "converged" in said or said.get("runtime") in RUNTIMES_WITHOUT_LOGIN:  # nobody can ask such a node itself
            state.setdefault(node, {})["said"] = said
    return state
