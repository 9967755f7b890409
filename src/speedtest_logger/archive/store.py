"""Changing the dataset: months are written beside the old ones, the manifest takes them in, then they take their place.

A crash before the manifest's line leaves the old months, one after it is finished by the next writer. One writer;
readers never wait and see each month as it was or as it is.
"""

from __future__ import annotations

import bisect
import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from speedtest_logger.archive import digest, index, manifest
from speedtest_logger.archive.layout import Layout, month_of
from speedtest_logger.archive.schema import SCHEMA, SORT_KEYS, check_version, milliseconds, numbered
from speedtest_logger.errors import StorageError
from speedtest_logger.record import COLUMNS
from speedtest_logger.spool import sync_directory

ROW_GROUP = 65_536  # rows that are in memory at once while a month is written, whatever its size
# What repeats is worth a dictionary, times are best as differences: a third smaller and faster than all alike. A page
# that ends only with its row group is a fifth faster to read.
REPEATED = [name for name, kind in COLUMNS.items() if kind in ("id", "text", "runtime", "status", "reason")]
REPEATED += ["schema_version", "attempt", "ip_family", "day"]
WRITING: dict[str, Any] = {
    "compression": "zstd",
    "use_dictionary": REPEATED,
    "column_encoding": {name: "DELTA_BINARY_PACKED" for name, kind in COLUMNS.items() if kind == "time"},
    "max_rows_per_page": 1 << 20,
}
THREADS = min(4, os.cpu_count() or 2)


@dataclass
class Written:
    """A month that lies beside its file, ready to take its place."""

    file: Path
    added: int
    rows: int = 0
    days: dict[str, tuple[int, str]] = field(default_factory=dict)
    columns: list[str] = field(default_factory=list)
    new: bool = False

    @property
    def temporary(self) -> Path:
        """Where it lies; readers skip names with a leading dot."""
        return beside(self.file)

    def entry(self) -> dict[str, Any]:
        """What the manifest says of it."""
        facts = {
            "sha256": digest.sha256_of(self.temporary),
            "bytes": self.temporary.stat().st_size,
            "rows": self.rows,
            "days": self.days,
        }
        return {**facts, "new": True} if self.new else facts


def beside(file: Path) -> Path:
    """The temporary name of a month's next content."""
    return file.with_name(f".{file.name}.tmp")


@contextmanager
def single_writer(layout: Layout, verb: str, wait: float = 0) -> Iterator[None]:
    """One change at a time; what a crash left is finished or removed first. Raises StorageError as `locked`."""
    with locked(layout, verb, wait):
        recover(layout)
        unfinished = layout.state / "writing"
        unfinished.touch()
        sync_directory(layout.state)
        yield
        unfinished.unlink()


@contextmanager
def as_owner(root: Path) -> Iterator[None]:
    """Where root is at work, what is written belongs to the archive's owner: the service must be able to replace it."""
    owner = root.stat()
    if os.geteuid() != 0 or owner.st_uid == 0:
        yield
        return
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@contextmanager
def locked(layout: Layout, verb: str, wait: float = 0) -> Iterator[None]:
    """While this holds nothing changes. Raises StorageError while another change is running, after `wait` seconds."""
    with as_owner(layout.root), _lock_file(layout) as lock:
        deadline = time.monotonic() + wait
        while not _locked(lock):
            if time.monotonic() >= deadline:
                raise StorageError(f"another change of the archive is running: start {verb} again after it")
            time.sleep(0.1)
        yield


def _lock_file(layout: Layout) -> TextIO:
    layout.prepare()
    return (layout.state / "ingest.lock").open("w")


def _locked(lock: TextIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def recover(layout: Layout) -> None:
    """Finish what the manifest promised and remove what it did not. Raises StorageError for a newer archive."""
    _, _, last = manifest.head(layout)
    check_version({b"schema_version": str(last.get("schema_version", 1)).encode()}, layout.manifest)
    if (layout.state / "writing").exists():
        settle(layout, last.get("files", {}))
        for dataset in (layout.archive, layout.raw):
            for leftover in dataset.rglob(".*.tmp"):
                leftover.unlink()
    if not last and (files := layout.month_files()):  # an archive from before there was a manifest
        manifest.append(layout, "adopt", {layout.name(file): describe(file) for file in files})


def describe(file: Path) -> dict[str, Any]:
    """A file's entry for the manifest, from its content."""
    days: dict[str, tuple[int, str]] = {}
    source = pq.ParquetFile(file)
    for _ in of_days(source.iter_batches(ROW_GROUP), None, days):
        pass
    size = file.stat().st_size
    rows = source.metadata.num_rows
    return {"sha256": digest.sha256_of(file), "bytes": size, "rows": rows, "days": days, "new": True}


def commit(layout: Layout, verb: str, batch: pa.Table) -> list[Written]:
    """Add a batch's rows to their months, each run once: its first row stands. Durable when this returns.

    `batch` has BATCH_SCHEMA. Returns the months that changed. Raises StorageError and OSError; nothing is half done.
    """
    pieces = list(by_month(layout, first_of_each_run(batch)))
    try:
        with ThreadPoolExecutor(THREADS) as pool:
            written = [month for month in pool.map(lambda piece: write_month(*piece), pieces) if month.added]
            entries: manifest.Files = dict(
                zip((layout.name(m.file) for m in written), pool.map(Written.entry, written), strict=True)
            )
        if entries:
            manifest.append(layout, verb, entries)
    except OSError:
        for file, _ in pieces:
            beside(file).unlink(missing_ok=True)
        raise
    index.note(layout, batch, [month.columns for month in written])
    settle(layout, dict.fromkeys(entries), promised=False)
    return written


def settle(layout: Layout, files: dict[str, Any], *, promised: bool = True) -> None:
    """Put months in their places, or remove those that are to be pruned; `promised` checks what lies there first."""
    for name, entry in files.items():
        month_of(name)
        file = layout.archive / name
        temporary = beside(file)
        if promised and entry is None:
            file.unlink(missing_ok=True)
        elif temporary.exists() and (not promised or digest.sha256_of(temporary) == entry["sha256"]):
            os.replace(temporary, file)
        if file.parent.is_dir():
            sync_directory(file.parent)


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
        year, month = divmod(int(months[first]), 12)
        yield (
            layout.month_file(batch["location"][first].as_py(), 1970 + year, month + 1),
            rows.slice(first, end - first),
        )


def write_month(file: Path, fresh: pa.Table) -> Written:
    """Write a month with what is new in `fresh` beside its file; one that would not change is not written."""
    old = pq.ParquetFile(file) if file.exists() else None
    if old:
        check_version(old.schema_arrow.metadata, file)
    # most months are one row group, which is read once; of a longer one the runs first, then a group at a time
    known = list(groups(old)) if old and old.num_row_groups == 1 else None
    fresh = unknown_only(known or groups(old, ["run_id"]), fresh)
    month = Written(file, fresh.num_rows, new=old is None)
    if not month.added:
        return month
    make_folders(file.parent)
    schema = united(old.schema_arrow if old else SCHEMA)
    month.columns = schema.names
    touched = set(pc.unique(fresh["day"]).to_pylist())
    month.rows = fresh.num_rows + (old.metadata.num_rows if old else 0)
    write_parquet(
        month.temporary, of_days(merged(known or groups(old), fresh, schema), touched, month.days), schema, ROW_GROUP
    )
    return month


def write_parquet(file: Path, pieces: Iterable[pa.Table], schema: pa.Schema, rows: int) -> None:
    """Write a file in row groups of `rows`; it is on disk when this returns. Raises OSError and leaves nothing."""
    try:
        with file.open("wb") as stream:
            with pq.ParquetWriter(stream, schema, **WRITING) as writer:
                for group in regular(pieces, rows):
                    writer.write_table(group, rows)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError:
        file.unlink(missing_ok=True)
        raise


def make_folders(folder: Path) -> None:
    """Make a month's folder and those above it durable where they are new."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        new.mkdir(mode=0o755, exist_ok=True)
        sync_directory(new.parent)


def united(schema: pa.Schema) -> pa.Schema:
    """A month's columns: those of today in their order, then those that only the file knows."""
    others = [column for column in schema if column.name not in SCHEMA.names]
    return pa.schema([*SCHEMA, *others], metadata=SCHEMA.metadata)


def first_of_each_run(batch: pa.Table) -> pa.Table:
    """The batch without rows whose run came further up."""
    if pc.count_distinct(batch["run_id"]).as_py() == batch.num_rows:
        return batch
    places: dict[str, int] = {}
    for place, run_id in enumerate(batch["run_id"].to_pylist()):
        places.setdefault(run_id, place)
    return batch.take(pa.array(places.values(), pa.int64()))


def groups(file: pq.ParquetFile | None, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """A file's row groups, one in memory at a time; none of no file."""
    if file:
        yield from (file.read_row_group(group, columns) for group in range(file.num_row_groups))


def unknown_only(old: Iterable[pa.Table], fresh: pa.Table) -> pa.Table:
    """The rows whose run is not in the month yet."""
    runs = fresh["run_id"].combine_chunks()
    known = pa.repeat(pa.scalar(False), len(runs))
    for group in old:
        known = pc.or_(known, pc.is_in(runs, value_set=group["run_id"]))
    return fresh.filter(pc.invert(known)) if pc.any(known, min_count=0).as_py() else fresh


def merged(old: Iterable[pa.Table], fresh: pa.Table, schema: pa.Schema) -> Iterator[pa.Table]:
    """Old and fresh rows in order, a piece of the old file at a time."""
    fresh = aligned(fresh, schema)
    for group in old:
        piece = aligned(group, schema)
        last = key(piece, piece.num_rows - 1)
        cut = bisect.bisect_right(range(fresh.num_rows), last, key=lambda place: key(fresh, place))
        yield in_order(pa.concat_tables([piece, fresh.slice(0, cut)])) if cut else piece
        fresh = fresh.slice(cut)
    if fresh.num_rows:
        yield fresh


def in_order(table: pa.Table) -> pa.Table:
    """A table's rows as a file has them."""
    return table.take(pc.sort_indices(table, SORT_KEYS))


def aligned(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """A table with a schema's columns; those that it lacks are NULL."""
    if table.schema.equals(schema, check_metadata=False):
        return table
    columns = [
        table[column.name].cast(column.type)
        if column.name in table.column_names
        else pa.nulls(table.num_rows, column.type)
        for column in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def key(table: pa.Table, place: int) -> tuple[Any, ...]:
    """What a row is sorted by; its time as a number, for which no time zone is looked up."""
    (time_name, _), *names = SORT_KEYS
    return table[time_name][place].value, *(table[name][place].as_py() for name, _ in names)


def of_days(
    pieces: Iterable[pa.Table | pa.RecordBatch], wanted: set[date] | None, days: dict[str, tuple[int, str]]
) -> Iterator[pa.Table]:
    """Pass pieces on and note rows and digest of the wanted days (None: all) in `days` as each day ends."""
    open_day: date | None = None
    held: list[tuple[digest.Canonical, int, int]] = []

    def close() -> None:
        if held and open_day:
            rows = sum(last - first for _, first, last in held)
            days[open_day.isoformat()] = (rows, digest.digest_of_rows(held))
        held.clear()

    for piece in pieces:
        table = pa.Table.from_batches([piece]) if isinstance(piece, pa.RecordBatch) else piece
        runs = list(_runs(table["day"]))
        chosen = [run for run in runs if wanted is None or run[0] in wanted]
        start = chosen[0][1] if chosen else 0  # what nobody asked for is not turned into bytes
        canonical = digest.Canonical(table.slice(start, chosen[-1][2] - start)) if chosen else None
        for day, first, end in runs:
            if day != open_day:
                close()
                open_day = day
            if canonical and (wanted is None or day in wanted):
                held.append((canonical, first - start, end - start))
        yield table
    close()


def _runs(days: pa.ChunkedArray) -> Iterator[tuple[date, int, int]]:
    """Each day with its first row and the one after its last; days are in order, as the rows are."""
    ends = np.flatnonzero(np.diff(days.cast(pa.int32()).to_numpy())) + 1
    for first, end in pairwise([*([0] if len(days) else []), *ends.tolist(), len(days)]):
        yield days[first].as_py(), first, end


def regular(pieces: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The same rows in groups of `rows`, so that many small pieces do not leave many small groups."""
    carried: list[pa.Table] = []
    for piece in pieces:
        carried.append(piece)
        while sum(table.num_rows for table in carried) >= rows:
            table = pa.concat_tables(carried)
            yield table.slice(0, rows)
            carried = [table.slice(rows)]
    if rest := pa.concat_tables(carried):
        yield rest
