"""Figures as people read them: the filters of the pages' templates. What was not measured is a dash, never a zero."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from speedtest_logger.archive.read.local_time import Zone
from speedtest_logger.dashboard.figures import Line
from speedtest_logger.dashboard.period import iso
from speedtest_logger.record import REASONS
from speedtest_logger.text import printable

NOTHING = "\N{EM DASH}"
NARROW = "\N{NARROW NO-BREAK SPACE}"
STATES = {
    "down": "Down",
    "silent": "Silent",
    "slow": "Slow",
    "failing": "Failing",
    "new": "New",
    "well": "Well",
}
OUTCOMES = {
    "ok": "measured",
    "partial": "partly measured",
    "failed": "failed",
    "skipped": "skipped",
    "missed": "no record",
    "pending": "still to come",
}
HOURS = {**OUTCOMES, "ok": "all measured"}  # of an hour's worst slot
BLAMES = {"line": "the line", "node": "the node", "some nodes": "some of the nodes", "unknown": "not known"}
SIZES = ("B", "kB", "MB", "GB", "TB")


def utc(at: float) -> datetime:
    """A Unix time (s)."""
    return datetime.fromtimestamp(at, timezone.utc)


def number(value: float | None) -> str:
    """Three digits that count."""
    if value is None:
        return NOTHING
    size = abs(value)
    return f"{value:,.0f}" if size >= 99.95 or value == 0 else f"{value:.1f}" if size >= 9.995 else f"{value:.2f}"


def mbit(value: float | None) -> str:
    """A speed in bit/s as a number of Mbit/s."""
    return number(None if value is None else value / 1e6)


def count(value: int | None) -> str:
    """How many."""
    return NOTHING if value is None else f"{value:,}"


def plan(value: float | None) -> str:
    """A plan's speed in bit/s as a number of Mbit/s: 40, and not 40.0, for it was never measured."""
    return NOTHING if value is None else f"{value / 1e6:,.10g}"


def percent(value: float | None) -> str:
    """A share of slots or time: 99.997 is not all of them, and 0.001 not none."""
    if value is None:
        return NOTHING
    if 0 < value < 1 or 90 <= value < 100:
        return f"{min(max(value, 0.01), 99.99):.2f}".rstrip("0").removesuffix(".") + f"{NARROW}%"
    return f"{value:.0f}{NARROW}%"


def share(value: float | None) -> str:
    """A share of a plan, which may be more than all of it."""
    return NOTHING if value is None else f"{value:.0f}{NARROW}%"


def size(value: float | None) -> str:
    """Bytes."""
    if value is None:
        return NOTHING
    step = 0
    while abs(value) >= 999.5 and step < len(SIZES) - 1:
        value, step = value / 1000, step + 1
    return f"{number(value) if step else f'{value:.0f}'}{NARROW}{SIZES[step]}"


def duration(seconds: float | None) -> str:
    """A length of time in its two largest units."""
    if seconds is None:
        return NOTHING
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3_600:
        return f"{whole // 60} min"
    if whole < 86_400:
        return f"{whole // 3_600} h" + (f" {whole % 3_600 // 60} min" if whole % 3_600 >= 60 else "")
    return f"{whole // 86_400} d" + (f" {whole % 86_400 // 3_600} h" if whole % 86_400 >= 3_600 else "")


def ago(at: float | None, now: float) -> Markup | str:
    """How long ago something was; the browser counts on. `never` where it never was."""
    if at is None:
        return "never"
    return _time(at, f"{duration(now - at)} ago", "ago")


def until(at: float | None, now: float) -> Markup | str:
    """How long until something is, as m:ss; the browser counts down."""
    if at is None:
        return NOTHING
    minutes, seconds = divmod(max(0, round(at - now)), 60)
    left = f"{minutes // 60}:{minutes % 60:02}:{seconds:02}" if minutes >= 60 else f"{minutes}:{seconds:02}"
    return _time(at, left, "until")


def moment(at: float | None) -> Markup | str:
    """A time of a day: 31 Jan 2026 12:00 UTC; the browser shows it on its own clocks."""
    return NOTHING if at is None else _time(at, f"{utc(at):%-d %b %Y %H:%M} UTC", "moment")


def clock(at: float | None) -> Markup | str:
    """A time of this day: 12:00 UTC; the browser shows it on its own clocks, with the day where it is another one."""
    return NOTHING if at is None else _time(at, f"{utc(at):%H:%M} UTC", "clock")


def _time(at: float, text: str, form: str) -> Markup:
    shown = iso(at)
    known = f'datetime="{shown}" data-form="{form}" title="{shown[:10]} {shown[11:19]} UTC"'
    return Markup(f"<time {known}>{text}</time>")  # noqa: S704  digits and words of our own, which need no escape


@lru_cache(maxsize=1_000)
def tip(at: float) -> str:
    """A time in a tip: 31 Jan 2026 12:00 UTC; the browser shows it on its own clocks once somebody looks."""
    return f"{utc(at):%-d %b %Y %H:%M} UTC"


def group_name(at: float, form: str, zone: Zone) -> Markup | str:
    """What stands above a group of a strip: an hour, a day or a month."""
    shown = zone.at(at)
    if form == "hour":
        return _time(at // 3_600 * 3_600, f"{shown:%H}", "hour")
    return f"{shown:%a %-d}" if form == "day" else f"{shown:%b %Y}"


def cell_name(at: float, form: str, zone: Zone) -> str:
    """When a cell of a strip was."""
    return f"{zone.at(at):%a %-d %b %Y}" if form == "month" else tip(at)


def loaded(values: Mapping[str, float | None]) -> float | None:
    """The greater one of the latencies during download and upload."""
    known = [value for name in ("download_latency", "upload_latency") if (value := values.get(name)) is not None]
    return max(known, default=None)


def following(line: Line) -> int | None:
    """When a line's next test is due (Unix time, s)."""
    return min((node.next_slot for node in line.nodes if node.next_slot), default=None)


def why(reason: str | None) -> str:
    """A reason in words."""
    return REASONS.get(reason or "", printable(reason))


def in_words(sentence: str) -> str:
    """A sentence with its reasons in words, as people say them."""
    return re.sub(r"[a-z]+(?:_[a-z]+)+", lambda found: REASONS.get(found[0], found[0]), printable(sentence))


def part(text: str) -> str:
    """Text as a part of a path in a link."""
    return quote(text, safe="")


FILTERS: dict[str, Callable[..., Any]] = {
    "number": number,
    "mbit": mbit,
    "count": count,
    "plan": plan,
    "percent": percent,
    "share": share,
    "size": size,
    "duration": duration,
    "ago": ago,
    "until": until,
    "moment": moment,
    "clock": clock,
    "iso": iso,
    "tip": tip,
    "groupname": group_name,
    "loaded": loaded,
    "following": following,
    "why": why,
    "in_words": in_words,
    "part": part,
    "shown": printable,
}
GLOBALS: dict[str, Any] = {"STATES": STATES, "OUTCOMES": OUTCOMES, "HOURS": HOURS, "BLAMES": BLAMES}
