"""What probes found of a line in a period, as its page shows it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.format.schema import PROBE_SCHEMA
from speedtest_logger.archive.read import diagnosis, probes
from speedtest_logger.archive.read.by_day import LAST_TIME
from speedtest_logger.archive.read.local_time import Zone
from speedtest_logger.archive.read.probes import OF_SERIES, OF_SPANS, Curve, Span, Summary, Wanted
from speedtest_logger.files import Identity, identity

MOST_FAILURES = 100  # that are looked into
MOST_BYTES = 32_000_000  # of days that are kept: 30 days of six lines with five targets each
COLUMNS = (*OF_SERIES, *OF_SPANS)


@dataclass(frozen=True)
class Failure:
    """A time in which a target did not answer, and what all probes of its node then say."""

    span: Span
    diagnosis: str


@dataclass(frozen=True)
class Probed:
    """A line's targets in a period: each in short and as a curve, and the newest failures, newest first.

    `ever`: some node of the fleet has reported at all. `left_out` counts older failures.
    """

    ever: bool
    summaries: list[Summary]
    curves: list[Curve]
    failures: list[Failure]
    left_out: int

    def to_chart(self) -> list[dict[str, Any]]:
        """The curves as the browser draws them."""
        return [
            {
                **vars(curve),
                "failed": [[f.span.start, f.span.until] for f in self.failures if _is_of(f.span, curve)],
            }
            for curve in self.curves
        ]


def _is_of(span: Span, curve: Curve) -> bool:
    return (span.node, span.probe, span.target) == (curve.node, curve.probe, curve.target)


class Days:
    """What lines had in days, as it was read: a page is asked for again and again, and days that are over stay.

    A day is read anew where its file is another one. Those that were not asked for the longest go. Any thread may ask.
    """

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._most, self._size = most, 0
        self._kept: OrderedDict[tuple[Path, str | None], tuple[Identity | None, pa.Table]] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, file: Path, wanted: Wanted, names: list[str]) -> list[pa.Table]:
        """See probes.Read: of a line, with COLUMNS."""
        now, key = identity(file), (file, wanted.location)
        with self._lock:
            seen, rows = self._kept.get(key, (None, None))
            if rows is not None and seen == now:
                self._kept.move_to_end(key)
        if rows is None or seen != now:
            found = probes.of_day(file, Wanted(0, LAST_TIME, location=wanted.location), names)
            rows = pa.concat_tables(found) if found else PROBE_SCHEMA.empty_table().select(names)
            self._keep(key, now, rows)
        return [rows.filter(probes.within(rows, wanted.start, wanted.end))]

    def _keep(self, key: tuple[Path, str | None], seen: Identity | None, rows: pa.Table) -> None:
        with self._lock:
            if before := self._kept.pop(key, None):
                self._size -= before[1].nbytes
            self._kept[key] = seen, rows
            self._size += rows.nbytes
            while self._size > self._most:
                self._size -= self._kept.popitem(last=False)[1][1].nbytes


def probed(layout: Layout, within: tuple[float, float], location: str, zone: Zone, days: Days | None = None) -> Probed:
    """What a line's probes found. Raises OSError."""
    if not any(layout.probes.glob("year=*")):
        return Probed(False, [], [], [], 0)
    start, end = within
    found = probes.results(layout, Wanted(start, end, location=location), COLUMNS, days.read if days else None).rows
    failed = probes.spans(found)
    newest = failed[-MOST_FAILURES:][::-1]
    return Probed(
        True,
        probes.summaries(found, failed),
        probes.curves(found, probes.grain_of(end - start), zone),
        [Failure(span, said.sentence) for span, said in zip(newest, diagnosis.of_spans(found, newest), strict=True)],
        len(failed) - len(newest),
    )
