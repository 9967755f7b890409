"""A record: everything that it says, and what its engine printed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fastapi import APIRouter
from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse

from speedtest_logger.dashboard import render
from speedtest_logger.dashboard.limits import in_turn
from speedtest_logger.dashboard.pages import shown
from speedtest_logger.errors import UsageError
from speedtest_logger.record import column_texts, is_id, unix_time
from speedtest_logger.text import printable

router = APIRouter()
MOST_RAW = 64_000  # bytes of raw output that a page shows
TIMES = ("scheduled_at", "started_at", "finished_at")
KINDS: dict[str, Callable[[Any], str]] = {  # by the last word of a column's name
    "bps": lambda value: f"{shown.mbit(value)} Mbit/s",
    "ms": lambda value: f"{shown.number(value)} ms",
    "pct": shown.percent,
    "bytes": shown.size,
}
STATUSES = {"ok": "measured", "partial": "partly measured", "failed": "failed", "skipped": "skipped"}


@dataclass(frozen=True)
class Field:
    """A column of a record: its name, what it means, and its value as people read it."""

    name: str
    means: str
    value: Markup | str


@dataclass(frozen=True)
class Raw:
    """Raw output as text; `left_out` is how many bytes are not shown."""

    text: str
    left_out: int


@router.get("/record/{run_id}")
def show_record(request: Request, run_id: str) -> HTMLResponse:
    """A record's page; `node` and `at` make it quick to find."""
    figures, query = request.app.state.figures, request.query_params
    node = query.get("node") or None
    allowed = "raw" in request.state.caller.scopes
    with in_turn():
        found = figures.record(run_id, node if node and is_id(node) else None, at_of(query.get("at")))
        if found is None:
            raise HTTPException(404, f"there is no record {run_id[:64]!r}: it may not have been stored yet")
        raw = raw_of(figures.raw(found)) if allowed else None
    return render.page(
        request,
        "record.html.j2",
        record=found,
        outcome=STATUSES.get(found["status"], found["status"]),
        started=moment_of(found["started_at"]),
        fields=fields_of(found),
        allowed=allowed,
        raw=raw,
    )


def at_of(text: str | None) -> float | None:
    """A hint at when a record was (Unix time, s). Raises UsageError."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 11):
        raise UsageError(f"at={text[:40]}: seconds since 1970 are expected")
    return float(text)


def moment_of(value: Any) -> float | None:
    """A time of a record as Unix time (s)."""
    if value is None:
        return None
    return value.timestamp() if isinstance(value, datetime) else unix_time(value)


def fields_of(record: dict[str, Any]) -> list[Field]:
    """All columns, in their order."""
    return [Field(name, means, value_of(name, record.get(name))) for name, means in column_texts().items()]


def value_of(name: str, value: Any) -> Markup | str:
    """A column's value as people read it; a dash where there is none."""
    if value is None or value == "":
        return shown.NOTHING
    if name in TIMES:
        return shown.moment(moment_of(value))
    if name == "reason":
        return f"{printable(value)}: {shown.why(value)}"
    kind = name.rpartition("_")[2] if not name.startswith("bytes_") else "bytes"
    return KINDS.get(kind, printable)(value)


def raw_of(content: bytes | None) -> Raw | None:
    """Raw output as text, line by line, as much of it as a page shows; what moves a cursor is not passed on."""
    if content is None:
        return None
    text = content[:MOST_RAW].decode(errors="replace")
    lines = text.replace("\r\n", "\n").replace("\t", "    ").split("\n")
    return Raw("\n".join(printable(line) for line in lines), max(0, len(content) - MOST_RAW))
