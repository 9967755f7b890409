"""Shares: a line's page for whoever has its link, and nothing of any other line."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from speedtest_logger.dashboard import render
from speedtest_logger.dashboard.pages.asked import asked_period
from speedtest_logger.dashboard.pages.badge import badge
from speedtest_logger.dashboard.pages.line import DELAYS, SPEEDS, facts_of, line_of, unmeasured

router = APIRouter()
HEADERS = {"Referrer-Policy": "no-referrer", "X-Robots-Tag": "noindex, nofollow"}  # the address is the secret


@router.get("/share/{token}")
def show_share(request: Request, token: str) -> HTMLResponse:
    """The line's page, without links to records and to anything else."""
    location = location_of(request, token)
    with only_shared():
        facts = facts_of(request, location)
    strips = [
        replace(strip, groups=[[replace(cell, run=None) for cell in group] for group in strip.groups])
        for strip in facts["strips"]
    ]
    path = f"/share/{token}"
    data = {**facts["data"], "series": f"{path}/series"}
    values = {**facts, "strips": strips, "unmeasured": unmeasured(strips), "data": data}
    return render.page(request, "share.html.j2", headers=HEADERS, path=path, shared=True, **values)


@router.get("/share/{token}/series")
def show_series(request: Request, token: str) -> JSONResponse:
    """The columns of its charts: of the line, or one of its nodes."""
    figures, query, location = request.app.state.figures, request.query_params, location_of(request, token)
    period = asked_period(request, time.time(), location=location)
    node = query.get("node")
    with only_shared():
        if node is not None and node not in {each.name for each in line_of(figures, location).nodes}:
            raise KeyError(node)
        scope: dict[str, Any] = {"location": location} if node is None else {"node": node, "location": location}
        found = figures.series(period.start, period.end, values=SPEEDS + DELAYS, **scope)
    return JSONResponse(asdict(found), headers=HEADERS)


@router.get("/share/{token}/badge.svg")
def show_badge(request: Request, token: str) -> Response:
    """The line's badge, which any page may show."""
    location = location_of(request, token)
    with only_shared():
        line = line_of(request.app.state.figures, location)
    return badge(line, **HEADERS, **{"Cross-Origin-Resource-Policy": "cross-origin"})


def location_of(request: Request, token: str) -> str:
    """Which line a link shares. Raises HTTPException 404."""
    found = request.app.state.guard.shares.find(token)
    if found is None:
        raise unknown()
    location: str = found.location
    return location


@contextmanager
def only_shared() -> Iterator[None]:
    """Have whatever is not there answered alike, so that an answer tells nothing of other lines."""
    try:
        yield
    except KeyError as error:
        raise unknown() from error
    except HTTPException as error:
        raise unknown() from error


def unknown() -> HTTPException:
    """The same answer for a link that nobody made and one that has ended."""
    return HTTPException(404, "this link leads nowhere: it may have expired", HEADERS)
