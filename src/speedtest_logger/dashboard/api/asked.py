"""What questions have in common: a period, a place, what the asker has already, and what an answer may cost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import BoundedSemaphore
from typing import Annotated, Any, Literal

from fastapi import Depends, Query, Request
from starlette.requests import HTTPConnection
from starlette.responses import Response

from speedtest_logger import __version__
from speedtest_logger.archive.read.local_time import Zone
from speedtest_logger.dashboard.figures import Figures
from speedtest_logger.errors import NotReadyError, UsageError
from speedtest_logger.record import ID_PATTERN

DAY = 86_400
RANGES = {"24h": DAY, "7d": 7 * DAY, "30d": 30 * DAY, "90d": 90 * DAY, "1y": 365 * DAY}
LONGEST = 5 * 366 * DAY
FIRST, LAST = 0.0, 4_102_444_800.0  # 1970 and 2100
MOST_SLOTS = 6_000_000  # that one question may be about: a year of 50 nodes at 5 minutes
AT_ONCE = 2  # questions that read the archive's own files, with a database of their own each
PATIENCE = 10.0  # s
NAME = f"^(?:{ID_PATTERN.pattern})$"

Range = Literal["24h", "7d", "30d", "90d", "1y"]
EXAMPLES = ["2026-01-31", "2026-01-31T12:00:00Z"]
LocationName = Annotated[str | None, Query(pattern=NAME, description="Only this location.")]
NodeName = Annotated[str | None, Query(pattern=NAME, description="Only this node.")]
_reading = BoundedSemaphore(AT_ONCE)


def figures_of(connection: HTTPConnection) -> Figures:
    """The application's figures."""
    found: Figures = connection.app.state.figures
    return found


@dataclass(frozen=True)
class Period:
    """From `start` on, up to `end` (Unix times, s)."""

    start: float
    end: float


def period(
    request: Request,
    range: Annotated[  # noqa: A002  # the parameter's name is its name in the address
        Range | None, Query(description="The time up to now. Default 24h.")
    ] = None,
    start: Annotated[
        str | None,
        Query(
            max_length=40,
            examples=EXAMPLES,
            description="Instead of range: a day or a time (ISO 8601), in the dashboard's zone where it names none.",
        ),
    ] = None,
    end: Annotated[
        str | None,
        Query(
            max_length=40,
            examples=EXAMPLES,
            description="A day, which is included, or a time, which is not. Default now.",
        ),
    ] = None,
) -> Period:
    """The period that a question is about. Raises UsageError."""
    now = time.time()
    if start is None:
        if end is not None:
            raise UsageError("end without start: give both, such as start=2026-01-01&end=2026-01-31")
        return Period(now - RANGES[range or "24h"], now)
    if range is not None:
        raise UsageError("range and start exclude each other: give one of them")
    zone = figures_of(request).source.zone
    found = Period(moment(start, zone), now if end is None else moment(end, zone, last=True))
    if found.end <= found.start:
        raise UsageError("start has to lie before end")
    if found.end - found.start > LONGEST:
        raise UsageError("a period has five years at most")
    return found


def moment(text: str, zone: Zone, *, last: bool = False) -> float:
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


Asked = Annotated[Period, Depends(period)]


class NotModified(Exception):  # noqa: N818  # it is no error
    """The asker has the answer already."""


def fresh(request: Request, response: Response) -> None:
    """Give the answer its ETag. Raises NotModified where the asker knows it."""
    request.state.etag = etag = f'W/"{__version__}-{figures_of(request).etag()}"'
    known = request.headers.get("if-none-match", "")
    if etag in (each.strip() for each in known.split(",")):
        raise NotModified(etag)
    response.headers["ETag"] = etag


def not_modified(_: HTTPConnection, error: Exception) -> Response:
    """The answer to who has it already."""
    return Response(status_code=304, headers={"ETag": str(error)})


ONCE: dict[str, Any] = {  # of a router whose answers change only with the archive, and each minute
    "dependencies": [Depends(fresh)],
    "responses": {304: {"description": "The same as what If-None-Match names."}},
}


def check_slots(
    figures: Figures, asked: Period, location: str | None, node: str | None, most: int = MOST_SLOTS
) -> None:
    """Raise UsageError for a question about more slots than can be answered at once."""
    seconds = asked.end - asked.start
    slots = sum(
        seconds / max(1, entry.get("interval_seconds") or 1)
        for name, entry in figures.source.known().current.items()
        if node in (None, name) and location in (None, entry.get("location"))
    )
    if slots > most:
        raise UsageError(
            f"this is about {slots:,.0f} slots, {most:,} can be looked at at once: "
            "name a node or a location, or ask for a shorter period"
        )


@contextmanager
def in_turn(*, needed: bool = True) -> Iterator[None]:
    """For what reads the archive's own files: few at once. Raises NotReadyError where it takes too long."""
    if not needed:  # the rollups have it
        yield
        return
    if not _reading.acquire(timeout=PATIENCE):
        raise NotReadyError("others are reading the archive just now: ask again")
    try:
        yield
    finally:
        _reading.release()
