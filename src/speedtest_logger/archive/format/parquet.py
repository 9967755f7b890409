"""Parquet files of the archive: how they are opened, read and written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from speedtest_logger.errors import DamagedFileError
from speedtest_logger.files import SAFELY, check_regular, sync_directory
from speedtest_logger.record import COLUMNS

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
    """A Parquet file of the archive. Opening and reading raise DamagedFileError; pages' checksums are looked at.

    Columns of `encoded` are read with their dictionaries as they lie.
    """

    def __init__(self, path: Path, encoded: Sequence[str] = ()) -> None:
        self.path = path
        with reading(path):
            check_regular(path)  # a pipe would be waited for, a link be followed
            super().__init__(path, page_checksum_verification=True, read_dictionary=list(encoded) or None)

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
        write_row_groups(writer, pieces, rows)
    return footers[0]


def write_groups(stream: BinaryIO, groups: Iterable[pa.Table], schema: pa.Schema) -> None:
    """Write a Parquet file whose row groups are these. Raises OSError."""
    with pq.ParquetWriter(stream, schema, **WRITING) as writer:
        writer.add_key_value_metadata(schema.metadata)
        for group in groups:
            writer.write_table(group, max(1, group.num_rows))


def write_row_groups(writer: pq.ParquetWriter, pieces: Iterable[pa.Table], rows: int) -> None:
    """Write row groups of `rows`."""
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
