"""Raw output, which nodes deliver on request: a second dataset beside the records.

    raw/node=NAME/year=YYYY/month=MM/day=DD/raw.parquet      one row per run: run_id, started_at, content

A run's record has the SHA-256 of its words, and the manifest has the record: so the words need no manifest of their own
and may be removed at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from speedtest_logger import wire
from speedtest_logger.archive.arrive import aside, inbox
from speedtest_logger.archive.arrive.chunks import UnreadableError, cause
from speedtest_logger.archive.arrive.limits import Limits
from speedtest_logger.archive.format import parquet
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.format.schema import RAW_SCHEMA, check_version
from speedtest_logger.archive.write.attempts import Attempts
from speedtest_logger.errors import DamagedFileError, RecordError, StorageError
from speedtest_logger.files import identities, open_regular, read_bounded, sync_directory
from speedtest_logger.record import unix_time, utc_text

Row = dict[str, Any]
OtherWords = Mapping[tuple[str, str], set[str]]  # SHA-256 of words that are not the stored record's, by node and run
CHUNK_BYTES = 4_000_000  # of deliveries that are done with together
UNPACKED_BYTES = 32_000_000  # that are in memory before they are written
GROUP_ROWS, GROUP_BYTES = 256, 8_000_000  # of a row group, unpacked: who reads has one in memory at a time
MB = 1_000_000
STARTED = re.compile(rb'"started_at": ?"(\d{4}-\d\d-\d\d)')


@dataclass(frozen=True)
class Bounds:
    """Most bytes: unpacked, of a node's day; at rest, of a node."""

    day: int = 64 * MB
    node: int = 2000 * MB

    @classmethod
    def of(cls, limits: Limits) -> Bounds:
        """As the limits say."""
        return cls(limits.raw_day_mb * MB, limits.raw_mb * MB)


@dataclass
class Day:
    """A day of a node: the runs that its file has, how many bytes still fit, and what is to be written."""

    known: set[str]
    room: int
    rows: list[Row] = field(default_factory=list)


class Taking:
    """Moves deliveries of raw output into the dataset, run by run, within bounds."""

    def __init__(self, layout: Layout, bounds: Bounds, other_words: OtherWords) -> None:
        self.layout, self.bounds, self.other_words = layout, bounds, other_words
        self.sizes = Sizes(layout)
        self.added = 0

    def take(self, files: list[Path]) -> None:
        """Take a node's files in and remove them.

        Raises DamagedFileError for a day that cannot be read, and then the files stay; UnreadableError for a delivery.
        """
        node = files[0].parent.name
        days: dict[str, Day] = {}
        over, size = 0, 0
        for file, line in sorted(lines_of(files), key=_day_in):  # or days would be written again and again
            try:
                run_id, started, content = parsed(line)
                day = f"{started:%Y-%m-%d}"
                if day not in days:
                    days[day] = self._day(node, day)
                if run_id in days[day].known:
                    continue
                if days[day].room <= 0 or self.sizes.of(node) >= self.bounds.node:
                    over += 1
                    continue
                words = wire.unpacked(content)
            except (ValueError, RecordError) as error:
                inbox.keep_damaged(self.layout, inbox.Damaged(file, line, error))
                continue
            days[day].known.add(run_id)
            if self._is_anothers(node, run_id, words):
                continue
            days[day].room -= len(words)
            days[day].rows.append({"run_id": run_id, "started_at": started, "content": words})
            size += len(words)
            if size >= UNPACKED_BYTES:
                self._write(node, days)
                size = 0
        self._write(node, days)
        if over:
            aside.count(self.layout.quarantine / node, aside.RAW_LIMIT, over)
        for file in files:
            file.unlink(missing_ok=True)

    def _day(self, node: str, day: str) -> Day:
        file = self.layout.raw_file(node, day)
        if not file.exists():
            return Day(set(), self.bounds.day)
        source = parquet.ParquetFile(file)
        known = {run for rows in parquet.groups(source, ["run_id"]) for run in rows["run_id"].to_pylist()}
        return Day(known, self.bounds.day - unpacked_bytes(source))

    def _is_anothers(self, node: str, run_id: str, words: bytes) -> bool:
        """Whether raw output is that of a record in quarantine: the run's own is the stored record's."""
        others = self.other_words.get((node, run_id))
        return others is not None and hashlib.sha256(words).hexdigest() in others

    def _write(self, node: str, days: dict[str, Day]) -> None:
        for day, found in days.items():
            if found.rows:
                file = self.layout.raw_file(node, day)
                before = file.stat().st_size if file.exists() else 0
                self.added += add(file, found.rows)
                self.sizes.change(node, file.stat().st_size - before)
                found.rows = []


class Sizes:
    """Bytes of each node's raw output at rest, added up once a day and kept in state/raw.json."""

    def __init__(self, layout: Layout) -> None:
        self.layout, self.file, self.today = layout, layout.state / "raw.json", utc_text(time.time())[:10]
        self.known: dict[str, int] = {}
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            content = json.loads(read_bounded(self.file))
            if content["day"] == self.today:
                self.known = {str(node): int(size) for node, size in content["nodes"].items()}

    def of(self, node: str) -> int:
        """A node's bytes."""
        if node not in self.known:
            self.known[node] = sum(found.size for found in identities(self.layout.raw_files(node)).values())
        return self.known[node]

    def change(self, node: str, by: int) -> None:
        """A file became longer, or new."""
        self.known[node] = self.of(node) + by if node in self.known else self.of(node)
        self.file.write_text(json.dumps({"day": self.today, "nodes": self.known}), encoding="utf-8")


def ingest(taking: Taking, attempts: Attempts) -> list[str]:
    """Move what was delivered into the dataset, under the writer's lock.

    Returns what is wrong with days that cannot be read any more: what belongs in these stays in the inbox.
    """
    damaged: list[str] = []
    for files in inbox.chunks(taking.layout.raw_inbox, CHUNK_BYTES, attempts.suspects()):
        attempts.at(files)
        try:
            taking.take(files)
        except DamagedFileError as error:
            damaged.append(str(error))
        except (StorageError, OSError):
            raise
        except Exception as error:  # whatever it is: others are not to wait for it
            attempts.failed(files, cause(error))
    return damaged


def lines_of(files: list[Path]) -> Iterator[tuple[Path, bytes]]:
    """The lines of deliveries, one in memory at a time. Raises UnreadableError."""
    for file in files:
        try:
            with open_regular(file, inbox.MOST_BYTES) as stream:
                for line in stream:
                    yield file, line.rstrip(b"\n")
        except FileNotFoundError:
            continue
        except OSError as error:
            raise UnreadableError(cause(error)) from error


def _day_in(entry: tuple[Path, bytes]) -> bytes:
    found = STARTED.search(entry[1])
    return found[1] if found else b""


def parsed(line: bytes) -> tuple[str, datetime, object]:
    """Run, start and packed words of a delivered line. Raises ValueError and RecordError for one that is none."""
    row = json.loads(line)
    if not isinstance(row, dict) or not isinstance(row.get("run_id"), str):
        raise RecordError("bad_raw", "raw output without run_id")
    started = datetime.fromtimestamp(unix_time(str(row.get("started_at"))), tz=timezone.utc)
    return row["run_id"], started, row.get("content")


def unpacked_bytes(source: parquet.ParquetFile) -> int:
    """Bytes of a file's values when they are unpacked, as its footer says."""
    return sum(source.metadata.row_group(number).total_byte_size for number in range(source.num_row_groups))


def add(file: Path, runs: list[Row]) -> int:
    """Add runs to a day, each once; returns how many were new. Durable when this returns. Raises DamagedFileError."""
    old = [RAW_SCHEMA.empty_table()]
    if file.exists():
        with parquet.reading(file):
            source = parquet.ParquetFile(file)
            check_version(source.schema_arrow.metadata, file)
            old += parquet.groups(source)
    known = {run_id for rows in old for run_id in rows["run_id"].to_pylist()}
    fresh = [row for row in runs if row["run_id"] not in known]
    if fresh:
        rows = pa.concat_tables([*old, pa.Table.from_pylist(fresh, RAW_SCHEMA)]).combine_chunks()
        old.clear()
        parquet.make_folders(file.parent)
        with parquet.new_file(parquet.beside(file)) as stream:
            parquet.write_groups(stream, in_order(rows), RAW_SCHEMA)
        os.replace(parquet.beside(file), file)
        sync_directory(file.parent)
    return len(fresh)


def in_order(rows: pa.Table) -> Iterator[pa.Table]:
    """Rows by their start, as many at a time as a row group is to have."""
    order = pc.sort_indices(rows, [("started_at", "ascending")])
    first, size = 0, 0
    for place, length in enumerate(pc.binary_length(rows["content"]).take(order).to_pylist()):
        if place > first and (size + length > GROUP_BYTES or place - first == GROUP_ROWS):
            yield rows.take(order[first:place])
            first, size = place, 0
        size += length
    yield rows.take(order[first:])
