"""What is judged, read from the archive: what became of each slot of a location's nodes, in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from speedtest_logger import registry
from speedtest_logger.alerts.judge import (
    FAILED,
    GONE,
    LINE_FAILED,
    MEASURED,
    MISSED,
    OF_THE_LINE,
    SKIPPED,
    Test,
    order_of,
)
from speedtest_logger.alerts.rules import Limited, effective, problems
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.read.moments import months, rows_of
from speedtest_logger.errors import StorageError
from speedtest_logger.record import unix_time
from speedtest_logger.schedule import Schedule

Numbers = np.ndarray[Any, Any]
DAY, HOUR = 86_400, 3600
BUSY = 0.1  # of a test's own bytes, in the background, that make it say nothing of the line's speed
EARLY = 120  # s by which a test may have started before its slot
USUAL_DAYS = 30
FEWEST_USUAL = 20  # tests that make a median the usual one
COLUMNS = {
    "node": pa.string(),
    "scheduled_at": pa.timestamp("ms", "UTC"),
    "started_at": pa.timestamp("ms", "UTC"),
    "status": pa.string(),
    "reason": pa.string(),
    "engine": pa.string(),
    "engine_requested": pa.string(),
    "download_bps": pa.float64(),
    "upload_bps": pa.float64(),
    "latency_ms": pa.float64(),
    "download_latency_ms": pa.float64(),
    "upload_latency_ms": pa.float64(),
    "packet_loss_pct": pa.float64(),
    "bytes_received": pa.int64(),
    "bytes_sent": pa.int64(),
    "background_rx_bytes": pa.int64(),
    "background_tx_bytes": pa.int64(),
}
SCHEMA = pa.schema(list(COLUMNS.items()))


@dataclass(frozen=True)
class Known:
    """What the registry says of a location: its nodes' entries, their limits, and their budgets (bytes a month)."""

    location: str
    entries: dict[str, registry.History]
    limits: dict[str, Limited]
    budgets: dict[str, float]

    def expected(self) -> list[str]:
        """Its nodes of which records are expected now."""
        return [node for node, history in self.entries.items() if not history[-1].get("valid_to")]


def known_of(found: registry.Registry, rules: Mapping[str, Any]) -> dict[str, Known]:
    """Each location with its nodes, by the registry and the fleet's rules.

    Raises StorageError for rules of a node that make no sense.
    """
    made: dict[str, Known] = {}
    for node, history in sorted(found.nodes.items()):
        inventory = (found.inventory or {}).get(node, {})
        own = inventory.get("alerts") or {}
        if wrong := problems(own):
            raise StorageError(f"{found.file}: alerts of {node}: {'; '.join(wrong)}: run site.yml")
        limits = effective(rules, own)
        for entry in history:
            place = str(entry.get("location"))
            known = made.setdefault(place, Known(place, {}, {}, {}))
            known.entries.setdefault(node, []).append(entry)
            known.limits[node] = limits
            known.budgets[node] = float(inventory.get("data_budget_gb") or 0) * 1e9
    return made


def rows(layout: Layout, location: str, start: float, end: float) -> pa.Table:
    """A location's records of slots in a period (Unix time, s), with the columns that are judged, in the files' order.

    Raises DamagedFileError for a month that cannot be read.
    """
    found = [SCHEMA.empty_table()]
    for file in months(layout, location, int(start) - EARLY, int(end)):
        with suppress(FileNotFoundError):
            pieces = rows_of(file, int(start * 1000), int(end * 1000), list(COLUMNS), by="scheduled_at")
            found += map(_alike, pieces)
    return pa.concat_tables(found)


def _alike(piece: pa.Table) -> pa.Table:
    """Rows with all columns, whatever an earlier version's file lacks."""
    if piece.schema.equals(SCHEMA):
        return piece
    columns = [
        piece[name].cast(kind) if name in piece.column_names else pa.nulls(piece.num_rows, kind)
        for name, kind in COLUMNS.items()
    ]
    return pa.table(columns, schema=SCHEMA)


def tests(known: Known, found: pa.Table, start: float, end: float, late: float) -> list[Test]:
    """What became of a location's slots with start <= slot < end, in the order in which they are judged.

    `found` are its records (see `rows`). A slot without a record that is not older than `late` (Unix time, s) is left
    out: its record may still come.
    """
    made: list[Test] = []
    by_node = _by_node(found)
    for node, history in known.entries.items():
        own = by_node.get(node, found.slice(0, 0))
        made += _tests_of(known, node, history, Columns.of(own), (start, end, late))
        made += [Test(at, node, GONE) for at in _gone(history) if start <= at < end]
    return sorted(made, key=order_of)


def _by_node(found: pa.Table) -> dict[str, pa.Table]:
    names = found["node"].combine_chunks().dictionary_encode()
    if len(names.dictionary) == 1:
        return {names.dictionary[0].as_py(): found}
    numbers = names.indices.to_numpy(zero_copy_only=False)
    return {name: found.take(np.flatnonzero(numbers == at)) for at, name in enumerate(names.dictionary.to_pylist())}


def _gone(history: registry.History) -> Iterator[int]:
    """When a node left a location, each time: also where it came back later."""
    for entry, after in zip_longest(history, history[1:]):
        until = entry.get("valid_to")
        if until and (after is None or unix_time(after["valid_from"]) > unix_time(until)):
            yield int(unix_time(until))


@dataclass(frozen=True)
class Columns:
    """A node's records that belong to a slot, the first of each; what was not measured is NaN. `at` is sorted."""

    at: Numbers
    outcome: Numbers
    reason: list[str | None]
    counts: Numbers  # whether its values say something of the line
    download: Numbers
    upload: Numbers
    latency: Numbers
    loaded: Numbers
    loss: Numbers
    used: Numbers  # bytes

    @classmethod
    def of(cls, found: pa.Table) -> Columns:
        """The same from rows."""
        slot = found["scheduled_at"].cast(pa.int64()).to_numpy(zero_copy_only=False)
        has = np.flatnonzero(~np.isnan(slot)) if slot.dtype.kind == "f" else np.arange(len(slot))
        at, first = np.unique(slot[has].astype("i8") // 1000, return_index=True)
        if len(at) < len(slot) or (np.diff(first) < 0).any():
            found = found.take(has[first])
        numbers = {name: _floats(found[name]) for name, kind in COLUMNS.items() if kind in (pa.float64(), pa.int64())}
        status, reason = found["status"].to_pylist(), found["reason"].to_pylist()
        busy = np.zeros(len(at), bool)
        for own, background in (("bytes_received", "background_rx_bytes"), ("bytes_sent", "background_tx_bytes")):
            busy |= numbers[background] > BUSY * numbers[own]
        another = pc.fill_null(pc.not_equal(found["engine_requested"], found["engine"]), fill_value=False)
        under_load = np.fmax(numbers["download_latency_ms"], numbers["upload_latency_ms"])
        return cls(
            at,
            np.array([_outcome(s, r) for s, r in zip(status, reason, strict=True)], "i1"),
            reason,
            ~busy & ~another.to_numpy(),
            numbers["download_bps"],
            numbers["upload_bps"],
            numbers["latency_ms"],
            under_load - numbers["latency_ms"],
            numbers["packet_loss_pct"],
            np.nan_to_num(numbers["bytes_received"]) + np.nan_to_num(numbers["bytes_sent"]),
        )


def _floats(column: pa.ChunkedArray) -> Numbers:
    made: Numbers = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return made


def _outcome(status: str, reason: str | None) -> int:
    if status in ("ok", "partial"):
        return MEASURED
    if status == "skipped":
        return SKIPPED
    return LINE_FAILED if reason in OF_THE_LINE else FAILED


def _tests_of(
    known: Known, node: str, history: registry.History, own: Columns, period: tuple[float, float, float]
) -> Iterable[Test]:
    start, end, late = period
    budget = known.budgets.get(node) or np.inf
    limits = known.limits[node]
    for entry in history:
        first = max(start, unix_time(entry["valid_from"]))
        last = min(end, unix_time(entry["valid_to"])) if entry.get("valid_to") else end
        if first >= last:
            continue
        slots = Schedule(entry["interval_seconds"], entry["offset_seconds"]).between(first, last)
        begin, until = np.searchsorted(own.at, (slots.start, slots.stop)).tolist()
        where = slice(begin, until)
        values = _values(own, where, entry, limits)
        there = dict(
            zip(
                own.at[where].tolist(),
                zip(
                    own.outcome[where].tolist(),
                    own.reason[where],
                    values,
                    (100 * own.used[where] / budget).tolist(),
                    strict=True,
                ),
                strict=True,
            )
        )
        for at in slots:
            found = there.get(at)
            if found:
                yield Test(at, node, *found)
            elif at < late:
                yield Test(at, node, MISSED)


def _values(own: Columns, where: slice, entry: dict[str, Any], limits: Limited) -> list[tuple[float | None, ...]]:
    """Each test's values as VALUES has them; None where a rule is off, nothing was measured, or it says nothing."""
    count = where.stop - where.start
    nothing: list[float | None] = [None] * count
    silent = ~own.counts[where]
    plans = [float(entry.get(f"plan_{way}_mbps") or np.nan) * 1e4 for way in ("download", "upload")]  # 1 % of it
    usual = _usual(own, where) if "below_usual" in limits else (np.nan, np.nan)
    columns = {
        "below_plan": np.fmin(own.download[where] / plans[0], own.upload[where] / plans[1]),
        "below_usual": 100 * np.fmin(own.download[where] / usual[0], own.upload[where] / usual[1]),
        "latency": own.latency[where],
        "loss": own.loss[where],
        "bufferbloat": own.loaded[where],
    }
    made = []
    for name, column in columns.items():
        if name not in limits:
            made.append(nothing)
            continue
        wrong = np.isnan(column) | silent
        made.append([None if no else value for value, no in zip(column.tolist(), wrong.tolist(), strict=True)])
    return list(zip(*made, strict=True))


def _usual(own: Columns, where: slice) -> tuple[Numbers, Numbers]:
    """What is usual at each test: its node's median of that hour of the week in the 30 days before yesterday.

    Of that hour of every day where those are too few, as they are with 15 minutes and more between two tests; NaN where
    those are too few as well. The last day is left out, so that what is still on its way does not change it.
    """
    at = own.at[where]
    usual = np.full((2, len(at)), np.nan)
    hours = own.at // HOUR % 168
    for day in np.unique(at // DAY).tolist():
        first, last = np.searchsorted(own.at, ((day - 1 - USUAL_DAYS) * DAY, (day - 1) * DAY))
        today = np.flatnonzero(at // DAY == day)
        for hour in np.unique(at[today] // HOUR % 168).tolist():
            of_hour = today[at[today] // HOUR % 168 == hour]
            for often in (168, 24):
                before = np.flatnonzero(hours[first:last] % often == hour % often) + first
                for way, column in enumerate((own.download, own.upload)):
                    seen = column[before][~np.isnan(column[before])]
                    if len(seen) >= FEWEST_USUAL and np.isnan(usual[way, of_hour[0]]):
                        usual[way, of_hour] = np.median(seen)
    return usual[0], usual[1]
