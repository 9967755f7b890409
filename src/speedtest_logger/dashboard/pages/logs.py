"""What nodes' logs say: the newest lines of a period, filtered, a page at a time."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

import duckdb
from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import HTMLResponse

from speedtest_logger.archive.arrive import journal
from speedtest_logger.archive.read import logs
from speedtest_logger.archive.read.local_time import Zone
from speedtest_logger.dashboard import render
from speedtest_logger.dashboard.guard import may
from speedtest_logger.dashboard.limits import in_turn
from speedtest_logger.dashboard.period import period_of
from speedtest_logger.errors import SpeedtestError, UsageError

router = APIRouter(dependencies=[Depends(may("logs"))])
LINES = 200  # on a page
RANGES = ("24h", "7d", "30d")
MOST_NAME = 64


@router.get("/logs")
def show_logs(request: Request) -> HTMLResponse:
    """The lines, the newest first."""
    figures, query, now = request.app.state.figures, request.query_params, time.time()
    period = period_of(query, now, Zone.named(request.app.state.settings.time_zone), "24h")
    node, level, text = query.get("node") or None, query.get("level") or "info", query.get("text", "")
    if level not in logs.LEVELS:
        raise UsageError(f"level={level[:40]}: there is {', '.join(logs.LEVELS)}")
    if node and len(node) > MOST_NAME:
        raise UsageError("a node's name is shorter")
    wanted = logs.Wanted(
        period.start, period.end, frozenset([node]) if node else None, level, text, LINES, query.get("before") or None
    )
    with in_turn():
        found = figures.logs(wanted)
    kept = [(name, value) for name, value in (("node", node), ("level", level), ("text", text)) if value]
    older = f"{period.query}&{urlencode([*kept, ('before', found.before)])}" if found.before else ""
    return render.page(
        request,
        "logs.html.j2",
        period=period,
        names=RANGES,
        nodes=names_of(figures, node),
        levels=logs.LEVELS,
        node=node,
        level=level,
        text=text,
        kept=kept,
        query=urlencode(kept),
        older=older,
        later=wanted.before is not None,
        unreadable=found.unreadable,
        rows=[{**row, "words": logs.words(row["fields"])} for row in logs.rows_of(found.lines)][::-1],
    )


def names_of(figures: Any, node: str | None) -> list[str]:
    """The nodes to choose from, the archive host's own units first; the one that is chosen is among them."""
    names = {journal.HOST, *([node] if node else [])}
    with suppress(SpeedtestError, OSError, duckdb.Error):  # the lines are there all the same
        names |= {each.name for each in figures.nodes()}
    return sorted(names)
