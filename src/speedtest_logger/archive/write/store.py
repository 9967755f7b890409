"""Changing the dataset: months are written beside the old ones, the manifest takes them in, then they take their place.

A crash before the manifest's line leaves the old months, one after it is finished by the next writer. One writer;
readers never wait and see each month as it was or as it is.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from speedtest_logger import accounts
from speedtest_logger.archive.arrive.aside import Different
from speedtest_logger.archive.format import digest, month, parquet, runs
from speedtest_logger.archive.format.layout import Layout, month_of
from speedtest_logger.archive.format.schema import SCHEMA, SORT_KEYS, check_version, milliseconds, numbered
from speedtest_logger.archive.ledger import index, manifest
from speedtest_logger.archive.ledger.entry import Entry, Made, Rewritten
from speedtest_logger.archive.write import doubles
from speedtest_logger.errors import DamagedFileError, StorageError
from speedtest_logger.files import lock_within, open_lock, sync_directory

THREADS = min(4, os.cpu_count() or 2)


@contextmanager
def single_writer(layout: Layout, verb: str, wait: float = 0) -> Iterator[None]:
    """One change at a time; what a crash left is finished or removed first. Raises StorageError as `locked`."""
    with locked(layout, verb, wait):
        recover(layout)
        unfinished = layout.state / "writing"
        open_lock(unfinished).close()
        sync_directory(layout.state)
        yield
        unfinished.unlink()


@contextmanager
def as_owner(root: Path) -> Iterator[None]:
    """Where root is at work, what is written belongs to the archive's owner: the service must be able to replace it."""
    archive = root / "archive"
    with accounts.acting_as(accounts.owner_of(archive if os.path.lexists(archive) else root)):
        yield


@contextmanager
def locked(layout: Layout, verb: str, wait: float = 0) -> Iterator[None]:
    """While this holds nothing changes. Raises StorageError while another change is running, after `wait` seconds."""
    with as_owner(layout.root), _lock_file(layout) as lock:
        if not lock_within(lock, wait):
            raise StorageError(f"another change of the archive is running: run {verb} again when it has ended")
        yield


def _lock_file(layout: Layout) -> BinaryIO:
    layout.prepare()
    return open_lock(layout.state / "ingest.lock")


def recover(layout: Layout) -> None:
    """Finish what the manifest promised and remove what it did not. Raises StorageError for a newer archive."""
    last = manifest.head(layout).line
    check_version({b"schema_version": str(last.schema_version if last else 1).encode()}, layout.manifest)
    if (layout.state / "writing").exists():
        promised = last.files if last else {}
        keep_promises(layout, promised)
        for name in promised:  # which the crash may have kept from the index
            if (layout.archive / name).exists():
                with suppress(DamagedFileError):
                    index.note_file(layout, layout.archive / name)
        for dataset in (layout.archive, layout.raw):
            for leftover in dataset.rglob(".*.tmp"):
                leftover.unlink()
    if not last and (files := layout.month_files()):  # an archive from before there was a manifest
        manifest.append(layout, "adopt", {layout.name(file): Entry(month.describe(file), (Made(),)) for file in files})


@dataclass
class Committed:
    """What a batch did: the months that changed, and its records that are not what the dataset has of their runs."""

    months: list[month.Written] = field(default_factory=list)
    different: list[Different] = field(default_factory=list)

    @property
    def added(self) -> int:
        """How many rows were new."""
        return sum(written.added for written in self.months)


def commit(layout: Layout, verb: str, batch: pa.Table) -> Committed:
    """Add a batch's rows to their months, each run of a node once: its first row stands. Durable when this returns.

    `batch` has BATCH_SCHEMA. Raises StorageError, DamagedFileError for a month that cannot be read any more, and
    OSError; nothing is half done.
    """
    known = index.read(layout)
    parts = runs.split(batch)
    pairs: list[runs.Pairs] = []
    rows = doubles.elsewhere(layout, parts.firsts, known, pairs)
    pieces = list(by_month(layout, rows))
    try:
        with ThreadPoolExecutor(THREADS) as pool:
            looked = list(pool.map(lambda piece: month.write(*piece, paired=True), pieces))
            written = [found for found in looked if found.added]
            entries: manifest.Files = dict(
                zip((layout.name(new.file) for new in written), pool.map(entry_of, written), strict=True)
            )
        for found in looked:
            pairs += runs.located(found.pairs, month_of(layout.name(found.file))[0])
        different = doubles.different(pairs, parts)
        if entries:
            manifest.append(layout, verb, entries)
    except Exception:  # whatever it is: what the manifest does not know is not there
        for file, _ in pieces:
            parquet.beside(file).unlink(missing_ok=True)
        raise
    finish(layout, rows, written, known)
    return Committed(written, different)


def finish(layout: Layout, rows: pa.Table, written: list[month.Written], known: index.Index) -> None:
    """Put months in their places that the manifest has. Raises StorageError: the next writer finishes it then."""
    try:
        index.note(layout, rows, [new.columns for new in written], known)
        put_in_place(layout, [layout.name(new.file) for new in written])
    except Exception as error:  # whatever it is: the change is made, and no file is to be blamed for it
        raise StorageError(f"a change that is in the manifest already could not be finished: {error!r:.200}") from error


def entry_of(written: month.Written) -> Entry:
    """What the manifest says of a month that lies beside its file."""
    return Entry(written.facts(), (Made() if written.new else Rewritten(written.was()),))


def put_in_place(layout: Layout, names: Iterable[str]) -> None:
    """Have months that this process has written take their places."""
    for name in names:
        _take_place(layout, name)


def keep_promises(layout: Layout, files: manifest.Files) -> None:
    """Do what a line of the manifest says: remove months, and put those in their places that are what it names."""
    for name, entry in files.items():
        if entry.facts is None:
            _remove(layout, name)
        elif digest.is_of(parquet.beside(_file(layout, name)), entry.facts.sha256, entry.facts.size):
            _take_place(layout, name)


def _file(layout: Layout, name: str) -> Path:
    month_of(name)
    return layout.archive / name


def _take_place(layout: Layout, name: str) -> None:
    file = _file(layout, name)
    with suppress(FileNotFoundError):
        os.replace(parquet.beside(file), file)
    _sync(file.parent)


def _remove(layout: Layout, name: str) -> None:
    file = _file(layout, name)
    file.unlink(missing_ok=True)
    _sync(file.parent)


def _sync(folder: Path) -> None:
    if folder.is_dir():
        sync_directory(folder)


def remove_empty_folders(root: Path, names: list[str]) -> None:
    """Remove the partitions that files left empty."""
    for name in names:
        for folder in (root / name).parents:
            if "=" not in folder.name:
                break
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def by_month(layout: Layout, batch: pa.Table) -> Iterator[tuple[Path, pa.Table]]:
    """A batch's rows by the file that they belong in, sorted as the file is."""
    places, times = numbered(batch["location"])[0], milliseconds(batch["started_at"])
    if not bool((np.diff(places) >= 0).all() and (np.diff(times)[np.diff(places) == 0] > 0).all()):
        batch = batch.take(pc.sort_indices(batch, [("location", "ascending"), *SORT_KEYS]))
        places, times = numbered(batch["location"])[0], milliseconds(batch["started_at"])
    months = times.astype("M8[ms]").astype("M8[M]").astype("i8")  # since January 1970
    rows = batch.select(SCHEMA.names).replace_schema_metadata(SCHEMA.metadata)
    ends = np.flatnonzero((np.diff(places) != 0) | (np.diff(months) != 0)) + 1
    for first, end in pairwise([*([0] if batch.num_rows else []), *ends.tolist(), batch.num_rows]):
        year, number = divmod(int(months[first]), 12)
        yield (
            layout.month_file(batch["location"][first].as_py(), 1970 + year, number + 1),
            rows.slice(first, end - first),
        )


def rows_of(layout: Layout, batch: pa.Table, file: Path) -> pa.ChunkedArray:
    """Which of a batch's rows belong in a month's file."""
    location, year, number = month_of(layout.name(file))
    days = batch["day"]
    there = pc.and_(pc.equal(pc.year(days), year), pc.equal(pc.month(days), number))
    return pc.and_(there, pc.equal(batch["location"], location))
