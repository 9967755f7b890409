"""Notes on a line: written and deleted by forms of its page."""

from __future__ import annotations

import time

from fastapi import APIRouter, Depends
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse

from speedtest_logger.archive.read.local_time import Zone
from speedtest_logger.dashboard.guard import may
from speedtest_logger.dashboard.login import form_of
from speedtest_logger.dashboard.notes import check_time
from speedtest_logger.dashboard.pages.line import line_of
from speedtest_logger.dashboard.pages.shown import part
from speedtest_logger.dashboard.period import moment_of

router = APIRouter(dependencies=[Depends(may("annotate"))])


@router.post("/line/{location}/notes")
async def add_note(request: Request, location: str) -> RedirectResponse:
    """Write a note, about now where the form gives no time."""
    said, now, state = await form_of(request), time.time(), request.app.state
    line = await run_in_threadpool(line_of, state.figures, location)
    when = said.get("at", "").strip()
    at = moment_of(when, Zone.named(state.settings.time_zone)) if when else now
    check_time(at, now)
    who = request.state.caller.name
    note = await run_in_threadpool(state.notes.add, line.location, at, said.get("text", ""), who, now)
    state.log.event("info", "note_written", location=location, id=note.id, user=who)
    return back(location)


@router.post("/line/{location}/notes/{identity}/delete")
async def delete_note(request: Request, location: str, identity: str) -> RedirectResponse:
    """Delete a note."""
    state = request.app.state
    if not await run_in_threadpool(state.notes.delete, location, identity):
        raise HTTPException(404, "there is no such note: it may have been deleted already")
    state.log.event("info", "note_deleted", location=location, id=identity, user=request.state.caller.name)
    return back(location)


def back(location: str) -> RedirectResponse:
    """To the line's notes."""
    return RedirectResponse(f"/line/{part(location)}#notes", 303)
