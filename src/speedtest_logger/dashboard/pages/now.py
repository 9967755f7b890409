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
    """What is drawn of a line, made once for as long as lines stand as they were judged: hundreds take a while."""

    def __init__(self) -> None:
        self._known: tuple[list[Line], dict[str, Markup]] = ([], {})  # lines, and what is drawn of each

    def of(self, lines: list[Line]) -> Callable[[Line, Made], Markup]:
        """For a template: a line's part, which `make` makes where it is not there yet. May be asked by any thread."""
        known = self._known
        if known[0] is not lines:
            self._known = known = (lines, {})
        drawn = known[1]

        def once(line: Line, make: Made) -> Markup:
            if line.location not in drawn:
                drawn[line.location] = make(line)
            return drawn[line.location]

        return once


@router.get("/")
def show_now(request: Request) -> HTMLResponse:
    """The first page."""
    state = request.app.state
    now = state.figures.now()
    return render.page(request, "now.html.j2", now=now, most=MOST_LINES, once=state.drawn.of(now.lines))
