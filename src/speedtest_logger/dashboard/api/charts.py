"""Columns for charts."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request

from speedtest_logger.archive.read.rollup import VALUES
from speedtest_logger.dashboard.api.answers import AllCells
from speedtest_logger.dashboard.api.asked import (
    ONCE,
    Asked,
    LocationName,
    NodeName,
    check_slots,
    figures_of,
    in_turn,
)
from speedtest_logger.dashboard.figures import Grain, Series, Week
from speedtest_logger.dashboard.figures import series as of_series
from speedtest_logger.dashboard.guard import may
from speedtest_logger.errors import UsageError

router = APIRouter(prefix="/v1", dependencies=[Depends(may("read"))], tags=["charts"])
MOST_HOURS = 366 * 86_400
Value = Literal["download", "upload", "latency", "jitter", "download_latency", "upload_latency", "loss"]


@router.get("/series", **ONCE)
def series(
    request: Request,
    asked: Asked,
    location: LocationName = None,
    node: NodeName = None,
    grain: Annotated[Grain | None, Query(description="Default so fine that there are 2,000 points at most.")] = None,
    values: Annotated[list[Value] | None, Query(max_length=20, description="Default all.")] = None,
) -> Series:
    """A line's or node's columns: each test, or the 10th percentile, median and 90th of each hour or day."""
    _check(location, node)
    if grain not in (None, "day") and asked.end - asked.start > MOST_HOURS:
        raise UsageError("single tests and hours are given for a year at most: ask for grain=day")
    figures = figures_of(request)
    tests = (grain or of_series.grain_of(asked.end - asked.start)) == "test"
    with in_turn(needed=tests and asked.start < figures.source.oldest_recent()):
        return figures.series(
            asked.start, asked.end, location=location, node=node, grain=grain, values=tuple(values or VALUES)
        )


@router.get("/cells", **ONCE)
def cells(request: Request, asked: Asked, location: LocationName = None, node: NodeName = None) -> AllCells:
    """What became of each node's slots: each of them, or the worst one of each hour or day."""
    figures = figures_of(request)
    check_slots(figures, asked, location, node)
    return AllCells(figures.cells(asked.start, asked.end, location=location, node=node))


@router.get("/week", **ONCE)
def week(
    request: Request,
    asked: Asked,
    location: LocationName = None,
    node: NodeName = None,
    zone: Annotated[str | None, Query(max_length=64, examples=["Europe/Berlin"])] = None,
) -> Week:
    """The median download of each hour of the week, on a time zone's clocks."""
    _check(location, node)
    return figures_of(request).week(asked.start, asked.end, location=location, node=node, zone=zone)


def _check(location: str | None, node: str | None) -> None:
    if location is None and node is None:
        raise UsageError("name a location or a node")
