"""Columns for charts."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query

from speedtest_logger.archive.read.rollup import VALUES
from speedtest_logger.dashboard.api.answers import AllCells
from speedtest_logger.dashboard.api.asked import ONCE, About
from speedtest_logger.dashboard.figures import Grain, Series, Week
from speedtest_logger.dashboard.figures import series as of_series
from speedtest_logger.dashboard.guard import may
from speedtest_logger.dashboard.limits import in_turn
from speedtest_logger.errors import UsageError

router = APIRouter(prefix="/v1", dependencies=[Depends(may("read"))], tags=["charts"])
MOST_HOURS = 366 * 86_400
Value = Literal["download", "upload", "latency", "jitter", "download_latency", "upload_latency", "loss"]


@router.get("/series", **ONCE)
def series(
    about: About,
    grain: Annotated[Grain | None, Query(description="Default so fine that there are 2,000 points at most.")] = None,
    values: Annotated[list[Value] | None, Query(max_length=20, description="Default all.")] = None,
) -> Series:
    """A line's or node's columns: each test, or the 10th percentile, median and 90th of each hour or day."""
    about.check_named()
    start, end = about.within
    if grain not in (None, "day") and end - start > MOST_HOURS:
        raise UsageError("single tests and hours are given for a year at most: ask for grain=day")
    tests = (grain or of_series.grain_of(end - start)) == "test"
    with in_turn(needed=tests and start < about.figures.source.oldest_recent()):
        return about.figures.series(start, end, **about.scope, grain=grain, values=tuple(values or VALUES))


@router.get("/cells", **ONCE)
def cells(about: About) -> AllCells:
    """What became of each node's slots: each of them, or the worst one of each hour or day."""
    about.check_slots()
    return AllCells(about.figures.cells(*about.within, **about.scope))


@router.get("/week", **ONCE)
def week(about: About, zone: Annotated[str | None, Query(max_length=64, examples=["Europe/Berlin"])] = None) -> Week:
    """The median download of each hour of the week, on a time zone's clocks."""
    about.check_named()
    return about.figures.week(*about.within, **about.scope, zone=zone)
