"""Outages: when which line or node did not measure, for how long, and whose it was."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse

from speedtest_logger.archive.read.local_time import Zone
from speedtest_logger.dashboard import render
from speedtest_logger.dashboard.figures import Outage
from speedtest_logger.dashboard.pages.asked import asked_period
from speedtest_logger.dashboard.pages.shown import BLAMES, part
from speedtest_logger.dashboard.period import RANGES, iso

router = APIRouter()
FEWEST_SLOTS = 2  # that make an outage: one test may fail
MOST_ROWS = 500
AROUND = 3_600  # s that the line's page shows before and after an outage


@dataclass
class Month:
    """A month's outages, counted where they began: how many, and for how long (s) by whose they were."""

    name: str
    count: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(BLAMES, 0.0))
    longest: float = 0.0

    def add(self, outage: Outage, now: float) -> None:
        """Count one."""
        length = length_of(outage, now)
        self.count += 1
        self.seconds[outage.blame] += length
        self.longest = max(self.longest, length)


def length_of(outage: Outage, now: float) -> float:
    """How long it was (s), or is so far."""
    return (now if outage.until is None else outage.until) - outage.start


def months_of(found: list[Outage], now: float, zone: Zone) -> list[Month]:
    """The months in which outages began, newest first."""
    months: dict[str, Month] = {}
    for outage in sorted(found, key=lambda each: each.start, reverse=True):
        name = f"{zone.at(outage.start):%B %Y}"
        months.setdefault(name, Month(name)).add(outage, now)
    return list(months.values())


def link_of(outage: Outage, now: float) -> str:
    """The line's page at the time of an outage."""
    end = (outage.until or now) + AROUND
    return f"/line/{part(outage.location)}?" + urlencode({"start": iso(outage.start - AROUND), "end": iso(end)})


@router.get("/outages")
def show_outages(request: Request) -> HTMLResponse:
    """The list: those that last first, then the newest."""
    figures, query, now = request.app.state.figures, request.query_params, time.time()
    zone = Zone.named(request.app.state.settings.time_zone)
    locations, location = figures.locations(), query.get("location") or None
    if location is not None and location not in locations:
        raise HTTPException(404, f"there is no line {location[:64]!r}")
    period = asked_period(request, now, "30d", location)
    single = query.get("single") == "yes"
    found = figures.outages(period.start, period.end, location=location, shortest=1 if single else FEWEST_SLOTS)
    rows = sorted(found, key=lambda each: (each.until is None, each.start), reverse=True)
    kept = [*([("location", location)] if location else []), *([("single", "yes")] if single else [])]
    return render.page(
        request,
        "outages.html.j2",
        now=now,
        period=period,
        names=tuple(RANGES),
        locations=locations,
        location=location,
        single=single,
        kept=kept,
        query=urlencode(kept),
        lasting=sum(each.until is None for each in rows),
        count=len(rows),
        rows=[(each, length_of(each, now), link_of(each, now)) for each in rows[:MOST_ROWS]],
        months=months_of(found, now, zone),
    )
