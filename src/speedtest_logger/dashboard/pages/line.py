"""A line: how it stands, and what it delivered in a period."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse

from speedtest_logger.archive.read.local_time import Zone
from speedtest_logger.dashboard import render
from speedtest_logger.dashboard.figures import Cells, Grain, Line, Outage, Series, Week
from speedtest_logger.dashboard.figures.standing import FEWEST_SLOTS
from speedtest_logger.dashboard.pages import drawn
from speedtest_logger.dashboard.pages.asked import asked_period
from speedtest_logger.dashboard.pages.shown import HOURS, OUTCOMES, cell_name, moment, part, why
from speedtest_logger.dashboard.period import DAY, RANGES, Period, iso
from speedtest_logger.errors import StorageError

router = APIRouter()
HOUR = 3_600
MONTH = 30 * DAY
MOST_LISTED = 200  # rows of what was not measured, and of outages
FEWEST_IN_HOUR = 4  # slots, so that a strip's groups are hours and not days
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
SPEEDS = ("download", "upload")
DELAYS = ("latency", "download_latency", "upload_latency", "jitter", "loss")


@router.get("/line/{location}")
def show_line(request: Request, location: str) -> HTMLResponse:
    """A line's page."""
    facts = facts_of(request, location)
    notes, unread = [], ""
    try:
        notes = request.app.state.notes.of(location)
    except StorageError as error:  # the line itself is there
        request.app.state.log.event("error", "failed", path=request.url.path, error=str(error))
        unread = "The notes cannot be read: the dashboard's log says why."
    period = facts["period"]
    marks = [{"at": note.at, "text": note.text} for note in notes if period.start <= note.at < period.end]
    values = {
        **facts,
        "data": {**facts["data"], "notes": marks},
        "notes": notes[::-1],
        "unread": unread,
        "may_note": "annotate" in request.state.caller.scopes and not unread,
    }
    return render.page(request, "line.html.j2", path=f"/line/{part(location)}", shared=False, **values)


def facts_of(request: Request, location: str) -> dict[str, Any]:
    """What a line's page says, in the period that the address asks for."""
    figures = request.app.state.figures
    zone = Zone.named(request.app.state.settings.time_zone)
    now = time.time()
    line = line_of(figures, location)
    period = asked_period(request, now, location=location)
    within = (period.start, period.end)
    month = next(iter(figures.spans(now - MONTH, now, location=location)), None)
    single = period.end - period.start <= 2 * DAY  # each test that failed, as the strip shows each slot
    found = figures.outages(*within, location=location, shortest=1 if single else FEWEST_SLOTS)
    grain: Grain = "hour" if period.end - period.start <= 2 * DAY else "day"
    table = figures.series(*within, location=location, grain=grain, values=SPEEDS + DELAYS)
    strips = [strip(cells, zone) for cells in figures.cells(*within, location=location)]
    probed = figures.probed(*within, location=location)
    return {
        "now": now,
        "line": line,
        "period": period,
        "names": tuple(RANGES),
        "month": month,
        "spans": figures.spans(*within, by="node", location=location),
        "strips": strips,
        "unmeasured": unmeasured(strips),
        "most": MOST_LISTED,
        "outages": found[::-1],
        "single": single,
        "rows": list(rows(table, zone)),
        "grain": table.grain,
        "week": Map.of(figures.week(*within, location=location), line.plan.download),
        "data": {**chart_data(line, period, found), "probes": probed.to_chart()},
        "probed": probed,
    }


def line_of(figures: Any, location: str) -> Line:
    """A line as it stands. Raises HTTPException 404 for one that nobody knows."""
    try:
        return figures.line(location)  # type: ignore[no-any-return]  # whoever answers for Figures
    except KeyError as error:
        raise HTTPException(404, f"there is no line {location[:64]!r}") from error


def chart_data(line: Line, period: Period, outages: list[Outage]) -> dict[str, Any]:
    """What the browser has to know, besides the series, to draw the charts."""
    return {
        "location": line.location,
        "start": iso(period.start),
        "end": iso(period.end),
        "follows": period.name in RANGES,
        "plan": asdict(line.plan),
        "several": len(line.nodes) > 1,  # single tests of nodes that differ make no curve
        "outages": [
            {"start": each.start, "until": each.until, "node": each.node, "why": why(each.reason)} for each in outages
        ],
    }


@dataclass(frozen=True)
class Cell:
    """A cell of a strip: its beginning (Unix time, s), what became of it, why, and the record's run, if it is one.

    `words` say all of it.
    """

    at: int
    outcome: str
    reason: str | None
    run: str | None
    words: str


@dataclass(frozen=True)
class Strip:
    """A node's cells of a period in groups, each with the time of its first cell; `form` says what a group is."""

    node: str
    form: str
    outcomes: list[str]
    groups: list[list[Cell]]


def strip(cells: Cells, zone: Zone) -> Strip:
    """The cells as a page shows them: slots by hour or day, hours by day, days by month."""
    form, key = _groups(cells, zone)
    names = OUTCOMES if form == "hour" else HOURS
    each = (
        Cell(at, outcome, reason, run, f"{cell_name(at, form, zone)}: {names[outcome]}{_because(reason)}")
        for at, outcome, reason, run in zip(cells.at, cells.outcome, cells.reason, cells.runs, strict=True)
    )
    return Strip(
        cells.node, form, cells.outcome, [list(group) for _, group in groupby(each, lambda cell: key(cell.at))]
    )


def _because(reason: str | None) -> str:
    return f", {why(reason)}" if reason and reason != "missed" else ""


def unmeasured(strips: list[Strip]) -> list[tuple[str, Cell]]:
    """The cells that were not measured, each with its node, newest first."""
    found = [
        (each.node, cell)
        for each in strips
        for group in each.groups
        for cell in group
        if cell.outcome not in ("ok", "pending")
    ]
    return sorted(found, key=lambda pair: pair[1].at, reverse=True)


def _groups(cells: Cells, zone: Zone) -> tuple[str, Callable[[int], Any]]:
    if cells.grain == "day":
        return "month", lambda at: f"{zone.at(at):%Y-%m}"
    dense = len(cells.at) > 1 and len(cells.at) * HOUR / (cells.at[-1] - cells.at[0] + 1) >= FEWEST_IN_HOUR
    if cells.grain == "test" and dense:
        return "hour", lambda at: at // HOUR
    return "day", lambda at: zone.part(at, "day")


@dataclass(frozen=True)
class Row:
    """A row of the tables that say what the charts draw: a time in words, tests, failed ones, and columns by name."""

    when: str  # with markup: the browser shows an hour on its own clocks
    tests: int
    failed: int
    values: dict[str, float | None]


def rows(series: Series, zone: Zone) -> Iterator[Row]:
    """The rows of a series, newest first."""
    for place in range(len(series.at) - 1, -1, -1):
        at = series.at[place]
        when = f"{zone.at(at):%a %-d %b %Y}" if series.grain == "day" else moment(at // HOUR * HOUR)
        values = {name: column[place] for name, column in series.values.items()}
        yield Row(when, series.tests[place], series.failed[place], values)


@dataclass(frozen=True)
class Map:
    """The hours of the week as cells: a colour's number and a value (bit/s), None where nothing was measured.

    Colours are shares of `whole`: of the plan, or of the fastest hour where there is none. None: there is no value.
    """

    zone: str
    whole: str | None
    days: list[tuple[str, list[tuple[int | None, float | None]]]]

    @classmethod
    def of(cls, week: Week, plan: float | None) -> Map:
        """The map of a week."""
        known = [value for day in week.values for value in day if value]
        whole = plan or max(known, default=None)
        days = [
            (name, [(drawn.step(value, whole), value) for value in day])
            for name, day in zip(WEEKDAYS, week.values, strict=True)
        ]
        return cls(week.zone, None if not known else "the plan" if plan else "the fastest hour", days)
