"""Records themselves, in the form that the asker wants."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal
from urllib.parse import urlencode
from uuid import UUID

import pyarrow as pa
from fastapi import APIRouter, Depends, Query, Request
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from speedtest_logger.archive.format.schema import BATCH_SCHEMA
from speedtest_logger.archive.read import render
from speedtest_logger.dashboard.api.answers import Record, Records
from speedtest_logger.dashboard.api.asked import NAME, ONCE, About, figures_of
from speedtest_logger.dashboard.figures import Wanted
from speedtest_logger.dashboard.figures.records import MOST_ROWS
from speedtest_logger.dashboard.guard import may
from speedtest_logger.dashboard.limits import in_turn
from speedtest_logger.dashboard.period import FIRST, LAST
from speedtest_logger.record import COLUMNS
from speedtest_logger.text import plain

router = APIRouter(prefix="/v1/records", dependencies=[Depends(may("read"))], tags=["records"])
TYPES = {"json": "application/json", "csv": "text/csv", "parquet": "application/vnd.apache.parquet"}
SCHEMA = pa.schema([field for field in BATCH_SCHEMA if field.name in COLUMNS])
BYTES = {"schema": {"type": "string", "format": "binary"}}

Form = Literal["json", "csv", "parquet"]
Status = Literal["ok", "partial", "failed", "skipped"]
Hint = Annotated[str | None, Query(pattern=NAME, description="The record's node: it is found sooner.")]
Near = Annotated[float | None, Query(ge=FIRST, le=LAST, description="Its slot or start (Unix time, s): as `node`.")]


async def form(
    request: Request,
    format: Annotated[  # noqa: A002  # the parameter's name is its name in the address
        Form | None, Query(description="Instead of the header Accept.")
    ] = None,
) -> Form:
    """The form that is asked for. Raises HTTPException 406 where there is none that the asker takes."""
    if format:
        return format
    for wanted in preferred(request.headers.get("accept", "")):
        for name, media in TYPES.items():
            if wanted in ("*/*", media, f"{media.partition('/')[0]}/*"):
                return name  # type: ignore[return-value]  # they are the same names
    raise HTTPException(406, f"there is {', '.join(TYPES.values())}")


def preferred(accept: str) -> Iterator[str]:
    """The types of a header Accept, the one first that is wanted most."""
    found = []
    for each in (accept or "*/*").lower().split(","):
        media, _, rest = each.strip().partition(";")
        quality = 1.0
        for parameter in rest.split(";"):
            name, _, value = parameter.strip().partition("=")
            if name == "q":
                try:
                    quality = float(value)
                except ValueError:
                    quality = 0.0
        found.append((quality, media.strip()))
    found.sort(key=lambda entry: -entry[0])
    return (media for quality, media in found if quality > 0)


PAGE: dict[str, Any] = {
    "content": {TYPES["csv"]: {"schema": {"type": "string"}}, TYPES["parquet"]: BYTES},
    "headers": {
        "Link": {"description": "The next page, rel=next; none after the last one.", "schema": {"type": "string"}}
    },
}


async def selection(
    about: About,
    status: Status | None = None,
    cursor: Annotated[str | None, Query(max_length=400, description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = 500,
) -> Wanted:
    """Which records are asked for."""
    return Wanted(*about.within, about.location, about.node, status, cursor, limit)


@router.get("", response_model=Records, **{**ONCE, "responses": {**ONCE["responses"], 200: PAGE}})
def records(
    request: Request, selected: Annotated[Wanted, Depends(selection)], wanted: Annotated[Form, Depends(form)]
) -> Response:
    """Records of a period, newest first, a page at a time."""
    figures = figures_of(request)
    with in_turn(needed=selected.start < figures.source.oldest_recent()):
        rows, following = figures.records(selected)
    headers = {"ETag": request.state.etag, "Vary": "Accept"}
    if following:
        kept = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
        headers["Link"] = f'<{request.url.path}?{urlencode([*kept, ("cursor", following)])}>; rel="next"'
    if wanted == "json":
        return JSONResponse({"records": list(render.objects(rows)), "next": following}, headers=headers)
    headers["Content-Disposition"] = f'attachment; filename="records.{wanted}"'
    content = b"".join(render.encoded(rows.select(SCHEMA.names).cast(SCHEMA), wanted))
    return Response(content, headers=headers, media_type=TYPES[wanted])


def as_json(row: dict[str, Any]) -> dict[str, Any]:
    """A record as JSON knows it."""
    return {name: plain(row.get(name)) for name in COLUMNS}


def found(request: Request, run_id: UUID, node: str | None, at: float | None) -> dict[str, Any]:
    """A record. Raises HTTPException 404."""
    row = figures_of(request).record(str(run_id), node, at)
    if row is None:
        raise HTTPException(404, f"there is no record of run {run_id}")
    return row


@router.get("/{run_id}", response_model=Record, **ONCE)
def record(request: Request, run_id: UUID, node: Hint = None, at: Near = None) -> Response:
    """One record."""
    with in_turn():
        row = found(request, run_id, node, at)
    return JSONResponse(as_json(row), headers={"ETag": request.state.etag})


RAW: dict[str, Any] = {
    "response_class": Response,
    "responses": {200: {"content": {"application/octet-stream": BYTES}}},
}


@router.get("/{run_id}/raw", dependencies=[Depends(may("raw"))], **RAW)
def raw(request: Request, run_id: UUID, node: Hint = None, at: Near = None) -> Response:
    """What the engine printed, byte by byte."""
    with in_turn():
        content = figures_of(request).raw(found(request, run_id, node, at))
    if content is None:
        raise HTTPException(404, f"the raw output of run {run_id} was not kept")
    headers = {"Content-Disposition": f'attachment; filename="{run_id}.txt"'}
    return Response(content, headers=headers, media_type="application/octet-stream")
