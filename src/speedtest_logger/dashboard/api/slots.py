"""What became of the slots of a period, and the report on a line."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import HTMLResponse, Response

from speedtest_logger.dashboard.api.answers import Coverages, Outages
from speedtest_logger.dashboard.api.asked import NAME, ONCE, About, Asked, figures_of
from speedtest_logger.dashboard.guard import may
from speedtest_logger.dashboard.reported import report_of

router = APIRouter(prefix="/v1", dependencies=[Depends(may("read"))], tags=["slots"])


@router.get("/coverage", **ONCE)
def coverage(
    about: About, by_day: Annotated[bool, Query(description="A row for each node and day (UTC).")] = False
) -> Coverages:
    """How many slots were measured, failed, skipped and missed: the rows of `speedtest-archive coverage --json`."""
    about.check_slots()
    rows = about.figures.coverage(*about.within, **about.scope, by_day=by_day)
    return Coverages.model_validate({"coverage": rows})


@router.get("/outages", **ONCE)
def outages(
    about: About, shortest: Annotated[int, Query(ge=1, le=100_000, description="Slots in a row.")] = 1
) -> Outages:
    """Slots in a row without a measurement, and whether the line or the node failed."""
    about.check_slots(with_neighbours=True)  # they are witnesses
    return Outages(about.figures.outages(*about.within, **about.scope, shortest=shortest))


HTML: dict[int | str, dict[str, Any]] = {200: {"content": {"text/html": {"schema": {"type": "string"}}}}}


@router.get("/report", response_class=HTMLResponse, **{**ONCE, "responses": {**ONCE["responses"], **HTML}})
def report(
    request: Request,
    asked: Asked,
    location: Annotated[str, Query(pattern=NAME, description="The place whose line is reported on.")],
    zone: Annotated[str | None, Query(max_length=64, description="Default what the inventory says.")] = None,
) -> Response:
    """What a line delivered, as one HTML file to send: as `speedtest-archive report` writes it."""
    answer = report_of(figures_of(request), location, asked, zone)
    answer.headers["ETag"] = request.state.etag
    return answer
