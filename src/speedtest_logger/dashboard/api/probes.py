"""Results of nodes' probes, as nodes deliver them behind their records."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import JSONResponse, Response

from speedtest_logger.archive.read import probes, render
from speedtest_logger.dashboard.api.answers import Results
from speedtest_logger.dashboard.api.asked import About
from speedtest_logger.dashboard.api.records import PAGE, TYPES, Form, form
from speedtest_logger.dashboard.guard import may
from speedtest_logger.dashboard.limits import in_turn
from speedtest_logger.probe_result import MOST_TARGET, NAME_PATTERN

router = APIRouter(prefix="/v1/probes", dependencies=[Depends(may("read"))], tags=["probes"])
MOST_RESULTS = 10_000
ANSWER: dict[str, Any] = {"response_model": Results, "responses": {200: PAGE}}


async def selection(
    about: About,
    probe: Annotated[
        str | None, Query(pattern=f"^(?:{NAME_PATTERN.pattern})$", description="Only this probe, such as ping.")
    ] = None,
    target: Annotated[str | None, Query(max_length=MOST_TARGET, description="Only this target.")] = None,
) -> probes.Wanted:
    """Which results are asked for."""
    nodes = None if about.node is None else frozenset((about.node,))
    return probes.Wanted(*about.within, nodes, about.location, probe, target)


@router.get("", **ANSWER)
def show_probes(
    request: Request,
    selected: Annotated[probes.Wanted, Depends(selection)],
    wanted: Annotated[Form, Depends(form)],
    cursor: Annotated[str | None, Query(max_length=600, description="`next` of the answer before.")] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_RESULTS)] = 500,
) -> Response:
    """Results of a period, the newest last; `next` is the cursor for those before them."""
    with in_turn():
        found = request.app.state.figures.probe_results(selected, limit, cursor)
    headers = {"Cache-Control": "no-store", "Vary": "Accept"}
    if found.before:
        kept = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
        headers["Link"] = f'<{request.url.path}?{urlencode([*kept, ("cursor", found.before)])}>; rel="next"'
    if wanted == "json":
        content = {"results": list(render.objects(found.rows)), "next": found.before, "unreadable": found.unreadable}
        return JSONResponse(content, headers=headers)
    headers["Content-Disposition"] = f'attachment; filename="probes.{wanted}"'
    return Response(b"".join(render.encoded(found.rows, wanted)), headers=headers, media_type=TYPES[wanted])
