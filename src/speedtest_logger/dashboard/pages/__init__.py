"""The pages: HTML made on the server. A page is a module with a `router` of its own; here they are put together."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from speedtest_logger.dashboard import render
from speedtest_logger.dashboard.guard import ANYONE, may
from speedtest_logger.dashboard.pages import (
    alerts,
    badge,
    drawn,
    fleet,
    kiosk,
    line,
    logs,
    notes,
    now,
    outages,
    record,
    report,
    share,
    shown,
    system,
    year,
)

render.templates().filters.update(shown.FILTERS | drawn.FILTERS)
render.templates().globals.update(shown.GLOBALS)

router = APIRouter(include_in_schema=False)
for page in (now, line, fleet, outages, alerts, system, record, report, kiosk, badge, year, notes, logs):
    router.include_router(page.router, dependencies=[Depends(may("read"))])
router.include_router(share.router, dependencies=[Depends(may(ANYONE))])
