"""ingest: inbox to Parquet. One writer; a receipted record leaves the inbox only when its month's file is durable."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from speedtest_logger.archive import store
from speedtest_logger.archive.layout import Layout, ulid
from speedtest_logger.errors import RecordError, StorageError
from speedtest_logger.record import utc_text, validate
from speedtest_logger.spool import sync_directory, write_durably

BATCH_ROWS = 200_000


@dataclass
class Outcome:
    """What an ingest did."""

    files: int = 0
    rows: int = 0
    added: int = 0
    duplicates: int = 0
    quarantined: int = 0
    months: int = 0


def ingest(layout: Layout) -> Outcome:
    """Move everything in the inbox into the dataset. Raises StorageError while another ingest runs."""
    outcome = Outcome()
    with single_writer(layout):
        for files, rows in batches(layout, outcome):
            for (location, year, month), group in store.month_keys(rows).items():
                add(layout.month_file(location, year, month), group, outcome)
            for file in files:
                file.unlink()
            outcome.files += len(files)
        state = {"at": utc_text(time.time()), **asdict(outcome)}
        write_durably(layout.state / "ingest.json", json.dumps(state).encode())
    return outcome


@contextmanager
def single_writer(layout: Layout) -> Iterator[None]:
    """One ingest at a time; readers never wait."""
    with (layout.state / "ingest.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StorageError("another ingest is running") from error
        yield


def batches(layout: Layout, outcome: Outcome) -> Iterator[tuple[list[Path], list[dict[str, Any]]]]:
    """Inbox files, oldest first, with their rows; bounded in memory."""
    files: list[Path] = []
    rows: list[dict[str, Any]] = []
    for file in sorted(layout.inbox.glob("*/*.jsonl"), key=lambda found: found.name):
        rows += read_inbox_file(layout, file, outcome)
        files.append(file)
        if len(rows) >= BATCH_ROWS:
            yield files, rows
            files, rows = [], []
    if files:
        yield files, rows


def read_inbox_file(layout: Layout, file: Path, outcome: Outcome) -> list[dict[str, Any]]:
    """The rows of a receipted file; a line that is no record any more (a torn or flipped disk) goes to quarantine."""
    rows = []
    for line in file.read_bytes().splitlines():
        try:
            row = json.loads(line.decode())
            if not isinstance(row, dict):
                raise RecordError("bad_json", "a row is an object")
            record = validate(row)
            if record.node != file.parent.name:
                raise RecordError("other_node", f"a row of node '{record.node}' in {file.parent.name}'s inbox")
        except (ValueError, RecursionError, RecordError) as error:
            quarantine_line(layout, file, line, error)
            outcome.quarantined += 1
        else:
            rows.append(record.to_row())
    outcome.rows += len(rows)
    return rows


def quarantine_line(layout: Layout, file: Path, line: bytes, error: Exception) -> None:
    """Keep a damaged line with its reason."""
    folder = layout.quarantine / file.parent.name
    folder.mkdir(mode=0o750, exist_ok=True)
    entry = {
        "at": utc_text(time.time()),
        "file": file.name,
        "reason": getattr(error, "reason", "bad_json"),
        "message": str(error)[:300],
        "line": line.decode(errors="backslashreplace"),
    }
    write_durably(folder / f"{ulid()}.jsonl", (json.dumps(entry) + "\n").encode())


def add(file: Path, rows: list[dict[str, Any]], outcome: Outcome) -> None:
    """Merge rows of one location and month into its file; a file that would not change is not written."""
    old = store.read_month(file)
    merged = store.merge(old, store.to_table(rows))
    added = merged.num_rows - old.num_rows
    outcome.added += added
    outcome.duplicates += len(rows) - added
    if added:
        store.replace_month(file, merged)
        outcome.months += 1


def waiting(layout: Layout) -> int:
    """Files in the inbox."""
    return sum(1 for _ in layout.inbox.glob("*/*.jsonl"))


def clear_leftovers(layout: Layout) -> int:
    """Remove temporary files that a crash left behind more than an hour ago."""
    limit, removed = time.time() - 3600, 0
    for file in [*layout.inbox.glob("*/.*.tmp"), *layout.archive.glob("*/*/*/.*.tmp"), *layout.state.glob(".*.tmp")]:
        if file.stat().st_mtime < limit:
            os.unlink(file)
            sync_directory(file.parent)
            removed += 1
    return removed
