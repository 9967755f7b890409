"""Calendar expressions of systemd.time(7): whether systemd reads a text as one. Follows systemd's calendarspec.c.

Unix times (@0) are left out: a timer that fires once is no calendar. Standard library only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

LONGEST = 200
SHORTHANDS = (
    *("minutely", "hourly", "daily", "weekly", "monthly", "yearly", "annually"),
    *("quarterly", "semiannually", "semi-annually", "biannually", "bi-annually"),
)
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

_WHOLE = "[0-9]{1,9}"
_SECOND = r"[0-9]{1,4}(?:\.[0-9]{1,6})?"


def _chain(number: str) -> str:
    part = rf"{number}(?:\.\.{number})?(?:/{number})?"
    return rf"(\*|{part}(?:,{part})*)"


_DATE = re.compile(rf"(?:{_chain(_WHOLE)}-)?{_chain(_WHOLE)}([-~]){_chain(_WHOLE)}(?: +|$)")
_TIME = re.compile(rf"{_chain(_WHOLE)}:{_chain(_WHOLE)}(?::{_chain(_SECOND)})?")
_DAY = re.compile("|".join(f"{day}|{day[:3]}" for day in DAYS), re.IGNORECASE)


@dataclass(frozen=True)
class Field:
    """What a part of an expression counts: its first and last value, and the step of a range that names none."""

    first: float
    last: float
    backwards: bool = False  # days counted from the month's end
    fractions: bool = False  # a range without a repetition takes at least one step

    def takes(self, chain: str) -> bool:
        """Whether each part of a list of values, ranges and repetitions lies inside and occurs again at least once."""
        if chain == "*":
            return True
        parts = sorted(self._part(*part) for part in re.findall(PART, chain))
        # systemd forbids three more days of the month's end with each part of a list
        ends = [self.last - 3 * number if self.backwards else self.last for number in range(len(parts))]
        return all(self._takes(*part, last) for part, last in zip(parts, ends, strict=True))

    def _part(self, start_text: str, stop_text: str, repeat_text: str) -> tuple[float, float, float]:
        """Start, stop and repetition as systemd normalises them: -1 where there is no stop, 0 where it occurs once."""
        start = self._value(start_text)
        repeat = float(repeat_text) if repeat_text else 1.0 if stop_text else 0.0
        if repeat_text and not repeat:
            return (-1.0, -1.0, 0.0)
        if not stop_text:
            return (start, -1.0, repeat)
        stop = self._value(stop_text)
        if self.fractions and not repeat_text and start + 1 > stop:
            return (-1.0, -1.0, 0.0)
        if stop > start:
            stop -= (stop - start) % repeat
        return (start, -1.0, 0.0) if stop == start else (start, stop, repeat)

    def _takes(self, start: float, stop: float, repeat: float, last: float) -> bool:
        if not self.first <= start <= last or repeat > last - self.first:
            return False
        if stop != -1:
            return self.first <= stop <= last and start + repeat <= stop
        return start - repeat >= self.first if self.backwards else start + repeat <= last

    def _value(self, text: str) -> float:
        return float(text)


class Years(Field):
    """Years; two digits stand for 1970 to 2069."""

    def _value(self, text: str) -> float:
        year = int(text)
        return year + (2000 if year < 70 else 1900 if year < 100 else 0)


PART = r"([0-9.]+?)(?:\.\.([0-9.]+?))?(?:/([0-9.]+))?(?:,|$)"
YEARS, MONTHS, DAYS_OF_MONTH = Years(1970, 2199), Field(1, 12), Field(1, 31)
LAST_DAYS = Field(1, 28, backwards=True)
HOURS, MINUTES, SECONDS = Field(0, 23), Field(0, 59), Field(0, 59.999999, fractions=True)


def is_calendar(text: str) -> bool:
    """Whether systemd takes a text for OnCalendar=."""
    if len(text) > LONGEST or not text.isascii() or not text.isprintable():
        return False
    text = _without_zone(text)
    if text.lower() in SHORTHANDS:
        return True
    rest = _without_weekdays(text)
    return bool(text) and rest is not None and _is_moment(rest)


def _without_zone(text: str) -> str:
    head, _, zone = text.rpartition(" ")
    if zone.lower() == "utc" and head:
        return head
    if not head or not re.fullmatch("[A-Za-z][A-Za-z0-9_+/-]*", zone):
        return text
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return text
    return head


def _without_weekdays(text: str) -> str | None:
    """What follows the weekdays; None where they are wrong."""
    at, since = 0, None
    while match := _DAY.match(text, at):
        number = [day[:3] for day in DAYS].index(match[0][:3].lower())
        if since is not None and since > number:
            return None
        joint = re.compile(r",|\.\.|-| +|$").match(text, match.end())
        if joint is None:
            return None
        if since is not None and joint[0] in ("..", "-"):
            return None
        at, since = joint.end(), number if joint[0] in ("..", "-") else None
        if not joint[0].strip():
            return text[at:]
        if joint[0] == "," and text[at : at + 1] in ("", " "):
            return text[at:].lstrip(" ")
    return text if at == 0 else None


def _is_moment(text: str) -> bool:
    if date := _DATE.match(text):
        year, month, joint, day = date.groups()
        days = LAST_DAYS if joint == "~" else DAYS_OF_MONTH
        if not (YEARS.takes(year or "*") and MONTHS.takes(month) and days.takes(day)):
            return False
        text = text[date.end() :]
    if not text:
        return True
    time = _TIME.fullmatch(text)
    return bool(time) and HOURS.takes(time[1]) and MINUTES.takes(time[2]) and SECONDS.takes(time[3] or "0")  # type: ignore[index]  # bool(time)
