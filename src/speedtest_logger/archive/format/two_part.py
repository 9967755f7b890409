"""Parquet files in two parts: a beginning that is copied as it is, and what comes behind it.

A reader finds row groups by the footer's offsets, wherever in the file they lie
(https://parquet.apache.org/docs/file-format/). So a Parquet file can be the beginning of a longer one, whose own
footer names the beginning's row groups and those behind it:

    PAR1 row groups footer PAR1 | row groups PAR1 footer PAR1

What lies before the bar can be copied into the next such file, byte by byte, whatever comes behind it there. A month's
newest day lies behind the bar, all earlier days before it. Three doors: `beginning_of` reads, `plan` says how a month
is best written, `write` writes it so.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from speedtest_logger.archive.format import parquet

MAGIC = b"PAR1"
COPIED_BYTES = 1 << 20  # at once
WORTH_APART = 2048  # rows of a month whose newest day gets row groups of its own
FEW = 1 / 4  # of a month's rows: with more at once it is written as a whole


@dataclass(frozen=True)
class Beginning:
    """A Parquet file that a longer one begins with: its bytes and its footer."""

    file: Path
    size: int
    metadata: pq.FileMetaData

    @property
    def row_groups(self) -> int:
        """How many of the longer file's row groups are its own."""
        return int(self.metadata.num_row_groups)

    def copy(self, stream: BinaryIO) -> None:
        """Write it anew as it is."""
        with self.file.open("rb") as source:
            for place in range(0, self.size, COPIED_BYTES):
                with parquet.reading(self.file):
                    content = source.read(min(COPIED_BYTES, self.size - place))
                stream.write(content)


def beginning_of(source: parquet.ParquetFile) -> Beginning | None:
    """The Parquet file that a longer one begins with; None where it begins with none."""
    metadata = source.metadata
    with parquet.reading(source.path), source.path.open("rb") as stream:
        for group in range(metadata.num_row_groups - 1, 0, -1):
            column = metadata.row_group(group).column(0)
            end = column.dictionary_page_offset or column.data_page_offset
            footer = _footer(stream, end)
            if footer and footer.num_row_groups == group:
                return Beginning(source.path, end, footer)
    return None


def plan(old: parquet.ParquetFile, schema: pa.Schema, added: int, touched: set[date]) -> Beginning | date | None:
    """How a month is best written when rows of some days come to it.

    Behind a beginning that stays as it is, where all rows are of the day behind it; with the newest day apart, where
    that is worth row groups of its own; or (None) as a whole.
    """
    return _earlier_days(old, schema, touched) or _worth_apart(old, added, touched)


def write(
    stream: BinaryIO, how: Beginning | date | None, pieces: Iterator[pa.Table], schema: pa.Schema, rows: int
) -> None:
    """Write a month as planned, in row groups of `rows`; `pieces` are what comes behind a beginning, or all of it.

    Raises OSError.
    """
    if isinstance(how, Beginning):
        how.copy(stream)
        _append(stream, how.metadata, pieces, schema, rows)
    elif how:
        later: list[pa.Table] = []
        footer = parquet.write(stream, _before(how, pieces, later), schema, rows)
        _append(stream, footer, chain(later, pieces), schema, rows)
    else:
        parquet.write(stream, pieces, schema, rows)


def _earlier_days(old: parquet.ParquetFile, schema: pa.Schema, touched: set[date]) -> Beginning | None:
    """What a month's file begins with, where it stays as it is: all new rows are of the day behind it."""
    beginning = beginning_of(old)
    if beginning is None or not old.schema_arrow.equals(schema) or old.schema_arrow.metadata != schema.metadata:
        return None
    newest = parquet.ends(old.metadata, "day", beginning.row_groups)
    return beginning if newest and touched == set(newest) else None


def _worth_apart(old: parquet.ParquetFile, added: int, touched: set[date]) -> date | None:
    """The newest day, where it is worth row groups of its own; None where it is not, or is the only one."""
    known, rows = parquet.ends(old.metadata, "day"), old.metadata.num_rows + added
    if known is None or rows < WORTH_APART or added > FEW * rows:
        return None
    newest = max(*known, *touched)
    return newest if min(*known, *touched) < newest else None


def _before(day: date, pieces: Iterator[pa.Table], later: list[pa.Table]) -> Iterator[pa.Table]:
    """The rows before a day; stops there, and what was read of that day is put in `later`."""
    for piece in pieces:
        cut = bisect.bisect_left(range(piece.num_rows), day, key=lambda place: piece["day"][place].as_py())
        if cut:
            yield piece.slice(0, cut)
        if cut < piece.num_rows:
            later.append(piece.slice(cut))
            return


def _append(
    stream: BinaryIO, beginning: pq.FileMetaData, pieces: Iterable[pa.Table], schema: pa.Schema, rows: int
) -> None:
    """Write more row groups behind the Parquet file that a stream has so far, and the footer of all. Raises OSError.

    Arrow's writer can only begin at 0. So what it says before the row groups and after them is not written.
    """
    tap = _Tap(stream)
    sink = pa.PythonFile(tap, "w")
    footers: list[pq.FileMetaData] = []
    with pq.ParquetWriter(sink, schema, metadata_collector=footers, **parquet.WRITING) as writer:
        for place in range(len(MAGIC), stream.tell(), COPIED_BYTES):
            sink.write(bytes(min(COPIED_BYTES, stream.tell() - place)))
        tap.is_open = True
        parquet.write_row_groups(writer, pieces, rows)
        tap.is_open = False
    beginning.append_row_groups(footers[0])
    beginning.write_metadata_file(stream)


class _Tap:
    """A file for pyarrow; what is written to it reaches the stream only while it is open."""

    closed = False

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.is_open = False

    def write(self, content: bytes) -> int:
        """Count it, and let it through or not."""
        return self.stream.write(content) if self.is_open else len(content)

    def flush(self) -> None:
        """Nothing is held back here."""


def _footer(stream: BinaryIO, end: int) -> pq.FileMetaData | None:
    """The footer of the Parquet file that ends there; None where none does, though a text may end like one."""
    stream.seek(end - 8)
    size, magic = int.from_bytes(stream.read(4), "little"), stream.read(4)
    if magic != MAGIC or size > end - 8:
        return None
    stream.seek(end - 8 - size)
    footer = stream.read(size + 8)
    with suppress(pa.ArrowException, OSError):  # either, by what is wrong with it
        return pq.read_metadata(pa.BufferReader(footer))
    return None
