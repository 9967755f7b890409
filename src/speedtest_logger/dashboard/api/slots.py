"""What became of the slots of a period, and the report on a line."""

from __future__ import annotations

from io import BytesIO
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import HTMLResponse, Response

from speedtest_logger.archive.read.local_time import Zone
from speedtest_logger.archive.report import report as reports
from speedtest_logger.dashboard.api.answers import Coverages, Outages
from speedtest_logger.dashboard.api.asked import (
    NAME,
    ONCE,
    Asked,
    LocationName,
    NodeName,
    check_slots,
    figures_of,
    in_turn,
)
from speedtest_logger.dashboard.guard import may

router = APIRouter(prefix="/v1", dependencies=[Depends(may("read"))], tags=["slots"])
MOST_REPORTED = 500_000  # slots
REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'; sandbox"


@router.get("/coverage", **ONCE)
def coverage(
    request: Request,
    asked: Asked,
    location: LocationName = None,
    node: NodeName = None,
    by_day: Annotated[bool, Query(description="A row for each node and day (UTC).")] = False,
) -> Coverages:
    """How many slots were measured, failed, skipped and missed: the rows of `speedtest-archive coverage --json`."""
    figures = figures_of(request)
    check_slots(figures, asked, location, node)
    rows = figures.coverage(asked.start, asked.end, location=location, node=node, by_day=by_day)
    return Coverages.model_validate({"coverage": rows})


@router.get("/outages", **ONCE)
def outages(
    request: Request,
    asked: Asked,
    location: LocationName = None,
    node: NodeName = None,
    shortest: Annotated[int, Query(ge=1, le=100_000, description="Slots in a row.")] = 1,
) -> Outages:
    """Slots in a row without a measurement, and whether the line or the node failed."""
    figures = figures_of(request)
    check_slots(figures, asked, location, None)  # neighbours are witnesses
    return Outages(figures.outages(asked.start, asked.end, location=location, node=node, shortest=shortest))


HTML: dict[int | str, dict[str, Any]] = {200: {"content": {"text/html": {"schema": {"type": "string"}}}}}


@router.get("/report", response_class=HTMLResponse, **{**ONCE, "responses": {**ONCE["responses"], **HTML}})
def report(
    request: Request,
    asked: Asked,
    location: Annotated[str, Query(pattern=NAME, description="The place whose line is reported on.")],
    zone: Annotated[str | None, Query(max_length=64, description="Default what the inventory says.")] = None,
) -> Response:
    """What a line delivered, as one HTML file to send: as `speedtest-archive report` writes it."""
    figures = figures_of(request)
    check_slots(figures, asked, location, None, MOST_REPORTED)
    archive = figures.source.archive.only(location=location)
    page = BytesIO()
    with in_turn():
        clocks = Zone.named(zone) if zone else reports.zone_of(archive, location)
        plan = reports.planned(archive, location)
        reports.write_to(archive, (asked.start, asked.end), plan, page, None, zone=clocks)
    headers = {"Content-Security-Policy": REPORT_POLICY, "ETag": request.state.etag}
    return HTMLResponse(page.getvalue(), headers=headers)
