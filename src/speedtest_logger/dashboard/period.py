"""The period that a question is about, as an address has it, a page's or the API's: a link shows the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from urllib.parse import urlencode

from speedtest_logger.archive.read.local_time import Zone
from speedtest_logger.errors import UsageError

DAY = 86_400
RANGES = {"24h": DAY, "7d": 7 * DAY, "30d": 30 * DAY, "90d": 90 * DAY, "1y": 365 * DAY}
WORDS = {"24h": "24 hours", "7d": "7 days", "30d": "30 days", "90d": "90 days", "1y": "year"}
LONGEST_YEARS = 10
FIRST, LAST = 0.0, 4_102_444_800.0  # 1970 and 2100


def iso(at: float) -> str:
    """A Unix time (s) as pages, links and the API write it: 2026-01-31T12:00:00Z."""
    return f"{datetime.fromtimestamp(at, timezone.utc):%Y-%m-%dT%H:%M:%SZ}"


@dataclass(frozen=True)
class Period:
    """From `start` up to `end` (Unix times, s); `name` is one of RANGES, or `custom`."""

    name: str
    start: float
    end: float
    zone: Zone

    @property
    def query(self) -> str:
        """What stands behind the ? of a link to the same period."""
        if self.name in RANGES:
            return f"range={self.name}"
        return urlencode({"start": iso(self.start), "end": iso(self.end)})

    @property
    def first_day(self) -> str:
        """The zone's day on which it begins: 2026-01-31."""
        return f"{self.zone.at(self.start):%Y-%m-%d}"

    @property
    def last_day(self) -> str:
        """The zone's day on which it ends."""
        return f"{self.zone.at(self.end - 1):%Y-%m-%d}"

    @property
    def words(self) -> str:
        """`the last 7 days`, or an empty text for a custom one, whose times a page shows itself."""
        return f"the last {WORDS[self.name]}" if self.name in WORDS else ""


def period_of(query: Mapping[str, str], now: float, zone: Zone, default: str = "24h") -> Period:
    """The period that an address asks for: `range=7d`, or `start` and perhaps `end`. Raises UsageError.

    A day is one of the zone's, and `end=` a day includes it; a time is exact, in the zone where it names none.
    """
    start, end = query.get("start"), query.get("end")
    if not start and not end:
        name = query.get("range") or default
        if name not in RANGES:
            raise UsageError(f"range={name[:40]}: there is {', '.join(RANGES)}; or give start and end")
        return Period(name, now - RANGES[name], now, zone)
    if not start:
        raise UsageError("end without start: give both, such as start=2026-01-01&end=2026-01-31")
    period = Period("custom", moment_of(start, zone), moment_of(end, zone, last=True) if end else now, zone)
    if period.end <= period.start:
        raise UsageError("start has to lie before end")
    if period.end - period.start > LONGEST_YEARS * 366 * DAY:
        raise UsageError(f"a period has {LONGEST_YEARS} years at most")
    return period


def moment_of(text: str, zone: Zone, *, last: bool = False) -> float:
    """Unix time (s) of a time, or of a day's beginning; of its end where it is the last one. Raises UsageError."""
    try:
        found = datetime.fromisoformat(text)
        if len(text) == 10 and last:
            found += timedelta(days=1)
        at = (found if found.tzinfo else found.replace(tzinfo=zone.rules)).timestamp()
        if not FIRST <= at <= LAST:
            raise ValueError(text)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{text[:40]!r} is not a time: write it like 2026-01-31 or 2026-01-31T12:00:00Z") from error
    return at
