"""The fleet: what each line or node delivered in a period, in one table; and some lines over each other."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args
from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse

from speedtest_logger.dashboard import render
from speedtest_logger.dashboard.figures import WELL, Line, Span, State
from speedtest_logger.dashboard.pages.asked import asked_period
from speedtest_logger.dashboard.pages.line import line_of
from speedtest_logger.dashboard.period import Period, iso
from speedtest_logger.errors import UsageError

router = APIRouter()
RANGES = ("24h", "7d", "30d", "90d")
MOST_COMPARED = 5  # lines: more cannot be told apart in a chart
MOST_NAMED = 3  # lines of a state, in a sentence
ORDER: dict[str, int] = {state: place for place, state in enumerate(get_args(State))}


@dataclass(frozen=True)
class Row:
    """A line or node, with the state of the line, None where nobody knows it any more."""

    span: Span
    state: str | None

    @property
    def name(self) -> str:
        """The node's name, or the line's."""
        return self.span.node or self.span.location


@dataclass(frozen=True)
class Column:
    """A column that rows are sorted by: what stands above it, the value, and whether what needs somebody is high."""

    words: str
    value: Callable[[Row], Any]
    high_first: bool = False
    figure: bool = True


COLUMNS = {
    "state": Column("state", lambda row: ORDER.get(row.state or ""), figure=False),
    "name": Column("name", lambda row: row.name, figure=False),
    "share": Column("of the plan", lambda row: row.span.share),
    "download": Column("download", lambda row: row.span.download),
    "upload": Column("upload", lambda row: row.span.upload),
    "latency": Column("latency", lambda row: row.span.latency, high_first=True),
    "availability": Column("availability", lambda row: row.span.availability),
    "accounted": Column("accounted for", lambda row: row.span.accounted),
    "outages": Column("outages", lambda row: row.span.outages, high_first=True),
    "version": Column("version", lambda row: row.span.version, figure=False),
    "seen": Column("last seen", lambda row: row.span.last_seen, figure=False),
    "outbox": Column("outbox", lambda row: row.span.outbox, high_first=True),
}


@dataclass(frozen=True)
class Table:
    """How the table is sorted, for its heads: the column, and whether the highest is first."""

    by: str
    sort: str
    descending: bool
    period: Period

    def link(self, name: str) -> str:
        """The address that sorts by a column; the other way round where it is sorted by it already."""
        other = name == self.sort and self.descending == COLUMNS[name].high_first
        return "/fleet?" + urlencode({"by": self.by, "sort": f"-{name}" if other else name}) + f"&{self.period.query}"

    def sorted(self, name: str) -> str | None:
        """What `aria-sort` says of a column."""
        return None if name != self.sort else "descending" if self.descending else "ascending"


@router.get("/fleet")
def show_fleet(request: Request) -> HTMLResponse:
    """The table."""
    figures, query, now = request.app.state.figures, request.query_params, time.time()
    by, asked = query.get("by") or "location", query.get("sort") or "state"
    sort = asked.removeprefix("-")
    if by not in ("location", "node"):
        raise UsageError(f"by={by[:40]}: there is location and node")
    if sort not in COLUMNS:
        raise UsageError(f"sort={asked[:40]}: there is {', '.join(COLUMNS)}, with a - in front the other way round")
    period = asked_period(request, now)
    table = Table(by, sort, COLUMNS[sort].high_first != asked.startswith("-"), period)
    lines = figures.lines()
    states = {line.location: line.state for line in lines}
    spans = figures.spans(period.start, period.end, by=by)
    rows = ordered([Row(span, states.get(span.location)) for span in spans], table)
    sorting = {} if asked == "state" else {"sort": asked}
    return render.page(
        request,
        "fleet.html.j2",
        now=now,
        sentence=sentence_of(lines),
        ill=any(line.is_ill for line in lines),
        period=period,
        names=RANGES,
        table=table,
        columns=COLUMNS,
        rows=rows,
        kept=[("by", by), *sorting.items()],
        sorting="".join(f"&{urlencode({name: value})}" for name, value in sorting.items()),
    )


def sentence_of(lines: list[Line]) -> str:
    """What is true of all lines now, the worst first.

    Such as `Of 7 lines 1 is down (garage), 2 are slow (home, shop) and 4 are well.`
    """
    if not lines:
        return "No line is known yet."
    found = {state: [line.location for line in lines if line.state == state] for state in ORDER}
    parts = [_those(state, names) for state, names in found.items() if names]
    if len(lines) == 1:
        return f"The only line is {lines[0].state}."
    if len(parts) == 1:
        return f"All {len(lines):,} lines are {lines[0].state}."
    return f"Of {len(lines):,} lines {', '.join(parts[:-1])} and {parts[-1]}."


def _those(state: str, names: list[str]) -> str:
    count = f"{len(names):,} {'is' if len(names) == 1 else 'are'} {state}"
    if state in WELL:
        return count
    more = f" and {len(names) - MOST_NAMED:,} more" if len(names) > MOST_NAMED else ""
    return f"{count} ({', '.join(names[:MOST_NAMED])}{more})"


def ordered(rows: list[Row], table: Table) -> list[Row]:
    """Rows in the table's order; those without a value come last either way, and rows alike by name."""
    value = COLUMNS[table.sort].value
    named = sorted(rows, key=lambda row: row.name)
    known = sorted((row for row in named if value(row) is not None), key=value, reverse=table.descending)
    return known + [row for row in named if value(row) is None]


@router.get("/compare")
def compare(request: Request) -> HTMLResponse:
    """Some lines: a table, and their charts over each other."""
    figures, now = request.app.state.figures, time.time()
    locations = list(dict.fromkeys(request.query_params.getlist("location")))
    if not 2 <= len(locations) <= MOST_COMPARED:
        raise UsageError(f"choose two lines to compare, or up to {MOST_COMPARED}: tick them on the page Fleet")
    period = asked_period(request, now)
    lines = [line_of(figures, location) for location in locations]
    kept = [("location", location) for location in locations]
    spans = {span.location: span for span in figures.spans(period.start, period.end)}
    return render.page(
        request,
        "compare.html.j2",
        now=now,
        period=period,
        names=RANGES,
        lines=lines,
        spans=spans,
        kept=kept,
        chosen=urlencode(kept),
        data={
            "location": locations[0],
            "others": locations[1:],
            "start": iso(period.start),
            "end": iso(period.end),
            "follows": False,
            "plan": {},
            "outages": [],
        },
    )
