"""Now for a screen on a wall: large, without navigation, fresh by itself."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse

from speedtest_logger.dashboard import render
from speedtest_logger.dashboard.pages.now import MOST_LINES

router = APIRouter()
REFRESH_SECONDS = 30


@router.get("/kiosk")
def show_kiosk(request: Request) -> HTMLResponse:
    """The page; it needs no JavaScript to stay fresh."""
    state = request.app.state
    now = state.figures.now()
    return render.page(request, "kiosk.html.j2", now=now, most=MOST_LINES, once=state.drawn, refresh=REFRESH_SECONDS)
