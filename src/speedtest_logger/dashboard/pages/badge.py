"""A badge: a small picture of a line's last day, for a page elsewhere."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from speedtest_logger.dashboard import render
from speedtest_logger.dashboard.figures import Line
from speedtest_logger.dashboard.pages.line import line_of
from speedtest_logger.dashboard.pages.shown import NOTHING, STATES, mbit, plan
from speedtest_logger.text import printable

router = APIRouter()
CACHE_SECONDS = 60
LONGEST_NAME = 24  # characters
NARROW, WIDE = 4.8, 9.6  # of signs
WIDE_SIGNS = "ABCDGHKMNOQRUVWXYmw%<>@\N{HORIZONTAL ELLIPSIS}"
COLOURS = {
    "well": "#17713d",
    "slow": "#8a5200",
    "down": "#b42318",
    "failing": "#b42318",
    "silent": "#57606a",
    "new": "#0b57c4",
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "Cache-Control": f"private, max-age={CACHE_SECONDS}",
}


@router.get("/badge/{location}.svg")
def show_badge(request: Request, location: str) -> Response:
    """A line's badge."""
    return badge(line_of(request.app.state.figures, location))


def badge(line: Line, **headers: str) -> Response:
    """The picture."""
    content = render.templates().get_template("badge.svg.j2").render(**parts_of(line))
    return Response(content, media_type="image/svg+xml", headers={**HEADERS, **headers})


def parts_of(line: Line) -> dict[str, Any]:
    """What stands in a badge, and how wide it is: `home | 233 of 250 Mbit/s`, and the state where it is not well."""
    name = printable(line.location)
    name = name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "\N{HORIZONTAL ELLIPSIS}"
    speed = mbit(line.median.get("download"))
    of_plan = f" of {plan(line.plan.download)}" if line.plan.download else ""
    said = "nothing measured" if speed == NOTHING else f"{speed}{of_plan} Mbit/s"
    if line.state != "well":
        said = STATES[line.state] if line.state in ("down", "silent") else f"{STATES[line.state]}: {said}"
    return {"name": name, "said": said, "left": width_of(name), "right": width_of(said), "colour": COLOURS[line.state]}


def width_of(text: str) -> int:
    """About how wide a text is, with room at its sides; it stands in the middle."""
    return round(sum(NARROW if sign in "fijlrt.,:;|'1 " else WIDE if sign in WIDE_SIGNS else 7.2 for sign in text)) + 16
