"""Rows of month files by a time of theirs, of as few row groups as can have them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.format.parquet import ParquetFile


def months(layout: Layout, location: str, start: int, end: int) -> list[Path]:
    """A location's files of the months of a period (Unix time, s)."""
    first, last = (datetime.fromtimestamp(moment, timezone.utc) for moment in (start, end - 1))
    numbers = range(first.year * 12 + first.month - 1, last.year * 12 + last.month)
    files = [layout.month_file(location, number // 12, number % 12 + 1) for number in numbers]
    return [file for file in files if file.is_file()]


def rows_of(
    file: Path, start: int, end: int, columns: list[str] | None = None, by: str = "started_at"
) -> Iterator[pa.Table]:
    """A month's rows whose time `by` is in a period (Unix time, ms), of the row groups that can have some.

    `columns`, which must have that time, instead of all; of those that the file has. Raises DamagedFileError.
    """
    with ParquetFile(file) as source:
        place = source.schema_arrow.get_field_index(by)
        for group in range(source.num_row_groups):
            known = source.metadata.row_group(group).column(place).statistics
            if known and known.has_min_max and not (_ms(known.max) >= start and _ms(known.min) < end):
                continue
            rows = source.read_row_group(group, columns, use_threads=False)
            at = rows[by].cast(pa.int64())
            inside = pc.and_(pc.greater_equal(at, start), pc.less(at, end))
            yield rows if pc.all(inside, skip_nulls=False).as_py() else rows.filter(inside)


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
