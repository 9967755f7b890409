"""Columns for charts, cells of slots, and the hours of the week."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from speedtest_logger.archive.read import slots
from speedtest_logger.archive.read.coverage import OUTCOMES
from speedtest_logger.archive.read.dataset import literal
from speedtest_logger.archive.read.local_time import Zone
from speedtest_logger.archive.read.rollup import STATUSES, VALUES
from speedtest_logger.dashboard.figures.source import Source
from speedtest_logger.dashboard.figures.standing import RANK, WORST
from speedtest_logger.dashboard.figures.types import Cells, Grain, Series, Week
from speedtest_logger.record import run_id_of_slot, utc_text

DAY, HOUR = 86_400, 3600
MOST_POINTS = 2_000
LONGEST: dict[Grain, int] = {"test": 2 * DAY, "hour": 70 * DAY}  # that are drawn so
CELLS_LONGEST: dict[Grain, int] = {"test": 2 * DAY, "hour": 31 * DAY}


def grain_of(seconds: float, longest: dict[Grain, int] = LONGEST) -> Grain:
    """In which parts a period is drawn."""
    return next((grain for grain, most in longest.items() if seconds <= most), "day")


def series(
    source: Source, period: tuple[float, float], scope: tuple[str | None, str | None], grain: Grain, names: list[str]
) -> Series:
    """A location's or node's columns of a period; `scope` is location and node."""
    found = tests(source, period, scope, names) if grain == "test" else None
    if found and len(found.at) > MOST_POINTS:
        found, grain = None, "hour"
    return found or bands(source, period, scope, grain, names)


def tests(
    source: Source, period: tuple[float, float], scope: tuple[str | None, str | None], names: list[str]
) -> Series:
    """Each test by itself, oldest first; of more than MOST_POINTS some, one more than these."""
    columns = ", ".join(f"{VALUES[name]} AS {name}" for name in names)
    sql = f"""SELECT epoch_ms(started_at) AS moment, status, {columns} FROM {{}}
              WHERE started_at >= {{}} AND started_at < {{}} LIMIT {MOST_POINTS + 1}"""
    start, end = period
    location, node = scope
    if start >= source.oldest_recent():
        narrowed, given = source.where(location, node)
        sql = sql.format("recent", "to_timestamp($start)", f"to_timestamp($end) {narrowed}")
        rows = source.rollups.ask(sql, {**given, "start": start, "end": end})
    else:
        archive = source.archive.only(node, location, start, end)
        rows = archive.query(sql.format("records", f"to_timestamp({start})", f"to_timestamp({end})"))
    rows = rows.sort_by("moment")  # by DuckDB it takes three times as long
    values = {name: _listed(rows[name]) for name in names}
    statuses = rows["status"].to_pylist()
    failed = [int(status == "failed") for status in statuses]
    moments = (rows["moment"].to_numpy() // 1000).tolist()
    return Series("test", moments, values, statuses, [1] * rows.num_rows, failed)


def bands(
    source: Source, period: tuple[float, float], scope: tuple[str | None, str | None], grain: Grain, names: list[str]
) -> Series:
    """The 10th percentile, median and 90th percentile of each hour or day, those without tests as gaps."""
    starts = beginnings(source.zone, period, grain)
    columns = [f"{name}{end}" for name in names for end in ("_low", "", "_high")]
    narrowed, given = source.of_rollup(*scope)
    # columns by name would take a fifth longer
    sql = f"SELECT * FROM {grain} WHERE start >= $first AND start <= $last {narrowed}"
    rows = source.rollups.ask(sql, {**given, "first": int(starts[0]), "last": int(starts[-1])})
    tests = np.sum([rows[name].to_numpy() for name in STATUSES], axis=0)
    rows, gaps = _spread(rows.append_column("tests", pa.array(tests)), starts)
    ends = np.append(starts[1:], starts[-1] + (HOUR if grain == "hour" else DAY))
    return Series(
        grain,
        ((starts + ends) // 2).tolist(),
        {name: _listed(rows[name], gaps) for name in columns},
        [],
        *(_listed(rows[name].fill_null(0), gaps, 0) for name in ("tests", "failed")),
    )


Gaps = tuple[int, int]  # how many beginnings there are before the first row and after the last one


def _spread(rows: pa.Table, starts: np.ndarray[Any, Any]) -> tuple[pa.Table, Gaps]:
    """A row for each beginning: the one that starts there (of several the last location's), or nulls."""
    places = np.searchsorted(starts, rows["start"].to_numpy())
    if len(places) and (np.diff(places) == 1).all():
        return rows, (int(places[0]), len(starts) - int(places[-1]) - 1)
    if len(np.unique(places)) < len(places):
        rows = rows.sort_by("location")
        places = np.searchsorted(starts, rows["start"].to_numpy())
    numbers = np.full(len(starts), -1)
    numbers[places] = np.arange(len(places))
    return rows.take(pa.array(numbers, mask=numbers < 0)), (0, 0)


def _listed(column: pa.ChunkedArray, gaps: Gaps = (0, 0), empty: int | None = None) -> list[Any]:
    """A column of numbers as to_pylist has it, in a quarter of its time, with gaps."""
    before, after = gaps
    values = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    found: list[Any] = (values.fill_null(0) if values.null_count else values).to_numpy(zero_copy_only=False).tolist()
    if values.null_count:
        for place in np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False)).tolist():
            found[place] = None
    return [empty] * before + found + [empty] * after if before or after else found


def beginnings(zone: Zone, period: tuple[float, float], grain: Grain) -> np.ndarray[Any, Any]:
    """The beginnings (Unix time, s) of the hours (UTC) or of the zone's days that a period touches."""
    start, end = period
    if grain == "hour":
        return np.arange(int(start) // HOUR * HOUR, max(int(np.ceil(end)), int(start) + 1), HOUR)
    first, last = zone.part(start, "day"), zone.part(max(end - 1, start), "day")
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    return np.array([_moment(zone, day) for day in days], "i8")


def _moment(zone: Zone, shown: datetime) -> int:
    return int(shown.replace(tzinfo=zone.rules).timestamp())


def cells(source: Source, period: tuple[float, float], scope: dict[str, str | None], now: float) -> list[Cells]:
    """Each node's slots of a period as cells."""
    start, end = period
    grain = grain_of(end - start, CELLS_LONGEST)
    strips = source.strips(start, end, now, **scope)
    if grain == "test":
        return [_each(strip) for strip in strips]
    starts = beginnings(source.zone, period, grain)
    return [_merged(strip, starts, grain) for strip in strips]


def _each(strip: slots.Strip) -> Cells:
    at, outcomes = strip.at.tolist(), [OUTCOMES[status] for status in strip.status.tolist()]
    runs = [
        None if outcome in ("missed", "pending") else run_id_of_slot(strip.node, utc_text(moment))
        for moment, outcome in zip(at, outcomes, strict=True)
    ]
    reasons = strip.reasons_at(np.arange(len(at)))
    return Cells(strip.node, "test", at, outcomes, reasons, [1] * len(at), runs)


def _merged(strip: slots.Strip, starts: np.ndarray[Any, Any], grain: Grain) -> Cells:
    """A cell for each part that has slots, with the worst of them."""
    bounds = np.append(np.searchsorted(strip.at, starts), len(strip.at))
    counts = np.diff(bounds)
    there = np.flatnonzero(counts)
    ranks = RANK[strip.status]
    worst = np.minimum.reduceat(ranks, bounds[there]) if len(there) else there
    outcomes = [WORST[rank] for rank in worst.tolist()]
    firsts = _firsts(ranks == np.repeat(worst, counts[there]), bounds[there])
    reasons = [
        None if outcome in ("ok", "partial", "pending") else reason
        for outcome, reason in zip(outcomes, strip.reasons_at(firsts), strict=True)
    ]
    return Cells(
        strip.node, grain, starts[there].tolist(), outcomes, reasons, counts[there].tolist(), [None] * len(there)
    )


def _firsts(which: np.ndarray[Any, Any], begins: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Of each part the first place of some."""
    places = np.flatnonzero(which)
    found: np.ndarray[Any, Any] = places[np.searchsorted(places, begins)]
    return found


def week(source: Source, period: tuple[float, float], scope: tuple[str | None, str | None], zone: Zone) -> Week:
    """The median of the hours' medians by hour of the week."""
    narrowed, given = source.of_rollup(*scope)
    clock = f"timezone({literal(zone.name)}, to_timestamp(start))"
    rows = source.rollups.rows(
        f"""SELECT isodow({clock}) - 1 AS weekday, hour({clock}) AS hour, quantile_cont(download, 0.5) AS middle,
                   sum(download_tests)::BIGINT AS tests
            FROM hour WHERE start >= $start AND start < $end {narrowed} GROUP BY 1, 2""",
        {**given, "start": period[0] // HOUR * HOUR, "end": period[1]},
    )
    found = Week(zone.name, [[None] * 24 for _ in range(7)], [[0] * 24 for _ in range(7)])
    for row in rows:
        found.values[row["weekday"]][row["hour"]] = row["middle"]
        found.tests[row["weekday"]][row["hour"]] = row["tests"]
    return found
