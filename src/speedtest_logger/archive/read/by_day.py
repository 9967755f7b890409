"""Reading datasets of one file a day (lines of logs, results of probes): which of a file may be wanted."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from speedtest_logger.archive.format import parquet

LAST_TIME = 253_402_300_799.0


def moment(at: float) -> pa.Scalar:
    """A Unix time (s) as columns of times have it."""
    return pa.scalar(round(min(max(at, 0.0), LAST_TIME) * 1000), pa.timestamp("ms", tz="UTC"))


def may_have_any(source: parquet.ParquetFile, group: int, column: str, values: Collection[str] | None) -> bool:
    """Whether a row group can have one of the values (None: any will do) in a column, as the footer says."""
    known = parquet.ends(source.metadata, column, group, group + 1) if values is not None else None
    return known is None or values is None or any(known[0] <= value <= known[1] for value in values)


def may_have_within(source: parquet.ParquetFile, group: int, column: str, start: float, end: float) -> bool:
    """Whether a row group can have a time in start <= time < end (Unix times, s) in a column, as the footer says."""
    known = parquet.ends(source.metadata, column, group, group + 1)
    return not known or (known[1].timestamp() >= start and known[0].timestamp() < end)


def before(rows: pa.Table, names: Sequence[str], place: Sequence[Any]) -> pa.Array:
    """Which rows come before a place in the order of some columns."""
    found = None
    for name, value in reversed(list(zip(names, place, strict=True))):
        less, same = pc.less(rows[name], value), pc.equal(rows[name], value)
        found = less if found is None else pc.or_(less, pc.and_(same, found))
    return found
