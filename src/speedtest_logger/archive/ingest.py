"""ingest: inbox to Parquet. A receipted record leaves the inbox only when its month's file is durable."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa

from speedtest_logger.archive import schema, store
from speedtest_logger.archive.layout import Layout, ulid
from speedtest_logger.errors import RecordError
from speedtest_logger.record import utc_text, validate
from speedtest_logger.spool import write_durably

CHUNK_BYTES = 8_000_000  # read and judged at once
BATCH_BYTES = 32_000_000  # added to the dataset at once: about 45,000 records
Batch = tuple[list[Path], pa.Table]


@dataclass
class Outcome:
    """What an ingest did."""

    files: int = 0
    rows: int = 0
    added: int = 0
    duplicates: int = 0
    quarantined: int = 0
    months: int = 0


def ingest(layout: Layout, progress: Callable[[int], None] | None = None) -> Outcome:
    """Move everything in the inbox into the dataset; `progress` hears of each batch how many files it had.

    Raises StorageError while another change of the archive is running.
    """
    outcome = Outcome()
    with suppress(NotImplementedError):  # not built in everywhere; it gives memory back less eagerly: a fifth less CPU
        pa.set_memory_pool(pa.jemalloc_memory_pool())
    with store.single_writer(layout, "ingest"):
        for files, table in ahead(batches(layout, outcome)):
            months = store.commit(layout, "ingest", table) if table.num_rows else []
            for file in files:
                file.unlink()
            added = sum(month.added for month in months)
            outcome.files += len(files)
            outcome.rows += table.num_rows
            outcome.added += added
            outcome.duplicates += table.num_rows - added
            outcome.months += len(months)
            if progress:
                progress(len(files))
        state = {"at": utc_text(time.time()), **asdict(outcome)}
        write_durably(layout.state / "ingest.json", json.dumps(state).encode())
    return outcome


def ahead(found: Iterator[Batch]) -> Iterator[Batch]:
    """The same batches, each read while the one before it is written."""
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, found, None)
        while (batch := coming.result()) is not None:
            coming = reader.submit(next, found, None)
            yield batch


def batches(layout: Layout, outcome: Outcome) -> Iterator[Batch]:
    """Inbox files with their rows, node by node and each node's oldest first; bounded in memory."""
    files: list[Path] = []
    tables: list[pa.Table] = []
    size = 0
    for chunk, contents in chunks(layout):
        table, damaged = read(chunk, contents)
        for entry in damaged:
            quarantine_line(layout, entry)
        outcome.quarantined += len(damaged)
        tables.append(table)
        files += chunk
        size += sum(map(len, contents))
        if size >= BATCH_BYTES:
            yield files, pa.concat_tables(tables)
            files, tables, size = [], [], 0
    if files:
        yield files, pa.concat_tables(tables)


def chunks(layout: Layout) -> Iterator[tuple[list[Path], list[bytes]]]:
    """A node's files and their contents, some CHUNK_BYTES at a time: many small files are judged as one."""
    waiting = sorted(layout.inbox.glob("*/*.jsonl"))
    for _, files in groupby(waiting, key=lambda file: file.parent):
        chunk: list[Path] = []
        contents: list[bytes] = []
        size = 0
        for file in files:
            chunk.append(file)
            contents.append(file.read_bytes())
            size += len(contents[-1])
            if size >= CHUNK_BYTES:
                yield chunk, contents
                chunk, contents, size = [], [], 0
        if chunk:
            yield chunk, contents


@dataclass
class Damaged:
    """A line that is no record any more."""

    file: Path
    line: bytes
    error: Exception


def read(files: list[Path], contents: list[bytes]) -> tuple[pa.Table, list[Damaged]]:
    """A node's files as one table, and what in them is no record any more (a torn or flipped disk)."""
    torn = any(content and not content.endswith(b"\n") for content in contents)
    table = None if torn else schema.read_lines(b"".join(contents), files[0].parent.name)
    damaged: list[Damaged] = []
    if table is None:
        rows: list[dict[str, Any]] = []
        for file, content in zip(files, contents, strict=True):
            judge(file, content, rows, damaged)
        table = schema.to_table(rows)
    return table, damaged


def judge(file: Path, content: bytes, rows: list[dict[str, Any]], damaged: list[Damaged]) -> None:
    """Judge a receipted file line by line."""
    for line in content.splitlines():
        try:
            row = json.loads(line.decode())
            if not isinstance(row, dict):
                raise RecordError("bad_json", "a row is an object")
            record = validate(row)
            if record.node != file.parent.name:
                raise RecordError("other_node", f"a row of node '{record.node}' in {file.parent.name}'s inbox")
        except (ValueError, RecursionError, RecordError) as error:
            damaged.append(Damaged(file, line, error))
        else:
            rows.append(record.to_row())


def quarantine_line(layout: Layout, damaged: Damaged) -> None:
    """Keep a damaged line with its reason."""
    folder = layout.quarantine / damaged.file.parent.name
    folder.mkdir(mode=0o750, exist_ok=True)
    entry = {
        "at": utc_text(time.time()),
        "file": damaged.file.name,
        "reason": getattr(damaged.error, "reason", "bad_json"),
        "message": str(damaged.error)[:300],
        "line": damaged.line.decode(errors="backslashreplace"),
    }
    write_durably(folder / f"{ulid()}.jsonl", (json.dumps(entry) + "\n").encode())


def waiting(layout: Layout) -> int:
    """Files in the inbox."""
    return sum(1 for _ in layout.inbox.glob("*/*.jsonl"))


def clear_leftovers(layout: Layout) -> int:
    """Remove temporary files of deliveries that a crash left behind more than an hour ago."""
    limit, removed = time.time() - 3600, 0
    for file in [*layout.inbox.glob("*/.*.tmp"), *layout.state.glob(".*.tmp")]:
        if file.stat().st_mtime < limit:
            file.unlink()
            removed += 1
    return removed
