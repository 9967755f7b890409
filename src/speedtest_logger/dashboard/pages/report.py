"""The evidence report of a line."""

from __future__ import annotations

import time

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse

from speedtest_logger.dashboard.pages.asked import asked_period
from speedtest_logger.dashboard.pages.line import line_of
from speedtest_logger.dashboard.reported import report_of

router = APIRouter()


@router.get("/line/{location}/report")
def show_report(request: Request, location: str) -> HTMLResponse:
    """The page that needs nothing else; its clocks are those of the line's own zone."""
    figures = request.app.state.figures
    line_of(figures, location)
    return report_of(figures, location, asked_period(request, time.time(), "30d"))
