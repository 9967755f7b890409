"""Local time: the evening in which a line is busy is that of the people on it, whatever UTC says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Literal
from zoneinfo import ZoneInfo

from speedtest_logger import domains
from speedtest_logger.archive.read.dataset import literal
from speedtest_logger.errors import UsageError

Grain = Literal["hour", "day", "week", "month"]
LONGEST: dict[Grain, int] = {"hour": 48, "day": 92 * 24, "week": 2 * 366 * 24}  # hours that are shown so


@dataclass(frozen=True)
class Zone:
    """A time zone, summer time and all; `name` is the one of the IANA database."""

    name: str
    rules: tzinfo

    @classmethod
    def named(cls, name: str) -> Zone:
        """Raises UsageError for a zone that this machine does not know."""
        if name == "UTC":
            return cls(name, timezone.utc)
        if not domains.is_timezone(name):
            raise UsageError(f"{name!r} is not a known time zone: give --zone a name such as Europe/Berlin, or UTC")
        return cls(name, ZoneInfo(name))

    def at(self, moment: float) -> datetime:
        """A Unix time (s) on this zone's clocks."""
        return datetime.fromtimestamp(moment, self.rules)

    def text(self, moment: float) -> str:
        """The same for people; with the zone's short name where the clocks show that time twice."""
        found = self.at(moment)
        twice = found.replace(fold=0).utcoffset() != found.replace(fold=1).utcoffset()
        return f"{found:%Y-%m-%d %H:%M}" + (f" {found:%Z}" if twice else "")

    def part(self, moment: float, grain: Grain) -> datetime:
        """The hour, day, week (from Monday) or month that a Unix time (s) lies in: its beginning on the clocks."""
        return beginning(self.at(moment).replace(tzinfo=None), grain)

    def sql(self) -> str:
        """When a record's test began on this zone's clocks, as SQL."""
        return f"timezone({literal(self.name)}, started_at)"


def beginning(shown: datetime, grain: Grain) -> datetime:
    """The beginning of the part that a clock's time lies in."""
    if grain == "hour":
        return shown.replace(minute=0, second=0, microsecond=0)
    day = shown.replace(hour=0, minute=0, second=0, microsecond=0)
    if grain == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if grain == "month" else day


def grain_of(seconds: float) -> Grain:
    """In which parts a period is shown, so that there are some dozens of them."""
    return next((grain for grain, hours in LONGEST.items() if seconds <= hours * 3600), "month")


def parts(first: datetime, last: datetime, grain: Grain) -> Iterator[datetime]:
    """All parts from one to another, both beginnings."""
    step = {
        "hour": timedelta(hours=1),
        "day": timedelta(days=1),
        "week": timedelta(days=7),
        "month": timedelta(days=32),
    }
    while first <= last:
        yield first
        first = beginning(first + step[grain], grain)
