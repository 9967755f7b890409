"""Now: what is wrong, worst first; below it every line in a row."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse

from speedtest_logger.dashboard import render

router = APIRouter()
MOST_LINES = 200  # in the table: more are looked for, not looked at


@router.get("/")
def show_now(request: Request) -> HTMLResponse:
    """The first page."""
    return render.page(request, "now.html.j2", now=request.app.state.figures.now(), most=MOST_LINES)
