"""Parquet files: how they are written, and how one is gone on with while its beginning stays as it is.

A reader finds row groups by the footer's offsets, wherever in the file they lie
(https://parquet.apache.org/docs/file-format/). So a Parquet file can be the beginning of a longer one, whose own
footer names the beginning's row groups and those behind it:

    PAR1 row groups footer PAR1 | row groups PAR1 footer PAR1

What lies before the bar can be copied into the next such file, byte by byte, whatever comes behind it there.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from speedtest_logger.errors import DamagedFileError
from speedtest_logger.files import SAFELY, check_regular, sync_directory
from speedtest_logger.record import COLUMNS

MAGIC = b"PAR1"
# What repeats is worth a dictionary, times are best as differences: a third smaller and faster than all alike. A page
# that ends only with its row group is a fifth faster to read. Arrow's own copy of the schema, 3 kB in every file, says
# nothing that Parquet's does not.
REPEATED = [name for name, kind in COLUMNS.items() if kind in ("id", "text", "runtime", "status", "reason")]
REPEATED += ["schema_version", "attempt", "ip_family", "day"]
WRITING: dict[str, Any] = {
    "compression": "zstd",
    "use_dictionary": REPEATED,
    "column_encoding": {name: "DELTA_BINARY_PACKED" for name, kind in COLUMNS.items() if kind == "time"},
    "max_rows_per_page": 1 << 20,
    "store_schema": False,
    "write_page_checksum": True,  # or a flipped bit may be read as another value
}
COPIED_BYTES = 1 << 20  # at once
GROUP_BYTES = 24 << 20  # of a row group in memory at most; rows as nodes send them are far from it
# what is raised over bytes that are no values any more; an OSError may also come from what is written
NONSENSE = (pa.ArrowException, ValueError, LookupError, OverflowError)


@contextmanager
def reading(file: Path) -> Iterator[None]:
    """Raise DamagedFileError where a file of the archive turns out to be damaged, or its disk."""
    try:
        yield
    except (*NONSENSE, OSError) as error:
        raise DamagedFileError(file, error) from error


class ParquetFile(pq.ParquetFile):  # type: ignore[misc]  # pyarrow has no types
    """A Parquet file of the archive. Opening and reading raise DamagedFileError; pages' checksums are looked at."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with reading(path):
            check_regular(path)  # a pipe would be waited for, a link be followed
            super().__init__(path, page_checksum_verification=True)

    def read_row_group(self, *args: Any, **options: Any) -> pa.Table:
        """As pyarrow's."""
        with reading(self.path):
            return super().read_row_group(*args, **options)

    def iter_batches(self, *args: Any, **options: Any) -> Iterator[pa.RecordBatch]:
        """As pyarrow's."""
        with reading(self.path):
            yield from super().iter_batches(*args, **options)


def beside(file: Path) -> Path:
    """The temporary name of a file's next content."""
    return file.with_name(f".{file.name}.tmp")


def make_folders(folder: Path) -> None:
    """Make a folder and those above it durable where they are new."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        new.mkdir(mode=0o755, exist_ok=True)
        sync_directory(new.parent)


@contextmanager
def new_file(file: Path) -> Iterator[BinaryIO]:
    """A file to write to; it is on disk afterwards. Raises OSError and leaves nothing."""
    file.unlink(missing_ok=True)  # a crash left it, or somebody has put it there
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | SAFELY, 0o640), "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
    except OSError:
        file.unlink(missing_ok=True)
        raise


def write(stream: BinaryIO, pieces: Iterable[pa.Table], schema: pa.Schema, rows: int) -> pq.FileMetaData:
    """Write a Parquet file in row groups of `rows`; returns its footer. Raises OSError."""
    footers: list[pq.FileMetaData] = []
    with pq.ParquetWriter(stream, schema, metadata_collector=footers, **WRITING) as writer:
        writer.add_key_value_metadata(schema.metadata)
        _write_groups(writer, pieces, rows)
    return footers[0]


def write_groups(stream: BinaryIO, groups: Iterable[pa.Table], schema: pa.Schema) -> None:
    """Write a Parquet file whose row groups are these. Raises OSError."""
    with pq.ParquetWriter(stream, schema, **WRITING) as writer:
        writer.add_key_value_metadata(schema.metadata)
        for group in groups:
            writer.write_table(group, max(1, group.num_rows))


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
                with reading(self.file):
                    content = source.read(min(COPIED_BYTES, self.size - place))
                stream.write(content)


def beginning_of(source: ParquetFile) -> Beginning | None:
    """The Parquet file that a longer one begins with; None where it begins with none."""
    metadata = source.metadata
    with reading(source.path), source.path.open("rb") as stream:
        for group in range(metadata.num_row_groups - 1, 0, -1):
            column = metadata.row_group(group).column(0)
            end = column.dictionary_page_offset or column.data_page_offset
            footer = _footer(stream, end)
            if footer and footer.num_row_groups == group:
                return Beginning(source.path, end, footer)
    return None


def go_on(
    stream: BinaryIO, beginning: pq.FileMetaData, pieces: Iterable[pa.Table], schema: pa.Schema, rows: int
) -> None:
    """Write more row groups behind the Parquet file that a stream has so far, and the footer of all. Raises OSError.

    Arrow's writer can only begin at 0. So what it says before the row groups and after them is not written.
    """
    tap = _Tap(stream)
    sink = pa.PythonFile(tap, "w")
    footers: list[pq.FileMetaData] = []
    with pq.ParquetWriter(sink, schema, metadata_collector=footers, **WRITING) as writer:
        for place in range(len(MAGIC), stream.tell(), COPIED_BYTES):
            sink.write(bytes(min(COPIED_BYTES, stream.tell() - place)))
        tap.is_open = True
        _write_groups(writer, pieces, rows)
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


def _write_groups(writer: pq.ParquetWriter, pieces: Iterable[pa.Table], rows: int) -> None:
    for group in regular(pieces, rows):
        writer.write_table(group, rows)


def regular(pieces: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The same rows in groups of `rows`, so that many small pieces do not leave many small groups."""
    carried: list[pa.Table] = []
    for piece in pieces:
        carried.append(piece)
        while (count := sum(table.num_rows for table in carried)) >= (most := min(rows, _that_fit(carried, count))):
            table = pa.concat_tables(carried)
            yield table.slice(0, most)
            carried = [table.slice(most)]
    if rest := pa.concat_tables(carried):
        yield rest


def _that_fit(tables: list[pa.Table], rows: int) -> int:
    """How many of some rows fit into GROUP_BYTES; more than there are where all do."""
    size = sum(table.nbytes for table in tables)
    return rows + 1 if size <= GROUP_BYTES else max(1, rows * GROUP_BYTES // size)


def groups(file: ParquetFile | None, columns: list[str] | None = None, first: int = 0) -> Iterator[pa.Table]:
    """A file's row groups from the first that is wanted on, one in memory at a time; none of no file."""
    if file:
        for group in range(first, file.num_row_groups):
            yield file.read_row_group(group, columns, use_threads=False)  # months are read side by side already


def ends(metadata: pq.FileMetaData, column: str, first: int = 0, end: int | None = None) -> tuple[Any, Any] | None:
    """A column's least and greatest value in row groups, first to end; None where the footer does not say."""
    place = metadata.schema.names.index(column)
    groups = range(first, metadata.num_row_groups if end is None else end)
    known = [metadata.row_group(group).column(place).statistics for group in groups]
    if not all(found and found.has_min_max for found in known) or not known:
        return None
    return min(found.min for found in known), max(found.max for found in known)
