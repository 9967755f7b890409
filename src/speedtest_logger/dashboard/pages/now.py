"""Now: what is wrong, worst first; below it every line in a row."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse

from speedtest_logger.dashboard import render
from speedtest_logger.dashboard.figures import Line

router = APIRouter()
MOST_LINES = 200  # in the table: more are looked for, not looked at
Made = Callable[[Line], Markup]


class Once:
    """What is drawn of lines, kept while these stand as they did: hundreds take a while. May be asked by any thread."""

    def __init__(self) -> None:
        self._drawn: dict[str, tuple[Line, Markup]] = {}

    def __call__(self, line: Line, make: Made) -> Markup:
        """A line's part of a page, which `make` makes where the line is not as it was."""
        known = self._drawn.get(line.location)
        if known is not None and known[0] == line:
            return known[1]
        if len(self._drawn) >= 2 * MOST_LINES:  # most of them of lines that are among the first no more
            self._drawn = {}
        drawn = make(line)
        self._drawn[line.location] = (line, drawn)
        return drawn


@router.get("/")
def show_now(request: Request) -> HTMLResponse:
    """The first page."""
    state = request.app.state
    now = state.figures.now()
    return render.page(request, "now.html.j2", now=now, most=MOST_LINES, once=state.drawn)
