"""Annotations, the notes on lines that pages show: all that the API writes, into the dashboard's own folder."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from speedtest_logger.dashboard.api.answers import Annotations
from speedtest_logger.dashboard.api.asked import EXAMPLES, NAME, Asked, LocationName, figures_of
from speedtest_logger.dashboard.guard import may
from speedtest_logger.dashboard.notes import LONGEST_TEXT, Note, Notes, check_time
from speedtest_logger.dashboard.period import moment_of

router = APIRouter(prefix="/v1/annotations", tags=["annotations"])
MOST_SIGNS = 4 * LONGEST_TEXT  # of a text with spaces and line ends that are left out


class Written(BaseModel):
    """An annotation that is to be written."""

    model_config = ConfigDict(extra="forbid")

    location: Annotated[str, Field(pattern=NAME, description="The line that it is about.")]
    text: Annotated[str, Field(max_length=MOST_SIGNS, description=f"Plain text, at most {LONGEST_TEXT} characters.")]
    at: Annotated[
        str | None,
        Field(max_length=40, examples=EXAMPLES, description="The time that it is about, as `start`. Default now."),
    ] = None


def notes_of(request: Request) -> Notes:
    """The application's notes."""
    found: Notes = request.app.state.notes
    return found


@router.get("", dependencies=[Depends(may("read"))])
def show_annotations(request: Request, response: Response, asked: Asked, location: LocationName = None) -> Annotations:
    """Annotations of a period, of all time where none is given; the oldest first."""
    response.headers["Cache-Control"] = "no-store"
    within = (asked.start, asked.end) if {"range", "start"} & set(request.query_params) else (None, None)
    return Annotations(notes_of(request).of(location, *within))


@router.post("", status_code=201, dependencies=[Depends(may("annotate"))])
def annotate(request: Request, written: Written) -> Note:
    """Write an annotation; pages show it on the line, and in its charts."""
    figures, now, who = figures_of(request), time.time(), request.state.caller.name
    at = moment_of(written.at, figures.source.zone) if written.at else now
    check_time(at, now)
    try:
        line = figures.line(written.location)
    except KeyError as error:
        raise HTTPException(404, f"there is no location '{written.location}'") from error
    note = notes_of(request).add(line.location, at, written.text, who, now)
    request.app.state.log.event("info", "note_written", location=note.location, id=note.id, user=who)
    return note


@router.delete("/{identity}", status_code=204, dependencies=[Depends(may("annotate"))])
def delete_annotation(request: Request, identity: Annotated[str, Path(pattern="^[0-9a-f]{16}$")]) -> None:
    """Delete an annotation that the same user or key has written."""
    who = request.state.caller.name
    note = next((note for note in notes_of(request).of(None) if note.id == identity), None)
    if note is not None and note.who != who:
        raise HTTPException(403, "somebody else has written this: its line's page can delete it")
    if note is None or not notes_of(request).delete(note.location, identity):
        raise HTTPException(404, "there is no such annotation: it may have been deleted already")
    request.app.state.log.event("info", "note_deleted", location=note.location, id=identity, user=who)
