"""Lines of nodes' diagnostics logs: a dataset beside the records, of the last days only.

    logs/year=YYYY/month=MM/day=DD/log.parquet      the lines of all nodes that came in that day, by node and time

The manifest does not name them: they prove nothing and are removed by age. A file that cannot be read is set aside and
a new one begun. What came in is known by node, file and place, so that a line that is sent twice is kept once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from speedtest_logger.archive.arrive import inbox
from speedtest_logger.archive.arrive.chunks import UnreadableError, cause
from speedtest_logger.archive.arrive.log_lines import encodable
from speedtest_logger.archive.format import parquet
from speedtest_logger.archive.format.layout import CROCKFORD, Layout
from speedtest_logger.archive.format.schema import LOG_SCHEMA, check_version
from speedtest_logger.archive.write.attempts import Attempts
from speedtest_logger.errors import DamagedFileError, RecordError, StorageError
from speedtest_logger.files import open_regular, read_bounded, sync_directory, write_durably
from speedtest_logger.log import PRIORITIES
from speedtest_logger.record import unix_time, utc_text

Row = dict[str, Any]
Places = dict[str, dict[str, int]]  # the last place that is known of each file of a node's log
CHUNK_BYTES = 4_000_000  # of a node's deliveries that are read together
BATCH_BYTES = 32_000_000  # that are written together
GROUP_ROWS = 16_384  # of a row group: a search leaves out those of other nodes and times
AHEAD_SECONDS = 300  # that a node's clock may be ahead; later times are those of the arrival
FILES = 24  # of a node's log that are remembered: twice as many as it has
LONGEST_EVENT = 100
STATE, STATE_BYTES = "log-places.json", 64_000_000
ORDER = ("node", "at", "file", "offset")
SET_ASIDE = "damaged-"
LEFT_OUT = "lines_left_out"
WRITING: dict[str, Any] = {
    "compression": "zstd",
    "use_dictionary": ["node", "level", "event", "file"],
    "column_encoding": dict.fromkeys(("at", "received_at", "offset"), "DELTA_BINARY_PACKED"),
    "store_schema": False,
    "write_page_checksum": True,
}


@dataclass
class Batch:
    """Lines by the day of their arrival, and the deliveries that they are of."""

    days: dict[str, list[Row]] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    size: int = 0


class Taking:
    """Moves lines that came in into the dataset, each once."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.places = read_places(layout)
        self.added = 0

    def take(self, files: list[Path]) -> None:
        """Take a node's files in and remove them. Raises UnreadableError."""
        batch = Batch()
        self.read(files, batch)
        self.write(batch)

    def read(self, files: list[Path], batch: Batch) -> None:
        """Add a node's files to a batch. Raises UnreadableError."""
        found: dict[str, list[Row]] = {}
        for file in files:
            arrived = arrived_at(file)
            found.setdefault(utc_text(arrived)[:10], []).extend(self._rows(file, arrived))
        for day, rows in found.items():
            batch.days.setdefault(day, []).extend(rows)
        batch.files += files
        batch.size += sum(len(row["fields"]) + 100 for rows in found.values() for row in rows)

    def _rows(self, file: Path, arrived: float) -> Iterator[Row]:
        node = file.parent.name
        for number, line in enumerate(lines_of(file)):
            try:
                yield {"node": node, "received_at": moment(arrived), **parsed(line, arrived, f"{file.stem}-{number}")}
            except (ValueError, TypeError, LookupError, RecursionError, RecordError) as error:
                inbox.keep_damaged(self.layout, inbox.Damaged(file, line, error))

    def write(self, batch: Batch) -> None:
        """Make a batch durable, remember how far it goes, and remove its deliveries. Raises OSError, StorageError."""
        for day, rows in sorted(batch.days.items()):
            self._write_day(self.layout.log_file(day), rows)
        if batch.files:
            write_durably(self.layout.state / STATE, json.dumps(self.places).encode())
        for file in batch.files:
            file.unlink(missing_ok=True)

    def _write_day(self, file: Path, rows: list[Row]) -> None:
        old = self._old(file)
        note(self.places, old)  # a run that was killed may not have written how far it got
        fresh = [row for row in rows if self._is_new(row)]
        if not fresh:
            return
        table = pa.concat_tables([old, pa.Table.from_pylist(fresh, LOG_SCHEMA)])
        table = table.sort_by([(name, "ascending") for name in ORDER])
        parquet.make_folders(file.parent)
        with (
            parquet.new_file(parquet.beside(file)) as stream,
            pq.ParquetWriter(stream, LOG_SCHEMA, **WRITING) as writer,
        ):
            writer.add_key_value_metadata(LOG_SCHEMA.metadata)
            writer.write_table(table, GROUP_ROWS)
        os.replace(parquet.beside(file), file)
        sync_directory(file.parent)
        self.added += len(fresh)

    def _old(self, file: Path) -> pa.Table:
        """What a day's file has; one that cannot be read is set aside. Raises StorageError for a later version's."""
        if not os.path.lexists(file):
            return LOG_SCHEMA.empty_table()
        try:
            with parquet.reading(file):
                source = parquet.ParquetFile(file)
                check_version(source.schema_arrow.metadata, file)
                return pa.concat_tables([LOG_SCHEMA.empty_table(), *parquet.groups(source, LOG_SCHEMA.names)])
        except DamagedFileError:
            aside = file.with_name(f"{SET_ASIDE}{file.name}")
            os.replace(file, aside)
            sync_directory(file.parent)
            return LOG_SCHEMA.empty_table()

    def _is_new(self, row: Row) -> bool:
        new: bool = row["offset"] > self.places.get(row["node"], {}).get(row["file"], -1)
        if new:
            remember(self.places, row["node"], row["file"], row["offset"])
        return new


def remember(places: Places, node: str, file: str, offset: int) -> None:
    """Note how far a file of a node's log is known; those that were met last are kept."""
    known = places.setdefault(node, {})
    known[file] = max(offset, known.pop(file, -1))
    if len(known) > FILES:
        del known[next(iter(known))]


def read_places(layout: Layout) -> Places:
    """How far the log of each node is known; looked up in the dataset where the note of it is lost."""
    with suppress(OSError, ValueError, TypeError, AttributeError, RecursionError):
        content = json.loads(read_bounded(layout.state / STATE, STATE_BYTES))
        return {
            str(node): {str(file): int(offset) for file, offset in known.items()} for node, known in content.items()
        }
    places: Places = {}
    for file in layout.log_files():
        with suppress(DamagedFileError, StorageError):
            for rows in parquet.groups(parquet.ParquetFile(file), ["node", "file", "offset"]):
                note(places, rows)
    return places


def note(places: Places, rows: pa.Table) -> None:
    """Note how far rows of the dataset go."""
    last = rows.group_by(["node", "file"]).aggregate([("offset", "max")])
    for row in zip(*(last[name].to_pylist() for name in ("node", "file", "offset_max")), strict=True):
        remember(places, *row)


def ingest(taking: Taking, attempts: Attempts, most_bytes: int) -> list[str]:
    """Move what came in into the dataset, under the writer's lock; returns what could not be done.

    `most_bytes`: of a node's deliveries that may lie in quarantine.

    Whatever goes wrong here concerns no record: these are in the archive already.
    """
    batch = Batch()
    try:
        for files in inbox.chunks(taking.layout.log_inbox, CHUNK_BYTES, attempts.suspects()):
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
        return attempts.retry(taking.layout.log_inbox, taking.take, most_bytes)
    except (StorageError, OSError) as error:
        return [f"lines of logs wait in {taking.layout.log_inbox}: {error}"]


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


def parsed(content: bytes, arrived: float, name: str) -> Row:
    """A delivered line. Raises ValueError, TypeError and RecordError for what receive does not write."""
    row = json.loads(content)
    if not isinstance(row, dict):
        raise RecordError("bad_log", "a line must be an object")
    if (left_out := row.get("left_out")) is not None:
        fields = {"lines": int(left_out), "message": "more than a node may deliver a day (limit log_day_mb)"}
        return {
            "at": moment(arrived), "level": "warning", "event": LEFT_OUT, "fields": as_text(fields), "file": name,
            "offset": 0,
        }  # fmt: skip
    file, offset, line = row["file"], row["offset"], row["line"]
    if not isinstance(file, str) or not isinstance(offset, int) or not isinstance(line, str):
        raise RecordError("bad_log", "a line of a log without its file and place")
    return {**said(line, arrived), "file": file, "offset": offset}


def said(line: str, arrived: float) -> Row:
    """What a line of a log says; one that is not as the log writes it is a text."""
    at, level, event, fields = arrived, "info", "text", {"text": line}
    with suppress(ValueError, RecursionError):
        content = json.loads(line)
        if isinstance(content, dict) and isinstance(content.get("event"), str):
            event = content.pop("event")[:LONGEST_EVENT]
            level = known if (known := content.pop("level", None)) in PRIORITIES else "info"
            at = time_of(content.pop("time", None), arrived)
            fields = content
    return {"at": moment(at), "level": level, "event": encodable(event), "fields": as_text(fields)}


def time_of(text: object, arrived: float) -> float:
    """When a line was written; at its arrival where it does not say so, or says that it comes from the future."""
    try:
        at = unix_time(text) if isinstance(text, str) else arrived
    except (ValueError, OverflowError, RecordError):
        return arrived
    return at if 0 <= at <= arrived + AHEAD_SECONDS else arrived


def as_text(fields: Row) -> str:
    """Fields as JSON text."""
    return encodable(json.dumps(fields, ensure_ascii=False, separators=(",", ":")))


def problems(layout: Layout) -> list[str]:
    """Files that were set aside, in words."""
    return [
        f"{file} could not be read and was set aside: lines of logs of that day are lost; remove it"
        for file in sorted(layout.logs.glob(f"year=*/month=*/day=*/{SET_ASIDE}*"))
    ]
