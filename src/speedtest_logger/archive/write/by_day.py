"""Datasets beside the records, a file a day for the whole fleet: lines of logs, results of probes.

The manifest does not name their files: they prove nothing and are removed by age. A file that cannot be read gets
another name, and a new one is begun. What comes twice is known by its key and kept once.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, ClassVar, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from speedtest_logger.archive.arrive import inbox
from speedtest_logger.archive.arrive.chunks import UnreadableError, cause
from speedtest_logger.archive.format import parquet
from speedtest_logger.archive.format.layout import CROCKFORD, Layout
from speedtest_logger.archive.format.schema import check_version
from speedtest_logger.archive.write.attempts import Attempts
from speedtest_logger.errors import DamagedFileError, RecordError, StorageError
from speedtest_logger.files import open_regular, sync_directory

Row = dict[str, Any]
CHUNK_BYTES = 4_000_000  # of a node's deliveries that are read together
BATCH_BYTES = 32_000_000  # that are written together
GROUP_ROWS = 8_192  # of a row group: a question leaves out those of other nodes and times
SET_ASIDE = "damaged-"
WRITING: dict[str, Any] = {"compression": "zstd", "store_schema": False, "write_page_checksum": True}


@dataclass
class Batch:
    """Rows by day, and the deliveries that they are of."""

    days: dict[str, list[Row]] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    size: int = 0


@dataclass(frozen=True)
class Line:
    """A delivered line: whose it is, what it says, when it arrived (Unix time, s), and a name of its own."""

    node: str
    content: bytes
    arrived: float
    name: str


class Earlier(Protocol):
    """Which rows came in on days before, where a row that comes again may belong in another day's file."""

    def go_on_to(self, day: str) -> None:
        """Learn what came in before a day. Raises OSError."""

    def knows(self, day: str, key: tuple[Any, ...]) -> bool:
        """Whether a row of a day came in on an earlier one."""


class Taking(ABC):
    """Moves rows that came in into a dataset, each once."""

    what: ClassVar[str]  # in words
    schema: ClassVar[pa.Schema]
    key: ClassVar[tuple[str, ...]]  # `node` is its first
    order: ClassVar[tuple[str, ...]]
    writing: ClassVar[dict[str, Any]]

    def __init__(self, layout: Layout, inbox: Path, earlier: Earlier | None = None) -> None:
        self.layout, self.inbox, self.earlier = layout, inbox, earlier
        self.added = 0

    @abstractmethod
    def file(self, day: str) -> Path:
        """A day's file."""

    @abstractmethod
    def row(self, line: Line) -> Row:
        """What a delivered line says; one that receive does not write raises nearly anything."""

    @abstractmethod
    def day_of(self, row: Row) -> str:
        """The day in whose file a row belongs."""

    def take(self, files: list[Path]) -> None:
        """Take a node's files in and remove them. Raises UnreadableError."""
        batch = Batch()
        self.read(files, batch)
        self.write(batch)

    def read(self, files: list[Path], batch: Batch) -> None:
        """Add a node's files to a batch. Raises UnreadableError."""
        found: dict[str, list[Row]] = {}
        size = 0
        for line, row in self._rows(files):
            found.setdefault(self.day_of(row), []).append(row)
            size += len(line.content)
        for day, rows in found.items():
            batch.days.setdefault(day, []).extend(rows)
        batch.files += files
        batch.size += size

    def _rows(self, files: list[Path]) -> Iterator[tuple[Line, Row]]:
        for file in files:
            node, arrived = file.parent.name, arrived_at(file)
            for number, content in enumerate(lines_of(file)):
                line = Line(node, content, arrived, f"{file.stem}-{number}")
                try:
                    yield line, self.row(line)
                except (ValueError, TypeError, LookupError, RecursionError, RecordError) as error:
                    inbox.keep_damaged(self.layout, inbox.Damaged(file, content, error))

    def write(self, batch: Batch) -> None:
        """Make a batch durable and remove its deliveries. Raises OSError, StorageError."""
        if batch.days and self.earlier:
            self.earlier.go_on_to(max(batch.days))
        for day, rows in sorted(batch.days.items()):
            self._write_day(day, rows)
        for file in batch.files:
            file.unlink(missing_ok=True)

    def _write_day(self, day: str, rows: list[Row]) -> None:
        file = self.file(day)
        old = self._old(file)
        theirs = old.filter(pc.is_in(old["node"], pa.array(sorted({row["node"] for row in rows}))))
        known = set(zip(*(theirs[name].to_pylist() for name in self.key), strict=True))
        fresh = []
        for row in rows:
            key = tuple(row[name] for name in self.key)
            if key not in known and not (self.earlier and self.earlier.knows(day, key)):
                known.add(key)
                fresh.append(row)
        if not fresh:
            return
        self.write_file(file, pa.concat_tables([old, pa.Table.from_pylist(fresh, self.schema)]))
        self.added += len(fresh)

    def write_file(self, file: Path, table: pa.Table) -> None:
        """Make rows a day's file. Raises OSError."""
        table = table.sort_by([(name, "ascending") for name in self.order])
        parquet.make_folders(file.parent)
        with (
            parquet.new_file(parquet.beside(file)) as stream,
            pq.ParquetWriter(stream, self.schema, **WRITING, **self.writing) as writer,
        ):
            writer.add_key_value_metadata(self.schema.metadata)
            writer.write_table(table, GROUP_ROWS)
        os.replace(parquet.beside(file), file)
        sync_directory(file.parent)

    def _old(self, file: Path) -> pa.Table:
        """What a day's file has; one that cannot be read is renamed. Raises StorageError for a later version's."""
        if not os.path.lexists(file):
            return self.schema.empty_table()
        try:
            with parquet.reading(file):
                source = parquet.ParquetFile(file)
                check_version(source.schema_arrow.metadata, file)
                return pa.concat_tables([self.schema.empty_table(), *parquet.groups(source, self.schema.names)])
        except DamagedFileError:
            aside = file.with_name(f"{SET_ASIDE}{file.name}")
            os.replace(file, aside)
            sync_directory(file.parent)
            return self.schema.empty_table()


def ingest(taking: Taking, attempts: Attempts, most_bytes: int) -> list[str]:
    """Move what came in into the dataset, under the writer's lock; returns what could not be done.

    `most_bytes`: of a node's deliveries that may lie in quarantine.

    Whatever goes wrong here concerns no record: these are in the archive already.
    """
    batch = Batch()
    try:
        for files in inbox.chunks(taking.inbox, CHUNK_BYTES, attempts.suspects()):
            attempts.at(files)
            try:
                taking.read(files, batch)
            except (StorageError, OSError):
                raise
            except Exception as error:  # whatever it is: others are not to wait for it
                attempts.failed(files, cause(error))
                continue
            if batch.size >= BATCH_BYTES:
                taking.write(batch)
                batch = Batch()
        taking.write(batch)
        return attempts.retry(taking.inbox, taking.take, most_bytes)
    except (StorageError, OSError) as error:
        return [f"{taking.what} wait in {taking.inbox}: {error}"]


def lines_of(file: Path) -> Iterator[bytes]:
    """The lines of a delivery. Raises UnreadableError."""
    try:
        with open_regular(file, inbox.MOST_BYTES) as stream:
            for line in stream:
                yield line.rstrip(b"\n")
    except FileNotFoundError:
        return
    except OSError as error:
        raise UnreadableError(cause(error)) from error


def arrived_at(file: Path) -> float:
    """When a delivery came in (Unix time, s), as its name says; it does not change with a restore."""
    try:
        number = 0
        for letter in file.name[:10]:
            number = number << 5 | CROCKFORD.index(letter)
        return min(number / 1000, 253_402_300_799.0)
    except ValueError:
        return file.stat().st_mtime


def moment(at: float) -> datetime:
    """A Unix time (s) as Arrow takes it."""
    return datetime.fromtimestamp(at, timezone.utc)


def problems(folder: Path) -> list[str]:
    """Files of a dataset that could not be read, in words."""
    return [
        f"{file} could not be read any more, and another one was begun: look at it, and remove it"
        for file in sorted(folder.glob(f"year=*/month=*/day=*/{SET_ASIDE}*"))
    ]
