"""What a page is asked for."""

from __future__ import annotations

from starlette.requests import Request

from speedtest_logger.archive.read.local_time import Zone
from speedtest_logger.dashboard.limits import check_slots
from speedtest_logger.dashboard.period import Period, period_of


def asked_period(request: Request, now: float, default: str = "24h", location: str | None = None) -> Period:
    """The period of a page about a line or all of them. Raises UsageError for one that is none, or too long."""
    period = period_of(request.query_params, now, Zone.named(request.app.state.settings.time_zone), default)
    check_slots(request.app.state.figures, period, location, None)
    return period
