"""What questions have in common: a period, a place, and what the asker has already."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict

from fastapi import Depends, Query, Request
from starlette.requests import HTTPConnection
from starlette.responses import Response

from speedtest_logger import __version__
from speedtest_logger.dashboard import limits
from speedtest_logger.dashboard.figures import Figures
from speedtest_logger.dashboard.period import Period, period_of
from speedtest_logger.errors import UsageError
from speedtest_logger.record import ID_PATTERN

NAME = f"^(?:{ID_PATTERN.pattern})$"

Range = Literal["24h", "7d", "30d", "90d", "1y"]
EXAMPLES = ["2026-01-31", "2026-01-31T12:00:00Z"]
LocationName = Annotated[str | None, Query(pattern=NAME, description="Only this location.")]
NodeName = Annotated[str | None, Query(pattern=NAME, description="Only this node.")]


def figures_of(connection: HTTPConnection) -> Figures:
    """The application's figures."""
    found: Figures = connection.app.state.figures
    return found


async def period(
    request: Request,
    range: Annotated[  # noqa: A002  # the parameter's name is its name in the address
        Range | None, Query(description="The time up to now. Default 24h.")
    ] = None,
    start: Annotated[
        str | None,
        Query(
            max_length=40,
            examples=EXAMPLES,
            description="Instead of range: a day or a time (ISO 8601), in the dashboard's zone where it names none.",
        ),
    ] = None,
    end: Annotated[
        str | None,
        Query(
            max_length=40,
            examples=EXAMPLES,
            description="A day, which is included, or a time, which is not. Default now.",
        ),
    ] = None,
) -> Period:
    """The period that a question is about. Raises UsageError."""
    if range and start:
        raise UsageError("range and start exclude each other: give one of them")
    given = {"range": range, "start": start, "end": end}
    query = {name: text for name, text in given.items() if text is not None}
    return period_of(query, time.time(), figures_of(request).source.zone)


Asked = Annotated[Period, Depends(period)]


class Place(TypedDict):
    """Which line or node; None: all of them."""

    location: str | None
    node: str | None


@dataclass(frozen=True)
class Question:
    """About which time, and which line or node, None: all of them."""

    figures: Figures
    period: Period
    location: str | None
    node: str | None

    @property
    def within(self) -> tuple[float, float]:
        """Start and end (Unix times, s)."""
        return self.period.start, self.period.end

    @property
    def scope(self) -> Place:
        """The line and the node, as figures are asked for them."""
        return {"location": self.location, "node": self.node}

    def check_slots(self, *, with_neighbours: bool = False) -> None:
        """Raise UsageError where it is about too many slots, those of the line's other nodes included perhaps."""
        limits.check_slots(self.figures, self.period, self.location, None if with_neighbours else self.node)

    def check_named(self) -> None:
        """Raise UsageError where it is about all lines."""
        if self.location is None and self.node is None:
            raise UsageError("name a location or a node")


async def question(request: Request, asked: Asked, location: LocationName = None, node: NodeName = None) -> Question:
    """What is asked."""
    return Question(figures_of(request), asked, location, node)


About = Annotated[Question, Depends(question)]


class NotModified(Exception):  # noqa: N818  # it is no error
    """The asker has the answer already."""


def fresh(request: Request, response: Response) -> None:
    """Give the answer its ETag. Raises NotModified where the asker knows it."""
    check_etag(request, response, figures_of(request).etag())


def check_etag(request: Request, response: Response, version: str) -> None:
    """Give the answer its ETag by what it is made from. Raises NotModified where the asker knows it."""
    request.state.etag = etag = f'W/"{__version__}-{version}"'
    known = request.headers.get("if-none-match", "")
    if etag in (each.strip() for each in known.split(",")):
        raise NotModified(etag)
    response.headers["ETag"] = etag


def not_modified(_: HTTPConnection, error: Exception) -> Response:
    """The answer to who has it already."""
    return Response(status_code=304, headers={"ETag": str(error)})


ONCE: dict[str, Any] = {  # of a router whose answers change only with the archive, and each minute
    "dependencies": [Depends(fresh)],
    "responses": {304: {"description": "The same as what If-None-Match names."}},
}
