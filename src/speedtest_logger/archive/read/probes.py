"""Questions about results of probes: `speedtest-archive probes`, a line's page, the API, and messages of alerts.

A period's files are read day by day, and of each only the row groups and columns that are needed. Values of several
results are the middle of theirs: `median` of their medians, `p90` of their 90th percentiles.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from speedtest_logger.archive.format import parquet
from speedtest_logger.archive.format.layout import Layout, day_of
from speedtest_logger.archive.format.schema import PROBE_SCHEMA, check_version, milliseconds
from speedtest_logger.archive.read import by_day
from speedtest_logger.archive.read.by_day import moment
from speedtest_logger.archive.read.local_time import Zone
from speedtest_logger.errors import DamagedFileError, StorageError, UsageError
from speedtest_logger.record import unix_time, utc_text

Grain = Literal["result", "hour", "day"]
ORDER = ("started_at", "node", "probe", "target")
NAMES = ("node", "probe", "target")
TEXTS = [field.name for field in PROBE_SCHEMA if field.type == pa.string()]
OF_SERIES = ("started_at", "finished_at", *NAMES, "sent", "lost", "median_ms", "p90_ms", "max_ms")
OF_SPANS = ("failed_from", "failed_until", "reason")
NO_RESULTS_YET = (
    "no results of probes came in yet: nodes run them where speedtest_logger_probes names some, such as [ping, dns]"
)
HOUR, DAY = 3_600, 86_400
HEARD_SECONDS = 2 * DAY  # in which a probe was heard of lately
SILENT_SECONDS = 3_600
ON_FAILURE = "traceroute"  # runs only where something fails
BROKEN = ("program_missing", "program_failed")
SAME_SECONDS = 1.0  # two times that are nearer are one
GAP_SECONDS = 900  # between two results that follow each other, at most
LONGEST: dict[Grain, int] = {"result": 2 * DAY, "hour": 31 * DAY}  # that are shown so
UNITS = {"hour": "h", "day": "D"}
Integers = np.ndarray[Any, np.dtype[np.int64]]
Numbers = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Wanted:
    """Which results: begun in a period (Unix times, s), of nodes (None: all), a location, a probe, a target."""

    start: float
    end: float
    nodes: frozenset[str] | None = None
    location: str | None = None
    probe: str | None = None
    target: str | None = None


@dataclass(frozen=True)
class Found:
    """Results with columns of PROBE_SCHEMA, in ORDER; days that are unreadable; the cursor for older ones."""

    rows: pa.Table
    unreadable: list[str]
    before: str | None = None


Read = Callable[[Path, Wanted, list[str]], list[pa.Table]]


@dataclass(frozen=True)
class Curve:
    """A target's values over time, all of one length: `at` is the beginning of each part (Unix time, s).

    Delays are in ms, `loss` in percent; None is what was not measured.
    """

    node: str
    probe: str
    target: str
    at: list[int]
    median: list[float | None]
    p90: list[float | None]
    loss: list[float | None]


@dataclass(frozen=True)
class Summary:
    """A target in a period: delays in ms, `loss` in percent, how often and how long (s) it failed altogether."""

    node: str
    probe: str
    target: str
    results: int
    loss: float | None
    median: float | None
    p90: float | None
    worst: float | None
    failed: int
    failed_seconds: float
    last: float


@dataclass(frozen=True)
class Span:
    """From when to when (Unix times, s) a target did not answer at all, and why at the last."""

    node: str
    probe: str
    target: str
    start: float
    until: float
    reason: str | None


@dataclass(frozen=True)
class Heard:
    """A probe that was heard of lately: of how many nodes, when last (Unix time, s), and how it is.

    `silent` counts nodes without a result for SILENT_SECONDS, `broken` those where its program is missing or fails.
    """

    probe: str
    nodes: int
    last: int
    silent: int
    broken: int

    @property
    def health(self) -> str:
        """In words."""
        counts = (("silent on", self.silent), ("its program does not work on", self.broken))
        said = [f"{words} {count} {'node' if count == 1 else 'nodes'}" for words, count in counts if count]
        return "; ".join(said) or "well"


def results(
    layout: Layout, wanted: Wanted, columns: Sequence[str] = tuple(PROBE_SCHEMA.names), read: Read | None = None
) -> Found:
    """All results that are wanted; `read` is another way than `of_day` to a day's."""
    names = list(dict.fromkeys((*columns, *ORDER)))
    tables, unreadable = [_none(names)], []
    for file in layout.probe_files(utc_text(max(0.0, wanted.start))[:10], utc_text(max(0.0, wanted.end))[:10]):
        try:
            tables += (read or of_day)(file, wanted, names)
        except (DamagedFileError, StorageError, FileNotFoundError):  # or it is removed just now
            unreadable.append(day_of(file))
    rows = pa.concat_tables(tables).combine_chunks()
    return Found(rows.sort_by([(name, "ascending") for name in ORDER]), unreadable)


def page(layout: Layout, wanted: Wanted, limit: int, before: str | None = None) -> Found:
    """The newest results that are wanted, `limit` at most, or those before an answer's cursor. Raises UsageError."""
    place = _place_of(before) if before else None
    kept, unreadable = PROBE_SCHEMA.empty_table(), []
    first, last = (utc_text(max(0.0, at))[:10] for at in (wanted.start, wanted.end))
    for file in reversed(layout.probe_files(first, min(last, f"{place[0].as_py():%Y-%m-%d}") if place else last)):
        try:
            found = [kept, *of_day(file, wanted, PROBE_SCHEMA.names, place)]
        except (DamagedFileError, StorageError, FileNotFoundError):
            unreadable.append(day_of(file))
            continue
        kept = pa.concat_tables(found).sort_by([(name, "ascending") for name in ORDER])
        kept = kept.slice(max(0, kept.num_rows - limit - 1))
        if kept.num_rows > limit:
            return Found(kept.slice(1), unreadable, _cursor(kept.slice(1, 1)))
    return Found(kept, unreadable)


def _none(names: list[str]) -> pa.Table:
    return pa.schema([PROBE_SCHEMA.field(name) for name in names]).empty_table()


def of_day(file: Path, wanted: Wanted, names: list[str], place: Sequence[Any] | None = None) -> list[pa.Table]:
    """A day's results that are wanted, with these columns, before a place. Raises DamagedFileError, StorageError."""
    source = parquet.ParquetFile(file, TEXTS)  # most rows are of others, and their texts are not wanted
    check_version(source.schema_arrow.metadata, file)
    given = {"location": wanted.location, "probe": wanted.probe, "target": wanted.target}
    wants = {name: frozenset((value,)) for name, value in given.items() if value is not None}
    if wanted.nodes is not None:
        wants["node"] = wanted.nodes
    needed = list(dict.fromkeys((*names, *wants)))
    found = []
    for group in range(source.num_row_groups):
        if all(by_day.may_have_any(source, group, name, values) for name, values in wants.items()):
            with parquet.reading(file):
                rows = source.read_row_group(group, needed, use_threads=False).select(needed)
                mine = rows.filter(_mask(rows, wanted, wants, place)).select(names)
                found.append(mine.cast(pa.schema([PROBE_SCHEMA.field(name) for name in names])))
    return found


def _mask(
    rows: pa.Table, wanted: Wanted, wants: dict[str, frozenset[str]], place: Sequence[Any] | None
) -> pa.ChunkedArray:
    found = within(rows, wanted.start, wanted.end)
    for name, values in wants.items():
        found = pc.and_(found, pc.is_in(rows[name], pa.array(sorted(values), pa.string())))
    return pc.and_(found, by_day.before(rows, ORDER, place)) if place else found


def within(rows: pa.Table, start: float, end: float) -> pa.ChunkedArray:
    """Which of the results began in a period (Unix times, s)."""
    at = rows["started_at"]
    return pc.and_(pc.greater_equal(at, moment(start)), pc.less(at, moment(end)))


def _cursor(row: pa.Table) -> str:
    first = row.to_pylist()[0]
    return json.dumps([utc_text(first["started_at"].timestamp()), *(first[name] for name in NAMES)])


def _place_of(cursor: str) -> tuple[Any, ...]:
    try:
        at, *names = json.loads(cursor)
        if len(names) != len(NAMES) or not all(isinstance(text, str) for text in (at, *names)):
            raise ValueError(cursor)
        return moment(unix_time(at)), *(pa.scalar(name) for name in names)
    except (ValueError, TypeError, OverflowError, RecursionError, pa.ArrowException) as error:
        raise UsageError("this is no cursor: give `next` of the answer before") from error


def objects(rows: pa.Table) -> list[dict[str, Any]]:
    """Results as JSON knows them."""
    from speedtest_logger.archive.read import render

    return list(render.objects(rows))


# curves and summaries


@dataclass(frozen=True)
class _Grouped:
    """Rows by target: a number for each row, and the targets that the numbers stand for, in order."""

    numbers: Integers
    targets: list[tuple[str, str, str]]

    @classmethod
    def of(cls, rows: pa.Table) -> _Grouped:
        joined = pc.binary_join_element_wise(*(rows[name] for name in NAMES), "\x00")
        texts = pc.unique(joined).to_pylist()
        order = sorted(range(len(texts)), key=lambda place: texts[place].split("\x00"))
        rank = np.empty(len(texts), "i8")
        rank[order] = np.arange(len(texts))
        numbers = pc.index_in(joined, value_set=pa.array(texts, pa.string())).to_numpy().astype("i8")
        targets = [tuple(texts[place].split("\x00")) for place in order]
        return cls(rank[numbers] if len(texts) else numbers, targets)


def _numbers(rows: pa.Table, name: str) -> Numbers:
    found: Numbers = rows[name].cast(pa.float64()).to_numpy()
    return found


def medians(groups: Integers, values: Numbers, count: int) -> Numbers:
    """The median of each group's values; NaN where it has none."""
    known = ~np.isnan(values)
    groups, values = groups[known], values[known]
    order = np.lexsort((values, groups))
    groups, values = groups[order], values[order]
    counts = np.bincount(groups, minlength=count)
    found = np.full(count, np.nan)
    has = counts > 0
    starts = (np.cumsum(counts) - counts)[has]
    counts = counts[has]
    found[has] = (values[starts + (counts - 1) // 2] + values[starts + counts // 2]) / 2
    return found


def _optional(values: Numbers, digits: int = 3) -> list[float | None]:
    return [None if math.isnan(value) else round(value, digits) for value in values.tolist()]


def _loss(groups: Integers, rows: pa.Table, count: int) -> Numbers:
    sent, lost = (np.bincount(groups, _numbers(rows, name), minlength=count) for name in ("sent", "lost"))
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Numbers = 100 * lost / sent
    return found


def grain_of(seconds: float) -> Grain:
    """In which parts a period is shown."""
    return next((grain for grain, most in LONGEST.items() if seconds <= most), "day")


def curves(rows: pa.Table, grain: Grain, zone: Zone | None = None) -> list[Curve]:
    """Each target's values in parts of a period; days are those of a zone, or of UTC."""
    grouped = _Grouped.of(rows)
    at = milliseconds(rows["started_at"]) // 1000
    if grain == "hour":
        at = at // HOUR * HOUR
    elif grain == "day":
        hours, places = np.unique(at // HOUR, return_inverse=True)
        rules = zone or Zone.named("UTC")
        at = np.array([_beginning(int(hour) * HOUR, rules) for hour in hours], "i8")[places]
    found = []
    for number, (node, probe, target) in enumerate(grouped.targets):
        mine = grouped.numbers == number
        own, times = rows.filter(pa.array(mine)), at[mine]
        parts, places = np.unique(times, return_inverse=True)
        middle, p90 = (_optional(medians(places, _numbers(own, name), len(parts))) for name in ("median_ms", "p90_ms"))
        loss = _optional(_loss(places, own, len(parts)))
        found.append(Curve(node, probe, target, parts.tolist(), middle, p90, loss))
    return found


def _beginning(at: float, zone: Zone) -> int:
    day = zone.part(at, "day")
    return int(day.replace(tzinfo=zone.rules).timestamp())


def summaries(rows: pa.Table, failed: Iterable[Span]) -> list[Summary]:
    """Each target in one row; `failed`: the spans of the same rows."""
    grouped = _Grouped.of(rows)
    groups, count = grouped.numbers, len(grouped.targets)
    loss = _optional(_loss(groups, rows, count))
    middle, p90 = (_optional(medians(groups, _numbers(rows, name), count)) for name in ("median_ms", "p90_ms"))
    worst = np.full(count, np.nan)
    np.fmax.at(worst, groups, _numbers(rows, "max_ms"))
    last = np.zeros(count)
    np.maximum.at(last, groups, milliseconds(rows["finished_at"]) / 1000)
    by_target: dict[tuple[str, str, str], list[Span]] = {}
    for span in failed:
        by_target.setdefault((span.node, span.probe, span.target), []).append(span)
    counts, worsts, lasts = np.bincount(groups, minlength=count).tolist(), _optional(worst), last.tolist()
    return [
        Summary(
            *names, counts[place], loss[place], middle[place], p90[place], worsts[place],
            len(own := by_target.get(names, [])), round(sum(span.until - span.start for span in own), 3), lasts[place],
        )
        for place, names in enumerate(grouped.targets)
    ]  # fmt: skip


# failures


def spans(rows: pa.Table) -> list[Span]:
    """When each target did not answer at all: spans of results that follow each other are one, oldest first."""
    failing = rows.filter(pc.is_valid(rows["failed_from"])).select([*ORDER, "finished_at", *OF_SPANS])
    found: dict[tuple[str, str, str], list[Span]] = {}
    reached: dict[tuple[str, str, str], float] = {}  # the end of the result that the last span is of, if it is open
    for row in failing.to_pylist():
        names = (row["node"], row["probe"], row["target"])
        begun, ended, start, until = (
            row[name].timestamp() for name in ("started_at", "finished_at", "failed_from", "failed_until")
        )
        own = found.setdefault(names, [])
        goes_on = start <= begun + SAME_SECONDS and begun - reached.get(names, -GAP_SECONDS) <= GAP_SECONDS
        if own and goes_on:
            own[-1] = Span(*names, own[-1].start, until, row["reason"])
        else:
            own.append(Span(*names, start, until, row["reason"]))
        reached[names] = ended if until >= ended - SAME_SECONDS else -GAP_SECONDS * 2
    return sorted((span for own in found.values() for span in own), key=lambda span: (span.start, span.node))


def heard(layout: Layout, now: float) -> list[Heard]:
    """Each probe of the last days, by name; traceroute runs only where something fails, and is not silent then."""
    rows = results(layout, Wanted(now - HEARD_SECONDS, now + DAY), ("finished_at", *NAMES, "reason")).rows
    last: dict[tuple[str, str], dict[str, Any]] = {}
    ends = rows.group_by(list(NAMES)).aggregate([("finished_at", "max")]).rename_columns([*NAMES, "finished_at"])
    for row in ends.join(rows.select([*NAMES, "finished_at", "reason"]), [*NAMES, "finished_at"]).to_pylist():
        known = last.setdefault((row["probe"], row["node"]), {"at": 0.0, "broken": False})
        known["at"] = max(known["at"], row["finished_at"].timestamp())
        known["broken"] = known["broken"] or row["reason"] in BROKEN
    found: dict[str, list[dict[str, Any]]] = {}
    for (probe, _), known in last.items():
        found.setdefault(probe, []).append(known)
    return [
        Heard(
            probe,
            len(nodes),
            int(max(node["at"] for node in nodes)),
            0 if probe == ON_FAILURE else sum(now - node["at"] > SILENT_SECONDS for node in nodes),
            sum(node["broken"] for node in nodes),
        )
        for probe, nodes in sorted(found.items())
    ]
