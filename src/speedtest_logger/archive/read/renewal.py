"""What of the rollups is made again after a change of the archive, and how much of it at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from speedtest_logger.archive.format.layout import Layout, month_of
from speedtest_logger.archive.read.local_time import Zone
from speedtest_logger.archive.read.moments import months
from speedtest_logger.files import identity

BATCH_BYTES = 16_000_000  # of files that are worked on at once: some 400,000 records, for which rollup.MEMORY is enough


@dataclass(frozen=True)
class Part:
    """What is made again: a location's tests of some days (UTC) that follow each other, begin and end in Unix time (s).

    Days on a zone's clocks that these touch begin and end elsewhere.
    """

    location: str
    start: int
    end: int
    local_start: int
    local_end: int


def part_of(name: str, days: set[str] | None, zone: Zone) -> Part:
    """What is made again of a month's file of which some days changed; None is all of it."""
    location, year, month = month_of(name)
    first = datetime(year, month, 1, tzinfo=timezone.utc)
    last = (first + timedelta(days=32)).replace(day=1)
    start, end = int(first.timestamp()), int(last.timestamp())
    if days:
        start = int(datetime.fromisoformat(f"{min(days)}T00:00+00:00").timestamp())
        end = int(datetime.fromisoformat(f"{max(days)}T00:00+00:00").timestamp()) + 86_400
    return Part(location, start, end, _midnight(zone, start), _midnight(zone, end - 1, days=1))


def _midnight(zone: Zone, moment: int, days: int = 0) -> int:
    """The beginning (Unix time, s) of the zone's day that a moment lies in, or of a later one."""
    day = zone.part(moment, "day") + timedelta(days=days)
    return int(day.replace(tzinfo=zone.rules).timestamp())


def batches_of(layout: Layout, parts: list[Part]) -> Iterator[list[Part]]:
    """Parts that are made again at once: never two of one location, and a bounded number."""
    ordered = sorted(parts, key=lambda part: (part.start // (28 * 86_400), part.location))
    waiting: list[Part] = []
    size = 0
    for part in ordered:
        own = _size(layout, part)
        if waiting and (size + own > BATCH_BYTES or any(part.location == other.location for other in waiting)):
            yield waiting
            waiting, size = [], 0
        waiting.append(part)
        size += own
    if waiting:
        yield waiting


def _size(layout: Layout, part: Part) -> int:
    """About how many bytes of files a part's records are."""
    share = min(1.0, (part.end - part.start) / (28 * 86_400))
    sizes = (identity(file) for file in months(layout, part.location, part.start, part.end))
    return int(share * sum(found.size for found in sizes if found))
