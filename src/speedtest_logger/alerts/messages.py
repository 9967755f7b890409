"""Messages: what is told to whom, in words. Grouped by location, few, each with its original times."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from speedtest_logger.alerts.destinations import Destination
from speedtest_logger.alerts.findings import FLEET, describe_time, duration, worst_first
from speedtest_logger.alerts.follow import Watched
from speedtest_logger.alerts.rules import RULES

MOST_SEPARATE = 3  # locations that are told of in messages of their own; more are one
MOST_LINES = 50
LONGEST_TITLE = 120
NOT_SO = "by what has arrived since, or by the rules as they are now, it was not so"


@dataclass
class Message:
    """One, for one destination.

    `at`: when it was made (Unix time, s); `kind` as Apprise's types: failure, warning, success, info. `sending` is set
    before it leaves: where that stands, it may have arrived.
    """

    id: str
    destination: str
    at: float
    kind: str
    title: str
    lines: list[str]
    severity: str = "warning"
    findings: list[str] = field(default_factory=list)
    sending: bool = False

    def to_json(self) -> dict[str, Any]:
        """As Message(**…) takes it."""
        return asdict(self)

    def body(self) -> str:
        """All of its lines."""
        return "\n".join(self.lines)


@dataclass(frozen=True)
class Told:
    """Something to be told of a finding: that it began, still lasts, ended, or was not so."""

    entry: Watched
    what: str
    diagnosis: str = ""  # what probes say of it

    @property
    def location(self) -> str:
        """Where messages are grouped."""
        return self.entry.finding.location

    def line(self) -> str:
        """In words, with its times."""
        finding, entry = self.entry.finding, self.entry
        title = f"{finding.subject}: {RULES[finding.rule].title}"
        if self.what == "ended" and entry.withdrawn:
            return f"{title} is over: {NOT_SO} ({entry.id})"
        if self.what == "ended" or finding.ended is not None:
            until = finding.ended or finding.last
            took = duration(until - finding.began)
            span = f"{describe_time(finding.began)} to {describe_time(until)}, {took}"
            return f"{title} is over: {span}: {self._sentence()} ({entry.id})"
        still = "still " if self.what == "still" else ""
        return f"{title} {still}since {describe_time(finding.began)}: {self._sentence()} ({entry.id})"

    def _sentence(self) -> str:
        said = self.entry.finding.sentence()
        return f"{said}; probes: {self.diagnosis}" if self.diagnosis else said


def compose(told: Sequence[Told], to: Destination, now: float, link: str = "") -> Iterator[Message]:
    """What is told to a destination: a message a location, one for all where there are many."""
    wanted = [
        each
        for each in told
        if to.wants(each.entry.finding.rule, each.entry.finding.severity, each.location, each.entry.finding.node)
    ]
    by_location: dict[str, list[Told]] = {}
    for each in wanted:
        by_location.setdefault(each.location, []).append(each)
    groups = list(by_location.values()) if len(by_location) <= MOST_SEPARATE else [wanted]
    for group in groups:
        yield _message(group, to, now, link)


def _message(group: Sequence[Told], to: Destination, now: float, link: str) -> Message:
    order = {id(f): place for place, f in enumerate(worst_first(each.entry.finding for each in group))}
    group = sorted(group, key=lambda each: order[id(each.entry.finding)])
    bad = [each for each in group if each.what != "ended" and each.entry.finding.ended is None]
    group = bad + [each for each in group if each not in bad]
    severities = {each.entry.finding.severity for each in bad}
    kind = "failure" if "critical" in severities else "warning" if "warning" in severities else "info"
    lines = [each.line() for each in group[:MOST_LINES]]
    if len(group) > MOST_LINES:
        lines.append(f"and {len(group) - MOST_LINES} more: speedtest-alerts list")
    places = {each.location for each in group}
    if link:
        place = next(iter(places))
        lines.append(f"{link}/line/{place}" if len(places) == 1 and place != FLEET else link)
    return Message(
        _id(group, to, now),
        to.name,
        now,
        kind if bad else "success",
        title_of(group, bad),
        lines,
        "critical" if any(each.entry.finding.severity == "critical" for each in group) else "warning",
        [each.entry.id for each in group],
    )


def _id(group: Sequence[Told], to: Destination, now: float) -> str:
    first = group[0]
    return f"{first.entry.id}-{first.what}-{to.name}-{int(now)}"


def title_of(group: Sequence[Told], bad: Sequence[Told]) -> str:
    """What a telephone shows first."""
    first = (bad or group)[0].entry.finding
    places = {each.location for each in group}
    if len(places) > 1:
        rules = {each.entry.finding.rule for each in bad or group}
        what = RULES[first.rule].title if len(rules) == 1 else "findings"
        text = f"{len(places)} lines: {what}" + ("" if bad else " is over")
    else:
        more = len(group) - 1
        text = f"{first.subject}: {RULES[first.rule].title}" + ("" if bad else " is over")
        text += f" and {more} more" if more else ""
    return text[:LONGEST_TITLE]


def together(waiting: Sequence[Message], now: float, why: str) -> Message:
    """Several messages as one, in their order, each with the time of which it speaks."""
    first = waiting[0]
    lines = [why]
    for message in waiting:
        lines.append(f"[{describe_time(int(message.at))}] {message.title}")
        lines += [f"  {line}" for line in message.lines]
    kept = lines[: 2 * MOST_LINES]
    if len(lines) > len(kept):
        kept.append(f"and {len(lines) - len(kept)} lines more: speedtest-alerts list")
    findings = [each for message in waiting for each in message.findings]
    severity = "critical" if any(m.severity == "critical" for m in waiting) else "warning"
    kinds = [m.kind for m in waiting]
    kind = next((each for each in ("failure", "warning", "info") if each in kinds), "success")
    title = f"{len(waiting)} messages since {describe_time(int(first.at))}"
    return Message(f"{first.id}-{len(waiting)}", first.destination, now, kind, title, kept, severity, findings)


def begun(entries: Iterable[Watched]) -> list[Told]:
    """That they began."""
    return [Told(entry, "began") for entry in entries]


def ended(entries: Iterable[Watched]) -> list[Told]:
    """That they ended."""
    return [Told(entry, "ended") for entry in entries]


def reminders(entries: Iterable[Watched], hours: float, before: float, now: float) -> list[Told]:
    """Those that last, each time that so many hours have gone since they were told (0 h: never).

    `before`: when that was last looked at (Unix times, s).
    """
    if not hours:
        return []
    return [
        Told(entry, "still")
        for entry in entries
        if entry.since_told is not None
        and (now - entry.since_told) // (3600 * hours) > max(0, before - entry.since_told) // (3600 * hours)
    ]
