"""Alerts: what is wrong now, what follows from it, what was, and whether somebody is told."""

from __future__ import annotations

import time

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse

from speedtest_logger.archive.read.told import Told
from speedtest_logger.dashboard import render
from speedtest_logger.dashboard.figures import Alerts

router = APIRouter()
MOST_ENDED = 200
SHAPES = {"critical": "down", "warning": "slow", "info": "new"}  # how each severity is drawn: as a state


@router.get("/alerts")
def show_alerts(request: Request) -> HTMLResponse:
    """What lasts, then destinations, then what has ended."""
    alerts, now = request.app.state.figures.alerts(), time.time()
    rows = [(finding, leader) for leader, others in alerts.groups() for finding in (leader, *others)]
    return render.page(
        request,
        "alerts.html.j2",
        now=now,
        alerts=alerts,
        shapes=SHAPES,
        verdict=verdict(alerts),
        rows=[(finding, finding is not leader, told(finding)) for finding, leader in rows],
        ended=[(finding, told(finding)) for finding in alerts.ended[:MOST_ENDED]],
    )


def verdict(alerts: Alerts) -> str:
    """The page's sentence."""
    count = len(alerts.lasting)
    if alerts.evaluated is None:
        return "Nothing is known of alerts."
    if not count:
        return "Nothing is wrong."
    return f"{count} finding{' lasts' if count == 1 else 's last'}."


def told(finding: Told) -> str:
    """Whether somebody was told of it."""
    if finding.withdrawn:
        return "withdrawn"
    if finding.told:
        return "yes"
    if finding.until is None:
        return "held back" if finding.follows else "not yet"
    return "no"
