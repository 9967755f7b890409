"""A line's year: a table of its days, each by how much of the plan it brought, or how many tests measured."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import date, timedelta

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse

from speedtest_logger.archive.read.local_time import Zone
from speedtest_logger.dashboard import render
from speedtest_logger.dashboard.figures import Series
from speedtest_logger.dashboard.pages import drawn
from speedtest_logger.dashboard.pages.line import line_of
from speedtest_logger.dashboard.pages.shown import mbit, part, share
from speedtest_logger.errors import UsageError

router = APIRouter()
FIRST_YEAR, LAST_YEAR = 2000, 2100
BY = {"plan": "share of the plan", "measured": "tests that measured"}


@dataclass(frozen=True)
class Day:
    """A day: its number, its address, colour and figure; `words` say all of it. None of both: nothing was measured."""

    number: int
    link: str
    colour: int | None
    figure: str
    words: str


@dataclass(frozen=True)
class Month:
    """A month: its name, its address, and its days; None for one that is still to come."""

    name: str
    link: str
    days: list[Day | None]


@router.get("/line/{location}/year/{year}")
def show_year(request: Request, location: str, year: str) -> HTMLResponse:
    """The calendar."""
    by = request.query_params.get("by") or "plan"
    if by not in BY:
        raise UsageError(f"by={by[:40]}: there is {' and '.join(BY)}")
    if not (year.isascii() and year.isdigit() and len(year) == 4 and FIRST_YEAR <= int(year) <= LAST_YEAR):
        raise HTTPException(404, f"there is no year {year[:20]!r}: write it like 2026")
    figures, zone = request.app.state.figures, Zone.named(request.app.state.settings.time_zone)
    line = line_of(figures, location)
    today = zone.at(time.time()).date()
    found = days_of(figures.year(location, int(year)), zone)
    known = [day.download for day in found.values() if day.download]
    whole = line.plan.download or max(known, default=None)
    return render.page(
        request,
        "year.html.j2",
        line=line,
        year=int(year),
        this_year=today.year,
        path=f"/line/{part(location)}",
        by=by,
        choices=BY,
        whole=None if not known else "the plan" if line.plan.download else "the fastest day",
        months=[month_of(location, int(year), number, found, (by, whole, today)) for number in range(1, 13)],
        measured=len(known),
    )


@dataclass(frozen=True)
class Found:
    """What a day brought: its median download (bit/s), its tests and how many of them failed."""

    download: float | None
    tests: int
    failed: int


def days_of(series: Series, zone: Zone) -> dict[date, Found]:
    """The days of a series."""
    columns = zip(series.at, series.values["download"], series.tests, series.failed, strict=True)
    return {zone.at(at).date(): Found(download, tests, failed) for at, download, tests, failed in columns}


def month_of(
    location: str, year: int, number: int, found: dict[date, Found], how: tuple[str, float | None, date]
) -> Month:
    """A month of the calendar."""
    first = date(year, number, 1)
    after = date(year + number // 12, number % 12 + 1, 1)
    days = [first + timedelta(days=place) for place in range((after - first).days)]
    shown = [day_of(location, day, found.get(day), how) if day <= how[2] else None for day in days]
    link = f"/line/{part(location)}?start={first}&end={days[-1]}"
    return Month(f"{first:%B}", link, shown)


def day_of(location: str, day: date, found: Found | None, how: tuple[str, float | None, date]) -> Day:
    """A day of the calendar."""
    by, whole, _ = how
    link = f"/line/{part(location)}?start={day}&end={day}"
    name = f"{day:%A %-d %B}"
    if found is None or not found.tests:
        return Day(day.day, link, None, "", f"{name}: nothing was tested")
    of_tests = 100 * (found.tests - found.failed) / found.tests
    words = f"{name}: {mbit(found.download)} Mbit/s, {found.failed:,} of {found.tests:,} tests failed"
    if by == "measured":
        return Day(day.day, link, drawn.step(of_tests, 100), f"{of_tests:.0f}", words)
    if found.download is None or not whole:
        return Day(day.day, link, None, "\N{MULTIPLICATION SIGN}", words)
    percent = 100 * found.download / whole
    return Day(day.day, link, drawn.step(found.download, whole), f"{percent:.0f}", f"{words}: {share(percent)}")
