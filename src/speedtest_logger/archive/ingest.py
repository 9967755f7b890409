"""ingest: inbox to Parquet. A receipted record leaves the inbox only when its month's file is durable."""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from speedtest_logger.archive import inbox, json_lines, month, raw, store
from speedtest_logger.archive.layout import Layout, is_sealed
from speedtest_logger.archive.snapshot import identities
from speedtest_logger.errors import DamagedFileError, RecordError
from speedtest_logger.record import utc_text, validate
from speedtest_logger.spool import write_durably

CHUNK_BYTES = 8_000_000  # read and judged at once
LARGE_BYTES = 1_000_000  # of files: worth a reader that takes some time to start
BATCH_BYTES = 32_000_000  # added to the dataset at once: about 45,000 records
READERS = min(4, os.cpu_count() or 2)  # chunks that are read at the same time
READ_AHEAD = 4  # chunks that are read while a batch is written
Batch = tuple[list[Path], pa.Table]


@dataclass
class Chunk:
    """Some files of a node, judged: their rows as BATCH_SCHEMA and what in them is no record any more."""

    files: list[Path]
    size: int
    table: pa.Table
    damaged: list[inbox.Damaged]


@dataclass
class Outcome:
    """What an ingest did; `waiting` files stay in the inbox, for records of theirs belong in `damaged` months."""

    files: int = 0
    rows: int = 0
    added: int = 0
    duplicates: int = 0
    quarantined: int = 0
    months: int = 0
    raw: int = 0
    waiting: int = 0
    damaged: list[str] = field(default_factory=list)


def ingest(layout: Layout, progress: Callable[[int], None] | None = None, wait: float = 0) -> Outcome:
    """Move everything in the inbox into the dataset; `progress` hears of each batch how many files it had.

    What belongs in a month that cannot be read any more stays in the inbox, and the month is named in the outcome.
    Raises StorageError while another change of the archive is running, after `wait` seconds.
    """
    outcome = Outcome()
    with suppress(NotImplementedError):  # not built in everywhere; it gives memory back less eagerly: a fifth less CPU
        pa.set_memory_pool(pa.jemalloc_memory_pool())
    with store.single_writer(layout, "ingest", wait):
        for files, table in batches(layout, outcome):
            take(layout, files, table, outcome)
            if progress:
                progress(len(files))
        outcome.raw, damaged = raw.ingest(layout)
        outcome.damaged += damaged
        state = {"at": utc_text(time.time()), **asdict(outcome)}
        write_durably(layout.state / "ingest.json", json.dumps(state).encode())
    return outcome


def take(layout: Layout, files: list[Path], table: pa.Table, outcome: Outcome) -> None:
    """Add a batch's rows to the dataset and remove its files, but those of nodes some of whose rows must wait."""
    months: list[month.Written] = []
    waiting: set[str] = set()
    while table.num_rows:
        try:
            months = store.commit(layout, "ingest", table)
        except DamagedFileError as error:
            theirs = store.rows_of(layout, table, error.file)
            if not pc.any(theirs).as_py():  # no month that these rows belong in
                raise
            waiting |= set(table.filter(theirs)["node"].to_pylist())
            table = table.filter(pc.invert(theirs))
            if str(error) not in outcome.damaged:
                outcome.damaged.append(str(error))
        else:
            break
    staying = [file for file in files if file.parent.name in waiting]
    for file in set(files) - set(staying):
        file.unlink()
    added = sum(written.added for written in months)
    outcome.files += len(files) - len(staying)
    outcome.waiting += len(staying)
    outcome.rows += table.num_rows
    outcome.added += added
    outcome.duplicates += table.num_rows - added
    outcome.months += len(months)


def batches(layout: Layout, outcome: Outcome) -> Iterator[Batch]:
    """Inbox files with their rows, node by node and each node's oldest first; bounded in memory."""
    files: list[Path] = []
    tables: list[pa.Table] = []
    size = 0
    for chunk in ahead(inbox.chunks(layout.inbox, CHUNK_BYTES)):
        for entry in chunk.damaged:
            inbox.keep_damaged(layout, entry)
        outcome.quarantined += len(chunk.damaged)
        tables.append(chunk.table)
        files += chunk.files
        size += chunk.size
        if size >= BATCH_BYTES:
            yield files, pa.concat_tables(tables)
            files, tables, size = [], [], 0
    if files:
        yield files, pa.concat_tables(tables)


def ahead(found: Iterator[list[Path]]) -> Iterator[Chunk]:
    """Files as chunks in their order; some are read while those before are written."""
    with ThreadPoolExecutor(READERS) as pool:
        coming: deque[Future[Chunk]] = deque()
        for files in found:
            coming.append(pool.submit(read, files))
            if len(coming) > READ_AHEAD:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()


def read(files: list[Path]) -> Chunk:
    """A node's files as one table, and what in them is no record any more (a torn or flipped disk)."""
    contents = inbox.contents(files)
    table = read_at_once(contents, files[0].parent.name)
    damaged: list[inbox.Damaged] = []
    if table is None:
        rows: list[dict[str, Any]] = []
        for file, content in contents.items():
            judge(file, content, rows, damaged)
        table = json_lines.to_table(rows)
    return Chunk(list(contents), sum(map(len, contents.values())), table, damaged)


def read_at_once(contents: dict[Path, bytes], node: str) -> pa.Table | None:
    """A node's files as one table, or None where something in them is not as receive would have it."""
    seals = {is_sealed(file.name, content) for file, content in contents.items()}
    if False in seals or any(content and not content.endswith(b"\n") for content in contents.values()):
        return None
    judged = seals == {True}
    if judged and sum(map(len, contents.values())) >= LARGE_BYTES:
        lines = sum(content.count(b"\n") for content in contents.values())
        return json_lines.read_deliveries(list(contents), lines, node)
    return json_lines.read_lines(b"".join(contents.values()), node, judged=judged)


def judge(file: Path, content: bytes, rows: list[dict[str, Any]], damaged: list[inbox.Damaged]) -> None:
    """Judge a receipted file line by line; one that was altered to other valid rows is kept in the quarantine too."""
    before = len(damaged)
    for line in content.splitlines():
        try:
            row = json.loads(line.decode())
            if not isinstance(row, dict):
                raise RecordError("bad_json", "a row is an object")
            record = validate(row)
            if record.node != file.parent.name:
                raise RecordError("other_node", f"a row of node '{record.node}' in {file.parent.name}'s inbox")
        except (ValueError, RecursionError, RecordError) as error:
            damaged.append(inbox.Damaged(file, line, error))
        else:
            rows.append(record.to_row())
    if len(damaged) == before and is_sealed(file.name, content) is False:
        altered = RecordError("altered", "not the bytes that were receipted; its rows are valid and were taken in")
        damaged.append(inbox.Damaged(file, content, altered))


def problems(layout: Layout) -> list[str]:
    """What the last ingest could not write to, in words."""
    try:
        return [str(words) for words in json.loads((layout.state / "ingest.json").read_text())["damaged"]]
    except (OSError, ValueError, KeyError, TypeError):  # none yet, or an earlier version's
        return []


def clear_leftovers(layout: Layout) -> int:
    """Remove temporary files of deliveries that a crash left behind more than an hour ago."""
    limit = (time.time() - 3600) * 1e9
    folders = (layout.inbox.glob("*/.*.tmp"), layout.raw_inbox.glob("*/.*.tmp"), layout.state.glob(".*.tmp"))
    found = identities(chain.from_iterable(folders))  # those of deliveries under way go while this looks
    old = [file for file, identity in found.items() if identity.mtime_ns < limit]
    for file in old:
        file.unlink()
    return len(old)
