"""Rows of month files by a time of theirs, of as few row groups as can have them; and a location's records of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.format.parquet import ParquetFile
from speedtest_logger.archive.format.schema import BATCH_SCHEMA


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


def records_of(layout: Layout, location: str, start: int, end: int) -> pa.Table:
    """A location's records that started in a period (Unix time, s), with BATCH_SCHEMA.

    Raises DamagedFileError for a month that cannot be read.
    """
    found = [BATCH_SCHEMA.empty_table()]
    for file in months(layout, location, start, end):
        with suppress(FileNotFoundError):
            found += [_as_batch(rows, location) for rows in rows_of(file, start * 1000, end * 1000)]
    return pa.concat_tables(found)


def _as_batch(rows: pa.Table, location: str) -> pa.Table:
    """Rows of a file with the columns that records have today."""
    count = rows.num_rows
    columns = [
        _cast(rows[field.name], field.type)
        if field.name in rows.column_names
        else pa.repeat(pa.scalar(location), count)
        if field.name == "location"
        else pa.nulls(count, field.type)
        for field in BATCH_SCHEMA
    ]
    return pa.table(columns, schema=BATCH_SCHEMA)


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """A column of a type: a cast to its own one takes as long as any (50 µs)."""
    return column if column.type == kind else column.cast(kind)
