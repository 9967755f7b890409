"""A finding: what a rule says is wrong, of whom, from when to when."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any

from speedtest_logger.alerts.rules import OF_LINES, RULES, SEVERITIES
from speedtest_logger.record import utc_text

FLEET = ""  # the location of what is said of the archive
ID_LENGTH = 8
HELD_BACK = {  # what is not told while another finding lasts, of the same line where it is one
    "line_down": (*OF_LINES, "clock"),
    "unstable": ("line_down", *OF_LINES),
}

Key = tuple[str, str, str | None]


@dataclass
class Finding:
    """What a rule says is wrong.

    `began`, `fired`, `ended` and `last` in Unix time (s): the first slot, the one that made it fire, the one that ended
    it (None: it lasts), and the last one that bore it out.
    `count` of slots or tests, `worst` as the rule's unit has it, `nodes` that agree. No `node`: it is of the line, or
    of the archive, whose location is FLEET.
    """

    rule: str
    location: str
    node: str | None
    began: int
    fired: int
    ended: int | None = None
    last: int = 0
    count: int = 0
    worst: float | None = None
    reason: str | None = None
    nodes: int = 1

    @property
    def key(self) -> Key:
        """What it is said of, by which rule: of one key only one lasts at a time."""
        return self.rule, self.location, self.node

    @property
    def id(self) -> str:
        """A short name that is the same wherever it is made."""
        return self.name(0)

    def name(self, number: int) -> str:
        """The same for each of several names."""
        text = f"{self.rule} {self.location} {self.node or ''} {self.began}" + (f" {number}" if number else "")
        return hashlib.sha256(text.encode()).hexdigest()[:ID_LENGTH]

    @property
    def severity(self) -> str:
        """As its rule has it."""
        return RULES[self.rule].severity

    @property
    def subject(self) -> str:
        """Of whom it is said."""
        if self.location == FLEET:
            return f"{self.node} (archive)" if self.node else "archive"
        return f"{self.node} ({self.location})" if self.node else self.location

    def meets(self, other: Finding) -> bool:
        """Whether both are the same thing seen at different times: of one key, and they overlap."""
        until, other_until = (float("inf") if f.ended is None else f.ended for f in (self, other))
        return self.key == other.key and self.began <= other_until and other.began <= until

    def holds_back(self, other: Finding) -> bool:
        """Whether this one lasts, and the other one follows from it and is not told meanwhile."""
        return self.ended is None and self.brings(other)

    def brings(self, other: Finding) -> bool:
        """Whether the other one follows from this one, as far as their times allow."""
        if self is other:
            return False
        if self.rule == "ingest_stopped":
            return other.location != FLEET
        if self.location != other.location or other.rule not in HELD_BACK.get(self.rule, ()):
            return self.key == (other.rule, other.location, None) and other.node is not None
        return True

    def sentence(self) -> str:
        """What is wrong, in words."""
        return WORDS[self.rule](self)

    def words(self) -> dict[str, str]:
        """What messages say of it: the rule's title, of whom, how bad, and what is wrong."""
        return {
            "title": RULES[self.rule].title,
            "subject": self.subject,
            "severity": self.severity,
            "sentence": self.sentence(),
        }

    def to_json(self) -> dict[str, Any]:
        """As `of_json` reads it."""
        return dict(vars(self))


FIELDS = {field.name for field in fields(Finding)}


def of_json(content: dict[str, Any]) -> Finding:
    """A finding as it was kept. Raises TypeError, KeyError for what is none."""
    found = Finding(**{name: value for name, value in content.items() if name in FIELDS})
    RULES[found.rule]
    return found


def worst_first(found: Iterable[Finding]) -> list[Finding]:
    """The most severe first, then the oldest."""
    return sorted(found, key=lambda f: (-SEVERITIES.index(f.severity), f.began, f.location, f.node or ""))


def duration(seconds: float) -> str:
    """Such as 3 min, 2 h 05 min, 4 d 6 h."""
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{max(1, minutes)} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min" if minutes else f"{hours} h"
    return f"{hours // 24} d {hours % 24} h"


def _agree(finding: Finding) -> str:
    return f"; {finding.nodes} nodes agree" if finding.nodes > 1 else ""


def _line_down(finding: Finding) -> str:
    if finding.reason in (None, "missed"):
        who = "any of its nodes" if finding.nodes > 1 else "its only node"
        return f"nothing has been heard from {who}: the line is down, or they are"
    return f"the line is down: {finding.reason}{_agree(finding)}"


def _share(what: str) -> Callable[[Finding], str]:
    return lambda f: f"{f.worst:.0f} % of the {what} at worst in {f.count} tests{_agree(f)}"


def _above(what: str, unit: str) -> Callable[[Finding], str]:
    return lambda f: f"{what} of {f.worst:.1f} {unit} at worst in {f.count} tests{_agree(f)}"


WORDS: dict[str, Callable[[Finding], str]] = {
    "line_down": _line_down,
    "below_plan": _share("plan"),
    "below_usual": _share("usual"),
    "latency": _above("latency", "ms"),
    "loss": _above("loss", "%"),
    "bufferbloat": _above("latency under load", "ms"),
    "silent_node": lambda f: f"nothing has been heard for {f.count} slots, while others of this line measure",
    "failing_engine": lambda f: f"{f.count} tests in a row failed: {f.reason}",
    "coverage_low": lambda f: f"only {f.worst:.1f} % of the slots of {utc_text(f.began)[:10]} have a record",
    "unstable": lambda f: f"{f.reason} began and ended {f.count // 2} times",
    "clock": lambda f: f"its clock is off by {f.worst:.0f} s",
    "budget": lambda f: f"{f.worst:.0f} % of the month's data budget is used",
    "ingest_stopped": lambda f: f"{f.reason}; nothing is said of lines and nodes until it runs again",
    "disk": lambda f: f"{f.reason}" if f.worst is None else f"{f.worst:.1f} % of the archive's disk is free",
    "backup": lambda f: f"{f.reason}",
    "verify": lambda f: f"{f.reason}",
}


def describe_time(at: int) -> str:
    """A time as messages say it: UTC, to the minute."""
    text = utc_text(at)
    return f"{text[:10]} {text[11:16]} UTC"
