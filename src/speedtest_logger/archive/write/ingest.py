"""ingest: inbox to Parquet. A receipted record leaves the inbox only when its month's file is durable."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from speedtest_logger.archive.arrive import aside, chunks, inbox, log_lines, probe_results
from speedtest_logger.archive.arrive.limits import Limits
from speedtest_logger.archive.arrive.limits import load as load_limits
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.format.schema import milliseconds, months, numbered
from speedtest_logger.archive.write import by_day, logs, probes, raw, store
from speedtest_logger.archive.write.attempts import Attempts
from speedtest_logger.errors import DamagedFileError, StorageError
from speedtest_logger.files import identities, read_bounded, write_durably
from speedtest_logger.record import utc_text

BATCH_BYTES = 32_000_000  # added to the dataset at once: about 45,000 records
MANY_MONTHS = 64  # that a node touches at once: it is taken in after all others, some months at a time
SLICE_MONTHS = 250
MB = 1_000_000
Batch = tuple[list[Path], pa.Table]


@dataclass
class Outcome:
    """What an ingest did; `waiting` files stay in the inbox, for records of theirs belong in `damaged` months."""

    files: int = 0
    rows: int = 0
    added: int = 0
    duplicates: int = 0
    different: int = 0
    quarantined: int = 0
    months: int = 0
    raw: int = 0
    log_lines: int = 0
    probe_results: int = 0
    waiting: int = 0
    damaged: list[str] = field(default_factory=list)


@dataclass
class Work:
    """A run of ingest: what it did so far, and the files that it passes over for now."""

    layout: Layout
    limits: Limits
    attempts: Attempts
    progress: Callable[[int], None] | None = None
    outcome: Outcome = field(default_factory=Outcome)
    held: set[Path] = field(default_factory=set)
    floods: list[list[Path]] = field(default_factory=list)
    other_words: dict[tuple[str, str], set[str]] = field(default_factory=dict)


def ingest(layout: Layout, progress: Callable[[int], None] | None = None, wait: float = 0) -> Outcome:
    """Move everything in the inbox into the dataset; `progress` hears of each batch how many files it had.

    What belongs in a month that cannot be read any more stays in the inbox, and the month is named in the outcome.
    Raises StorageError while another change of the archive is running, after `wait` seconds.
    """
    with suppress(NotImplementedError):  # not built in everywhere; it gives memory back less eagerly: a fifth less CPU
        pa.set_memory_pool(pa.jemalloc_memory_pool())
    with store.single_writer(layout, "ingest", wait):
        attempts = Attempts(layout)
        work = Work(layout, load_limits(layout)[0], attempts, progress, held=attempts.suspects())
        try:
            everything(work)
        except (StorageError, OSError):  # no file's fault
            attempts.done()
            raise
        state = {"at": utc_text(time.time()), **asdict(work.outcome)}
        write_durably(layout.state / "ingest.json", json.dumps(state).encode())
    return work.outcome


def everything(work: Work) -> None:
    """Records, raw output, then what would hold up others: floods of months, and files at which an ingest failed.

    What comes beside records is last: no record waits for it.
    """
    layout, outcome, attempts = work.layout, work.outcome, work.attempts
    newcomers(work)
    words = raw.Taking(layout, raw.Bounds.of(work.limits), work.other_words)
    outcome.damaged += raw.ingest(words, attempts)
    while work.floods:
        flood(work, work.floods.pop(0))
    outcome.damaged += attempts.retry(layout.inbox, lambda files: in_slices(work, files), work.limits.inbox_mb * MB)
    outcome.damaged += attempts.retry(layout.raw_inbox, words.take, work.limits.raw_inbox_mb * MB)
    outcome.raw = words.added
    if log_lines.are_due(layout, time.time()):
        lines = logs.Taking(layout)
        outcome.damaged += by_day.ingest(lines, attempts, work.limits.log_inbox_mb * MB)
        outcome.log_lines = lines.added
    if probe_results.are_due(layout, time.time()):
        results = probes.Taking(layout)
        outcome.damaged += by_day.ingest(results, attempts, work.limits.probe_inbox_mb * MB)
        outcome.probe_results = results.added


def flood(work: Work, files: list[Path]) -> None:
    """Take files in that touch many months."""
    work.attempts.done()
    work.attempts.at(files)
    try:
        in_slices(work, files)
    except (StorageError, OSError):
        raise
    except Exception as error:  # as in newcomers
        fail(work, files, chunks.cause(error))


def newcomers(work: Work) -> None:
    """Take in what waits and holds up nobody."""
    for files, table in batches(work):
        try:
            take(work, files, table)
        except (StorageError, OSError):
            raise
        except Exception as error:  # whatever it is: others are not to wait for it
            fail(work, files, chunks.cause(error))
        if work.progress:
            work.progress(len(files))


def fail(work: Work, files: list[Path], why: str) -> None:
    """Leave files for later at which the run failed."""
    work.attempts.failed(files, why)
    work.held |= set(files)


def in_slices(work: Work, files: list[Path]) -> None:
    """Take a node's files in some months at a time; what other nodes deliver meanwhile comes in between."""
    chunk = judged(work, chunks.read_alone(files))
    waiting: set[str] = set()
    for number, rows in enumerate(slices(chunk.table)):
        if number:
            newcomers(work)
        waiting |= add(work, rows)
    remove(work, chunk.files, waiting)


def slices(table: pa.Table) -> Iterator[pa.Table]:
    """Rows by months, SLICE_MONTHS at a time."""
    numbers = month_numbers(table)
    known = np.unique(numbers)
    for first in range(0, len(known), SLICE_MONTHS):
        yield table.filter(pa.array(np.isin(numbers, known[first : first + SLICE_MONTHS])))


def month_numbers(table: pa.Table) -> np.ndarray[Any, Any]:
    """A number for each row's location and month."""
    of_rows = months(milliseconds(table["started_at"]))
    numbers: np.ndarray[Any, Any] = numbered(table["location"])[0] * 100_000 + of_rows
    return numbers


def take(work: Work, files: list[Path], table: pa.Table) -> None:
    """Add a batch's rows to the dataset and remove its files, but those of nodes some of whose rows must wait."""
    remove(work, files, add(work, table))


def remove(work: Work, files: list[Path], waiting: set[str]) -> None:
    """Remove files whose rows are in the dataset, but those of nodes that must wait."""
    staying = {file for file in files if file.parent.name in waiting}
    for file in set(files) - staying:
        file.unlink()
    work.held |= staying
    work.outcome.files += len(files) - len(staying)
    work.outcome.waiting += len(staying)


def add(work: Work, table: pa.Table) -> set[str]:
    """Add rows to the dataset; returns the nodes some of whose rows must wait for a month that cannot be read."""
    outcome, layout = work.outcome, work.layout
    done = store.Committed()
    waiting: set[str] = set()
    while table.num_rows:
        try:
            done = store.commit(layout, "ingest", table)
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
    aside.keep(layout, done.different, work.limits.quarantine_mb * MB)
    for record in done.different:
        if record.words:
            work.other_words.setdefault((record.node, record.run_id), set()).add(record.words)
    outcome.rows += table.num_rows
    outcome.added += done.added
    outcome.different += len(done.different)
    outcome.duplicates += table.num_rows - done.added - len(done.different)
    outcome.months += len(done.months)
    return waiting


def batches(work: Work) -> Iterator[Batch]:
    """Inbox files with their rows, each node's oldest first and nobody's flood before others; bounded in memory."""
    files: list[Path] = []
    tables: list[pa.Table] = []
    size = 0
    for chunk in chunks.ahead(
        inbox.waiting(work.layout.inbox, chunks.CHUNK_BYTES, work.held, BATCH_BYTES), work.attempts.at
    ):
        if chunk.failure:
            fail(work, chunk.files, chunk.failure)
            continue
        if len(np.unique(month_numbers(chunk.table))) > MANY_MONTHS:
            work.floods.append(chunk.files)
            work.held |= set(chunk.files)
            continue
        tables.append(judged(work, chunk).table)
        files += chunk.files
        size += chunk.size
        if size >= BATCH_BYTES:
            yield files, pa.concat_tables(tables)
            files, tables, size = [], [], 0
    if files:
        yield files, pa.concat_tables(tables)


def judged(work: Work, chunk: chunks.Chunk) -> chunks.Chunk:
    """A chunk, when what is damaged in it is kept."""
    for entry in chunk.damaged:
        inbox.keep_damaged(work.layout, entry)
    work.outcome.quarantined += len(chunk.damaged)
    return chunk


def problems(layout: Layout) -> list[str]:
    """What the last ingest could not write to, in words."""
    try:
        return [str(words) for words in json.loads(read_bounded(layout.state / "ingest.json"))["damaged"]]
    except (OSError, ValueError, KeyError, TypeError):  # none yet, or an earlier version's
        return []


def clear_leftovers(layout: Layout) -> int:
    """Remove temporary files of deliveries that a crash left behind more than an hour ago."""
    limit = (time.time() - 3600) * 1e9
    inboxes = (layout.inbox, layout.raw_inbox, layout.log_inbox, layout.probe_inbox)
    folders = (*(folder.glob("*/.*.tmp") for folder in inboxes), layout.state.glob(".*.tmp"))
    found = identities(chain.from_iterable(folders))  # those of deliveries under way go while this looks
    old = [file for file, identity in found.items() if identity.mtime_ns < limit]
    for file in old:
        file.unlink()
    return len(old)
