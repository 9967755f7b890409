"""Lines of nodes' diagnostics logs: a dataset beside the records, of the last days only.

    logs/year=YYYY/month=MM/day=DD/log.parquet      the lines of all nodes that came in that day, by node and time

The manifest does not name them: they prove nothing and are removed by age. A file that cannot be read gets another
name, and a new one is begun. What came in is known by node, file and place: a line that is sent twice is kept once.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from speedtest_logger.archive.arrive import inbox
from speedtest_logger.archive.arrive.chunks import UnreadableError, cause
from speedtest_logger.archive.arrive.log_lines import encodable
from speedtest_logger.archive.format import parquet
from speedtest_logger.archive.format.layout import CROCKFORD, Layout, day_of
from speedtest_logger.archive.format.schema import LOG_SCHEMA, check_version
from speedtest_logger.archive.write.attempts import Attempts
from speedtest_logger.errors import DamagedFileError, RecordError, StorageError
from speedtest_logger.files import open_regular, read_bounded, sync_directory, write_durably
from speedtest_logger.log import PRIORITIES
from speedtest_logger.record import unix_time, utc_text

Row = dict[str, Any]
Places = dict[str, dict[str, int]]  # the last place of each file of a node's log
CHUNK_BYTES = 4_000_000  # of a node's deliveries that are read together
BATCH_BYTES = 32_000_000  # that are written together
GROUP_ROWS = 8_192  # of a row group: a search leaves out those of other nodes and times
AHEAD_SECONDS = 300  # that a node's clock may be ahead; later times are those of the arrival
FILES = 24  # of a node's log that are remembered: twice as many as it has
LONGEST_EVENT = 100
STATE_BYTES = 64_000_000
PLACE = ("node", "file", "offset")
LAST = ("node", "file", "offset_max")
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
        self.earlier = Earlier(layout)
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
        """Make a batch durable and remove its deliveries. Raises OSError, StorageError."""
        if batch.days:
            self.earlier.go_on_to(max(batch.days))
        for day, rows in sorted(batch.days.items()):
            self._write_day(day, rows)
        for file in batch.files:
            file.unlink(missing_ok=True)

    def _write_day(self, day: str, rows: list[Row]) -> None:
        file = self.layout.log_file(day)
        old = self._old(file)
        theirs = old.filter(pc.is_in(old["node"], pa.array(sorted({row["node"] for row in rows}))))
        known = set(zip(*(theirs[name].to_pylist() for name in PLACE), strict=True))
        fresh = []
        for row in rows:
            place = tuple(row[name] for name in PLACE)
            if place not in known and not self.earlier.knows(day, place):
                known.add(place)
                fresh.append(row)
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
        """What a day's file has; one that cannot be read is renamed. Raises StorageError for a later version's."""
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


class Earlier:
    """How far each file of each node's log had come in before a day: a line may come again on another day.

    It follows from the dataset and is noted in state/log-places.json once a day. Lines that are taken in later than
    others of their day, as after a failure, are looked up in the day's file alone: none is left out for being late.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout, self.file = layout, layout.state / "log-places.json"
        self.day, self.places = "", Places()
        with suppress(OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
            content = json.loads(read_bounded(self.file, STATE_BYTES))
            places = {
                str(node): {str(name): int(offset) for name, offset in files.items()}
                for node, files in content["places"].items()
            }
            if date.fromisoformat(content["day"]) <= date.fromisoformat(utc_text(time.time())[:10]):
                self.day, self.places = content["day"], places

    def go_on_to(self, day: str) -> None:
        """Look at the days from the one that is known up to another. Raises OSError."""
        if day <= self.day:
            return
        for file in self.layout.log_files(first=self.day):
            with suppress(DamagedFileError, StorageError):
                if day_of(file) < day:
                    for rows in parquet.groups(parquet.ParquetFile(file), list(PLACE)):
                        self._note(rows)
        self.day = day
        write_durably(self.file, json.dumps({"day": self.day, "places": self.places}).encode())

    def _note(self, rows: pa.Table) -> None:
        last = rows.group_by(["node", "file"]).aggregate([("offset", "max")])
        for node, file, offset in zip(*(last[name].to_pylist() for name in LAST), strict=True):
            known = self.places.setdefault(node, {})
            known[file] = max(offset, known.pop(file, -1))
            if len(known) > FILES:
                del known[next(iter(known))]

    def knows(self, day: str, place: tuple[Any, ...]) -> bool:
        """Whether a line that came in on a day is one that came in on an earlier one."""
        node, file, offset = place
        return day == self.day and offset <= self.places.get(node, {}).get(file, -1)


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
    """Files that could not be read, in words."""
    return [
        f"{file} could not be read any more, and another one was begun: look at it, and remove it"
        for file in sorted(layout.logs.glob(f"year=*/month=*/day=*/{SET_ASIDE}*"))
    ]
