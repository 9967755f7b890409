"""One month of a location: its rows in order, what is new merged in, and the file that takes the place of the old one.

Where a few rows come to a month, its newest day gets row groups of its own, behind a beginning with all earlier days.
While new rows are of that day, the beginning is copied as it is and only the day is written again. A row that belongs
further up, or begins another day, has the whole month written anew.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from speedtest_logger.archive.format import digest, parquet, runs, two_part
from speedtest_logger.archive.format.facts import Days, Facts
from speedtest_logger.archive.format.schema import SCHEMA, SORT_KEYS, check_version
from speedtest_logger.errors import DamagedFileError

ROW_GROUP = 65_536  # rows that are in memory at once while a month is written, whatever its size
DAY_BYTES = 32 << 20  # of a day's rows held until it ends; of a larger one the digest is taken from the file


@dataclass
class Written:
    """A month that lies beside its file, ready to take its place."""

    file: Path
    added: int
    rows: int = 0
    days: Days = field(default_factory=dict)
    columns: list[str] = field(default_factory=list)
    new: bool = False
    pairs: list[runs.Pairs] = field(default_factory=list)

    @property
    def temporary(self) -> Path:
        """Where it lies; readers skip names with a leading dot."""
        return parquet.beside(self.file)

    def facts(self) -> Facts:
        """What it holds; days are those that changed."""
        size = self.temporary.stat().st_size
        return Facts(digest.sha256_of(self.temporary), size, self.rows, self.days)

    def was(self) -> str:
        """The SHA-256 of the file whose place it takes. Raises DamagedFileError."""
        with parquet.reading(self.file):
            return digest.sha256_of(self.file)


def write(file: Path, fresh: pa.Table, *, paired: bool = False) -> Written:
    """Write a month with what is new in `fresh` beside its file; one that would not change is not written.

    `paired` keeps what is not new beside what the month has of it. Raises StorageError for a file of a later version,
    DamagedFileError for one that cannot be read, and OSError.
    """
    try:
        return _write(file, fresh, [] if paired else None)
    except parquet.NONSENSE as error:
        raise DamagedFileError(file, error) from error


def _write(file: Path, fresh: pa.Table, pairs: list[runs.Pairs] | None) -> Written:
    old = parquet.ParquetFile(file) if file.exists() else None
    if old:
        check_version(old.schema_arrow.metadata, file)
    # most months are one row group, which is read once; of a longer one the runs first, then a group at a time
    known = list(parquet.groups(old)) if old and old.num_row_groups == 1 else None
    fresh = unknown_only(old, fresh, known, pairs)
    month = Written(file, fresh.num_rows, new=old is None, pairs=pairs or [])
    if not month.added:
        return month
    parquet.make_folders(file.parent)
    schema = united(old.schema_arrow if old else SCHEMA)
    month.columns = schema.names
    touched = set(pc.unique(fresh["day"]).to_pylist())
    month.rows = fresh.num_rows + (old.metadata.num_rows if old else 0)
    how = two_part.plan(old, schema, month.added, touched) if old else None
    rest = known or parquet.groups(old, first=how.row_groups if isinstance(how, two_part.Beginning) else 0)
    large: list[date] = []
    pieces = of_days(merged(rest, fresh, schema), touched, month.days, large)
    with parquet.new_file(month.temporary) as stream:
        two_part.write(stream, how, pieces, schema, ROW_GROUP)
    note_large_days(month.temporary, large, month.days)
    return month


def united(schema: pa.Schema) -> pa.Schema:
    """A month's columns: those of today in their order, then those that only the file knows."""
    others = [column for column in schema if column.name not in SCHEMA.names]
    return pa.schema([*SCHEMA, *others], metadata=SCHEMA.metadata)


def unknown_only(
    old: parquet.ParquetFile | None,
    fresh: pa.Table,
    known: list[pa.Table] | None = None,
    pairs: list[runs.Pairs] | None = None,
) -> pa.Table:
    """The rows whose run is not in the month yet; `known` is the month's only row group, where it has been read."""
    if old is None:
        return fresh
    groups = dict.fromkeys(range(old.num_row_groups)) if known is None else dict(enumerate(known))
    there = runs.look(old, fresh, groups, pairs)
    return fresh.filter(pa.array(~there)) if there.any() else fresh


def merged(old: Iterable[pa.Table], fresh: pa.Table, schema: pa.Schema) -> Iterator[pa.Table]:
    """Old and fresh rows in order, a piece of the old file at a time; what comes after all old rows is in the last."""
    fresh = aligned(fresh, schema)
    pieces = iter(old)
    group = next(pieces, None)
    while group is not None:
        piece, group = aligned(group, schema), next(pieces, None)
        last = key(piece, piece.num_rows - 1)
        cut = bisect.bisect_right(range(fresh.num_rows), last, key=lambda place: key(fresh, place))
        ahead = cut if group is not None else fresh.num_rows
        both = pa.concat_tables([piece, fresh.slice(0, ahead)])
        yield in_order(both) if cut else both
        fresh = fresh.slice(ahead)
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


def of_days(pieces: Iterable[pa.Table], wanted: set[date] | None, days: Days, large: list[date]) -> Iterator[pa.Table]:
    """Pass pieces on and note rows and digest of the wanted days (None: all) in `days` as each day ends.

    Those of more than DAY_BYTES are put in `large` instead.
    """
    open_day: date | None = None
    held: list[tuple[digest.Canonical, int, int]] = []
    size = 0

    def close() -> None:
        if held and open_day:
            rows = sum(last - first for _, first, last in held)
            days[open_day.isoformat()] = (rows, digest.digest_of_rows(held))
        held.clear()

    for table in pieces:
        runs = list(_runs(table["day"]))
        chosen = [run for run in runs if wanted is None or run[0] in wanted]
        start = chosen[0][1] if chosen else 0  # what nobody asked for is not turned into bytes
        canonical = digest.Canonical(table.slice(start, chosen[-1][2] - start)) if chosen else None
        width = table.nbytes // max(1, table.num_rows)
        for day, first, end in runs:
            if day != open_day:
                close()
                open_day, size = day, 0
            if canonical and (wanted is None or day in wanted):
                size += width * (end - first)
                held.append((canonical, first - start, end - start))
                if size > DAY_BYTES:
                    held.clear()
                    if day not in large[-1:]:
                        large.append(day)
        yield table
    close()


def note_large_days(file: Path, large: list[date], days: Days) -> None:
    """Note rows and digest of days whose rows are not held in memory at once. Raises DamagedFileError."""
    if not large:
        return
    source = parquet.ParquetFile(file)
    names = source.schema_arrow.names
    for day in large:
        groups = [
            group
            for group in range(source.num_row_groups)
            if (ends := parquet.ends(source.metadata, "day", group, group + 1)) is None or ends[0] <= day <= ends[1]
        ]
        there = {group: pc.equal(source.read_row_group(group, ["day"])["day"], day) for group in groups}

        def rows_of(name: str, there: dict[int, pa.ChunkedArray] = there) -> Iterator[pa.ChunkedArray]:
            return (source.read_row_group(group, [name])[name].filter(wanted) for group, wanted in there.items())

        rows = sum(pc.sum(wanted).as_py() for wanted in there.values())
        days[day.isoformat()] = (rows, digest.digest_of_columns(names, rows_of))


def _runs(days: pa.ChunkedArray) -> Iterator[tuple[date, int, int]]:
    """Each day with its first row and the one after its last; days are in order, as the rows are."""
    ends = np.flatnonzero(np.diff(days.cast(pa.int32()).to_numpy())) + 1
    for first, end in pairwise([*([0] if len(days) else []), *ends.tolist(), len(days)]):
        yield days[first].as_py(), first, end


def describe(file: Path) -> Facts:
    """What a file holds, from its content. Raises DamagedFileError."""
    days: Days = {}
    large: list[date] = []
    with parquet.reading(file):
        source = parquet.ParquetFile(file)
        for _ in of_days(parquet.groups(source), None, days, large):
            pass
        note_large_days(file, large, days)
        return Facts(digest.sha256_of(file), file.stat().st_size, source.metadata.num_rows, days)
