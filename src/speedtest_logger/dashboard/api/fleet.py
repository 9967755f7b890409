"""Nodes, locations, and the system itself."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Annotated

import duckdb
from fastapi import APIRouter, Depends, Path, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from speedtest_logger import __version__
from speedtest_logger.dashboard.api.answers import Location, Locations, Nodes, Probe, Seen, Status
from speedtest_logger.dashboard.api.asked import NAME, ONCE, figures_of
from speedtest_logger.dashboard.figures import Node
from speedtest_logger.dashboard.guard import may
from speedtest_logger.errors import SpeedtestError
from speedtest_logger.record import utc_text

router = APIRouter(dependencies=[Depends(may("read"))], tags=["fleet"])
Name = Annotated[str, Path(pattern=NAME)]


@router.get("/v1/nodes", **ONCE)
def nodes(request: Request) -> Nodes:
    """All nodes: when each was heard of, what it measured last, and when it measures next."""
    return Nodes(figures_of(request).nodes())


@router.get("/v1/nodes/{node}", **ONCE)
def node(request: Request, node: Name) -> Node:
    """A node."""
    try:
        return figures_of(request).node(node)
    except KeyError as error:
        raise HTTPException(404, f"there is no node '{node}'") from error


@router.get("/v1/locations", **ONCE)
def locations(request: Request) -> Locations:
    """All locations: how each line stands, its plan, and its last 24 hours."""
    now = figures_of(request).now()
    return Locations(now.sentence, [Location.of(line) for line in now.lines])


@router.get("/v1/locations/{location}", **ONCE)
def location(request: Request, location: Name) -> Location:
    """A location."""
    try:
        return Location.of(figures_of(request).line(location))
    except KeyError as error:
        raise HTTPException(404, f"there is no location '{location}'") from error


@router.get("/status")
def status(request: Request, response: Response) -> Status:
    """How the archive itself is: every part of it, and when each node was heard of."""
    response.headers["Cache-Control"] = "no-store"
    figures = figures_of(request)
    parts = figures.system()
    queue = next((part.figures.get("deliveries", 0) for part in parts if part.name == "inbox"), 0)
    seen: list[Seen] = []
    with suppress(SpeedtestError, OSError, duckdb.Error):  # the parts say what is wrong
        seen = [seen_of(node) for node in figures.nodes()]
    probes: list[Probe] = []
    with suppress(OSError):
        probes = [Probe(each.probe, each.nodes, utc_text(each.last), each.health) for each in figures.probes_heard()]
    return Status(all(part.ok for part in parts), utc_text(time.time()), __version__, queue, parts, seen, probes)


def seen_of(node: Node) -> Seen:
    """What a node said of itself."""
    last = utc_text(node.last_seen) if node.last_seen else None
    return Seen(node.name, node.location, last, node.version, node.outbox)
