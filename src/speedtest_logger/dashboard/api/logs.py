"""Lines of nodes' logs, as nodes deliver them behind their records."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Response

from speedtest_logger.archive.read import logs
from speedtest_logger.dashboard.api.answers import LogLine, LogLines
from speedtest_logger.dashboard.api.asked import About
from speedtest_logger.dashboard.guard import may
from speedtest_logger.dashboard.limits import in_turn

router = APIRouter(prefix="/v1/logs", dependencies=[Depends(may("logs"))], tags=["logs"])
MOST_LINES = 5_000
Level = Literal["debug", "info", "warning", "error"]


@router.get("")
def show_logs(
    about: About,
    response: Response,
    level: Annotated[Level, Query(description="And above.")] = "info",
    text: Annotated[str, Query(max_length=logs.MOST_TEXT, description="That they have, capitals or not.")] = "",
    cursor: Annotated[str | None, Query(max_length=400, description="`next` of the answer before.")] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_LINES)] = 500,
) -> LogLines:
    """Lines of a period, the newest last; `next` is the cursor for those before them."""
    response.headers["Cache-Control"] = "no-store"
    nodes = about.figures.nodes_at(about.location, about.node)
    with in_turn():
        found = about.figures.logs(logs.Wanted(*about.within, nodes, level, text, limit, cursor))
    return LogLines([LogLine(**row) for row in logs.rows_of(found.lines)], found.before, found.unreadable)
