"""What the archive has of a month, or of some of its days, for whoever carries it elsewhere."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone

import pyarrow as pa
import pyarrow.compute as pc

from speedtest_logger.archive.format.layout import Layout, month_of
from speedtest_logger.archive.read.moments import records_of

DAY = 86_400
Days = set[str] | None  # such as 2026-01-31; None is the whole month


def place_in_order(name: str) -> str:
    """Months (names of the archive's files) are carried from the oldest on."""
    location, year, month = month_of(name)
    return f"{year:04d}-{month:02d} {location}"


def rows_of(layout: Layout, name: str, days: Days) -> pa.Table:
    """The records of a month's days, with BATCH_SCHEMA. Raises DamagedFileError for a month that cannot be read."""
    location, year, month = month_of(name)
    start, end = _span(date(year, month, 1), days)
    rows = records_of(layout, location, start, end)
    if days is None or len(days) * DAY == end - start:
        return rows
    return rows.filter(pc.is_in(rows["day"], pa.array([date.fromisoformat(day) for day in sorted(days)], pa.date32())))


def _span(month: date, days: Days) -> tuple[int, int]:
    """From when to when (Unix time, s) a month's, or some of its days', records started."""
    after = (month + timedelta(days=31)).replace(day=1)
    first, last = month, after
    if days:
        first, last = date.fromisoformat(min(days)), date.fromisoformat(max(days)) + timedelta(days=1)
    return _unix(first), _unix(last)


def _unix(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=timezone.utc).timestamp())
