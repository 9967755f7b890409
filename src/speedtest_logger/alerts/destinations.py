"""Where notifications go: each destination, what it wants to hear, and when it wants to be left alone.

Standard library only: the inventory is checked with it before any machine is contacted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlsplit

from speedtest_logger import domains
from speedtest_logger.alerts.rules import RULES, SEVERITIES
from speedtest_logger.record import ID_PATTERN

NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")
DIGESTS = ("never", "daily", "weekly")
FORBIDDEN = ("file", "syslog", "dbus", "gnome", "windows", "macosx", "qt", "glib")  # of Apprise: not over the network
LONGEST_URL = 2048
DIGEST_HOUR = 7


@dataclass(frozen=True)
class Destination:
    """One of them, and what it hears of.

    `url` is Apprise's and a secret; `severity` the least that it hears of; no locations, nodes, rules: all. `quiet` in
    minutes of the day on the clocks of `timezone`: only what is critical comes through, where `passes` says so.
    """

    name: str
    url: str
    severity: str = "warning"
    locations: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    quiet: tuple[int, int] | None = None
    passes: str = "critical"
    timezone: str = "UTC"
    digest: str = "weekly"
    reminder_hours: float = 24

    def wants(self, rule: str, severity: str, location: str, node: str | None) -> bool:
        """Whether it is to hear of a finding."""
        return (
            SEVERITIES.index(severity) >= SEVERITIES.index(self.severity)
            and (not self.rules or rule in self.rules)
            and (not self.locations or location in self.locations)
            and (not self.nodes or node in self.nodes)
        )

    def local(self, now: float) -> datetime:
        """A Unix time (s) on its clocks."""
        if self.timezone == "UTC":
            return datetime.fromtimestamp(now, timezone.utc)
        from zoneinfo import ZoneInfo

        return datetime.fromtimestamp(now, ZoneInfo(self.timezone))

    def is_quiet(self, now: float) -> bool:
        """Whether it wants to be left alone."""
        if self.quiet is None:
            return False
        start, end = self.quiet
        local = self.local(now)
        minute = local.hour * 60 + local.minute
        return start <= minute < end if start < end else minute >= start or minute < end

    def digest_due(self, now: float) -> float | None:
        """When (Unix time, s) the last digest was due: each day, or each Monday, at 7 on its clocks."""
        if self.digest == "never":
            return None
        local = self.local(now)
        day = local.replace(hour=DIGEST_HOUR, minute=0, second=0, microsecond=0)
        day -= timedelta(days=local.weekday() if self.digest == "weekly" else 0)
        if day > local:
            day -= timedelta(days=7 if self.digest == "weekly" else 1)
        return day.timestamp()


def read(entry: Mapping[str, Any]) -> Destination:
    """A destination as the inventory has it. Raises ValueError, which names the field and never the address."""
    if not isinstance(entry, Mapping):
        raise ValueError("a mapping with name and url is expected")
    for name in ("name", "url"):
        if name not in entry:
            raise ValueError(f"{name} is missing")
    known = {
        "name": _name,
        "url": _url,
        "severity": _one_of(SEVERITIES),
        "locations": _ids,
        "nodes": _ids,
        "rules": _rules,
        "quiet": _window,
        "passes": _one_of(("critical", "nothing")),
        "timezone": _zone,
        "digest": _one_of(DIGESTS),
        "reminder_hours": _hours,
    }
    if others := sorted(map(str, set(entry) - set(known))):
        raise ValueError(f"{_seen(others[0])}: there is no such field: {', '.join(known)}")
    return Destination(**{name: known[name](name, value) for name, value in entry.items()})


def _seen(value: object) -> str:
    """A value for an error's text; an address that stands in the wrong place is still a secret."""
    return "an address" if ":/" in str(value) or "@" in str(value) else f"{value!r:.80}"


def _name(name: str, value: object) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise ValueError(f"{name}: lower-case letters, digits and hyphens are expected, 32 at most, such as phone")
    return value


def _url(name: str, value: object) -> str:
    wrong = f"{name}: an address of Apprise's is expected, such as ntfys://host/topic or mailtos://user:password@host"
    if not isinstance(value, str) or len(value) > LONGEST_URL or not value.isprintable() or " " in value:
        raise ValueError(wrong)
    scheme, colon, rest = value.partition("://")
    if not colon or not rest or not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme):
        raise ValueError(wrong)
    if scheme in FORBIDDEN:
        raise ValueError(f"{name}: {scheme}:// does not leave the machine: give a service that can be reached")
    try:
        urlsplit(value)
    except ValueError:
        raise ValueError(wrong) from None
    return value


def _one_of(allowed: tuple[str, ...]) -> Any:
    def check(name: str, value: object) -> str:
        if value not in allowed:
            raise ValueError(f"{name}: {_seen(value)} is none of {', '.join(allowed)}")
        return str(value)

    return check


def _list(name: str, value: object) -> list[str]:
    if not isinstance(value, list) or not value or not all(isinstance(each, str) for each in value):
        raise ValueError(f"{name}: a list of names is expected, at least one; leave it out for all")
    return value


def _ids(name: str, value: object) -> tuple[str, ...]:
    for each in _list(name, value):
        if not ID_PATTERN.fullmatch(each):
            raise ValueError(f"{name}: {_seen(each)} cannot be the name of a node or location")
    return tuple(_list(name, value))


def _rules(name: str, value: object) -> tuple[str, ...]:
    for each in _list(name, value):
        if each not in RULES:
            raise ValueError(f"{name}: {_seen(each)} is no rule: {', '.join(RULES)}")
    return tuple(_list(name, value))


def _window(name: str, value: object) -> tuple[int, int]:
    try:
        start, end = domains.Window().parse(str(value))
    except ValueError as error:
        raise ValueError(f"{name}: {_seen(value)} is no time of day to another, such as 22:00-07:00") from error
    if start == end:
        raise ValueError(f"{name}: {_seen(value)} has no length")
    return start, end


def _zone(name: str, value: object) -> str:
    if not isinstance(value, str) or not domains.is_timezone(value):
        raise ValueError(f"{name}: {_seen(value)} is no time zone that this machine knows, such as Europe/Berlin")
    return value


def _hours(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 8760:
        raise ValueError(f"{name}: hours from 0 (no reminders) to 8760 are expected")
    return float(value)
