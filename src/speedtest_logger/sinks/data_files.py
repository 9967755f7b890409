"""A published table's data files, and those that take their place: bucket=N/month=YYYY-MM/part-UUID.parquet.

Whoever publishes knows which days of which locations changed. The files of a partition that have such days are written
again, with all else that is in them; no other file is read or written. A day that may still get measurements has a
file of its own, so that of a month only that is written again and again; where it changes for few of a file's
locations, these get files of their own, so that next time the others stay as they are. A file is named after the
locations that it has rows of, part-LOCATION.UUID.parquet or part-_DIGEST.UUID.parquet: one of which no row stays is not
read.

An entry of a commit, with its statistics: https://github.com/delta-io/delta/blob/master/PROTOCOL.md#add-file-and-remove-file
"""

from __future__ import annotations

import hashlib
import re
import time
import uuid
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable

from speedtest_logger.archive.format import parquet
from speedtest_logger.archive.format.schema import BATCH_SCHEMA, SORT_KEYS
from speedtest_logger.errors import StorageError
from speedtest_logger.sinks.commit import Action, added, removed
from speedtest_logger.sinks.months import Days
from speedtest_logger.sinks.objects import Objects

Partition = tuple[int, str]  # bucket, and month such as 2026-01
PATH = re.compile(r"bucket=(\d+)/month=(\d{4}-\d\d)/(?:part-(_?[a-z0-9-]+)\.[0-9a-f-]{36}|[\w.-]+)\.parquet", re.ASCII)
MOST_BYTES = 500_000_000  # of a file that is read whole; those that are put together have 64 MiB
MOMENT = pa.timestamp("us", tz="UTC")  # the only one that Delta has
COLUMNS = pa.schema([each.with_type(MOMENT) if pa.types.is_timestamp(each.type) else each for each in BATCH_SCHEMA])
ORDER = [("location", "ascending"), *SORT_KEYS]
TOLD = ("location", "node", "day", "started_at")  # columns whose ends a commit tells, by which engines pass files over
# Of the table's log; ends of `day` would do, but deltalake tells those of the first 32 columns only.
OF_A_FILE = ("path", "size_bytes", "partition.bucket", "partition.month", "min.started_at", "max.started_at")
ROW_GROUP = 65_536  # rows
# As the archive's own files are written, but for encodings that not every engine reads.
WRITING = {name: value for name, value in parquet.WRITING.items() if name != "column_encoding"}
# Of a file of few rows dictionaries and the ends of all columns are most of the work, and spare no byte.
FEW_ROWS = 10_000
WRITING_FEW = {**WRITING, "use_dictionary": False, "write_statistics": list(TOLD)}
AT_ONCE = 4  # requests to the store, and partitions that are read ahead
OPEN_DAYS = 2  # that may still get measurements: today and yesterday (UTC)
FEW_LOCATIONS = 2  # that changed, of several in a file
MOST_APART = 8  # files of an open day in a partition, from which on it gets no other one: who asks opens all of them


@dataclass(frozen=True)
class DataFile:
    """A file of one version of a table. If known, `first` and `last`: when its records started (Unix time, µs).

    `of`: its locations, as `sign` has them.
    """

    path: str
    size: int
    bucket: int
    month: str
    first: int | None = None
    last: int | None = None
    of: str | None = None

    @property
    def partition(self) -> Partition:
        """Where it lies."""
        return self.bucket, self.month

    def has_one_of(self, days: Iterable[date]) -> bool:
        """Whether it can have rows of one of these days (UTC)."""
        if self.first is None or self.last is None:
            return True
        first, last = _day_of(self.first), _day_of(self.last)
        return any(first <= day <= last for day in days)

    def is_of_one_of(self, days: Iterable[date]) -> bool:
        """Whether it has rows of one day, and that is one of these (UTC)."""
        return any(day in days for day in self.only_day())

    def only_day(self) -> list[date]:
        """The day (UTC) of all its rows; none where there are several, or nobody knows."""
        if self.first is None or self.last is None or _day_of(self.first) != _day_of(self.last):
            return []
        return [_day_of(self.first)]

    def removed(self) -> Action:
        """Its end, for a commit."""
        return removed(self.path, self.size, _values(self.partition))


@dataclass
class Replacement:
    """What becomes of a partition: of each location these days (None: all) are no more, and these rows are.

    Rows have BATCH_SCHEMA.
    """

    days: dict[str, Days] = field(default_factory=dict)
    rows: list[pa.Table] = field(default_factory=list)

    def in_it(self, file: DataFile, files: Iterable[DataFile]) -> list[str]:
        """The locations of which a file of the partition can have rows, `files` being all of the partition.

        A location that has a file of its own for the day of this one is not in this one.
        """
        if file.of and not file.of.startswith("_"):
            return [file.of] if file.of in self.days else []
        apart = {other.of for other in files if other.is_of_one_of(file.only_day())}
        return [location for location in self.days if location not in apart]

    def touches(self, file: DataFile, files: Iterable[DataFile]) -> bool:
        """Whether a file of the partition can have rows that are no more."""
        touched = (self.days[location] for location in self.in_it(file, files))
        return any(days is None or file.has_one_of(map(date.fromisoformat, days)) for days in touched)

    def takes_all_of(self, file: DataFile, files: Iterable[DataFile]) -> bool:
        """Whether no row of a file of the partition stays, as far as is known without reading it."""
        mine = self.in_it(file, files)
        if not mine or file.of != sign(mine):
            return False
        touched = (self.days[location] for location in mine)
        return all(days is None or file.is_of_one_of(map(date.fromisoformat, days)) for days in touched)

    def is_apart(self, files: Collection[DataFile], touched: Collection[DataFile]) -> bool:
        """Whether its rows are put by themselves: those of few locations, of days that may still get measurements.

        `files` are all of the partition, `touched` those that have rows that are no more.
        """
        changed, opened = self.changed_days(), open_days()
        return (
            len(self.days) <= FEW_LOCATIONS
            and changed is not None
            and opened >= changed
            and all(file.is_of_one_of(opened) for file in touched)
            and sum(file.is_of_one_of(changed) for file in files) < MOST_APART
        )

    def changed_days(self) -> set[date] | None:
        """The days of all its locations; None where a whole month of one changed."""
        if None in self.days.values():
            return None
        return {date.fromisoformat(day) for days in self.days.values() for day in days or ()}

    def along(self, files: Collection[DataFile], touched: Collection[DataFile]) -> list[DataFile]:
        """Files of open days that nothing touches and that are put together with what changed: they are too many."""
        changed, found = self.changed_days(), []
        for day in open_days():
            others = [file for file in files if file.is_of_one_of([day]) and file not in touched]
            if len(others) >= MOST_APART and (changed is None or day in changed):
                found += others
        return found


def open_days() -> set[date]:
    """The days (UTC) that may still get measurements."""
    today = datetime.fromtimestamp(time.time(), timezone.utc).date()
    return {today - timedelta(days=number) for number in range(OPEN_DAYS)}


def sign(locations: Iterable[str]) -> str:
    """What a file is named after: its location, or a digest of several."""
    names = sorted(locations)
    if len(names) == 1:
        return names[0]
    return f"_{hashlib.sha256(' '.join(names).encode()).hexdigest()[:32]}"


def files_of(table: DeltaTable, partitions: Collection[Partition] | None = None) -> list[DataFile]:
    """A table's files, or those of some partitions. Raises StorageError for a name that leads elsewhere.

    For others may write logs.
    """
    known = pa.table(table.get_add_actions(flatten=True))
    if partitions is not None and len(known):  # an empty table has not even columns
        places = zip(known["partition.bucket"].to_pylist(), known["partition.month"].to_pylist(), strict=True)
        known = known.filter(pa.array([place in partitions for place in places], pa.bool_()))
    rows = known.select([name for name in known.column_names if name in OF_A_FILE]).to_pylist()
    return [_file(row, table.table_uri) for row in rows]


def _file(row: dict[str, Any], address: str) -> DataFile:
    path = str(row["path"])
    found = PATH.fullmatch(path)
    if not found or (int(found[1]), found[2]) != (row.get("partition.bucket"), row.get("partition.month")):
        raise StorageError(f"{address}: the table names a file that is none of an archive's: {path!r:.100}")
    first, last = (_microseconds(row.get(f"{end}.started_at")) for end in ("min", "max"))
    return DataFile(path, int(row["size_bytes"]), int(found[1]), found[2], first, last, found[3])


def _microseconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp() * 1e6)


def _day_of(moment: int) -> date:
    return datetime.fromtimestamp(moment // 1_000_000, timezone.utc).date()


def replaced(
    objects: Objects, table: DeltaTable, changed: Mapping[Partition, Replacement], *, whole: bool
) -> list[Action]:
    """Put new files for what changed; returns the entries of the commit that makes them the table's.

    `whole`: nothing else stays in the table. Raises StorageError.
    """
    gone: list[DataFile] = []
    files: dict[Partition, list[DataFile]] = {}
    for file in files_of(table, None if whole else changed.keys()):
        (gone if whole else files.setdefault(file.partition, [])).append(file)

    entries: list[Action] = []
    with ThreadPoolExecutor(AT_ONCE) as pool:  # for what waits for the store: the rest takes turns at Python anyway
        puts: deque[Future[None]] = deque()
        for partition, touched, reads in _fetched(objects, pool, files, changed):
            replacement = changed[partition]
            kept = list(filter(len, (_without(read.result(), replacement.days) for read in reads)))
            is_apart = kept and replacement.is_apart(files.get(partition, []), touched)
            groups = [kept, *([rows] for rows in replacement.rows)] if is_apart else [[*kept, *replacement.rows]]
            for part in (part for group in groups for part in _parts(_sorted(group))):
                path, content, entry = _made(partition, part)
                puts.append(pool.submit(objects.put, path, content))
                entries.append(entry)
                if len(puts) > AT_ONCE:
                    puts.popleft().result()
            entries += [file.removed() for file in touched]
        for put in puts:
            put.result()
    return [*entries, *(file.removed() for file in gone)]


def _fetched(
    objects: Objects,
    pool: ThreadPoolExecutor,
    files: Mapping[Partition, list[DataFile]],
    changed: Mapping[Partition, Replacement],
) -> Iterator[tuple[Partition, list[DataFile], list[Future[pa.Table]]]]:
    """The partitions in order, with their files that are replaced, and what is read of these, some ahead."""
    asked: deque[tuple[Partition, list[DataFile], list[Future[pa.Table]]]] = deque()
    for partition in sorted(changed):
        there, replacement = files.get(partition, []), changed[partition]
        touched = [file for file in there if replacement.touches(file, there)]
        touched += replacement.along(there, touched)
        read = [file for file in touched if not replacement.takes_all_of(file, there)]
        asked.append((partition, touched, [pool.submit(_read, objects, file) for file in read]))
        if len(asked) > AT_ONCE:
            yield asked.popleft()
    yield from asked


def _sorted(found: list[pa.Table]) -> pa.Table:
    """Rows of the table's columns and of records', as the table's and in their order."""
    archived = [rows for rows in found if rows.schema != COLUMNS]
    kept = [rows for rows in found if rows.schema == COLUMNS]
    if archived:
        kept.append(pa.concat_tables(archived).cast(COLUMNS))  # of each by itself it takes as long
    return pa.concat_tables([COLUMNS.empty_table(), *kept]).sort_by(ORDER)


def _read(objects: Objects, file: DataFile) -> pa.Table:
    found = objects.get(file.path, MOST_BYTES)
    if found is None:
        raise StorageError(f"{objects.place.address}/{file.path} is in the table and not in the store")
    try:
        # read_table looks at the file as at a dataset first, which takes as long again
        rows = pq.ParquetFile(pa.BufferReader(found[0])).read(use_threads=False)
        return rows.select(COLUMNS.names).cast(COLUMNS)
    except (pa.ArrowException, KeyError) as error:
        raise StorageError(f"{objects.place.address}/{file.path} cannot be read: {error}") from error


def _without(rows: pa.Table, days: Mapping[str, Days]) -> pa.Table:
    """Rows less those of some days of some locations."""
    alike: dict[tuple[str, ...] | None, list[str]] = {}
    for location, touched in days.items():
        alike.setdefault(None if touched is None else tuple(sorted(touched)), []).append(location)
    gone = pa.array([False] * rows.num_rows)
    for same, locations in alike.items():
        found = pc.is_in(rows["location"], pa.array(locations, pa.string()))
        if same is not None:
            these = pa.array(map(date.fromisoformat, same), pa.date32())
            found = pc.and_(found, pc.is_in(rows["day"], these))
        gone = pc.or_(gone, found)
    return rows.filter(pc.invert(gone))


def _parts(rows: pa.Table) -> Iterator[pa.Table]:
    """Rows by file: each day that is open, and all before these."""
    over = pc.less(rows["day"], pa.scalar(min(open_days())))
    yield from filter(len, [rows.filter(over)])
    rest = rows.filter(pc.invert(over))
    for day in pc.unique(rest["day"]):
        yield rest.filter(pc.equal(rest["day"], day))


def _made(partition: Partition, rows: pa.Table) -> tuple[str, bytes, Action]:
    """A new file: its name, its bytes, which are in the store before a commit names it, and its entry."""
    sink = pa.BufferOutputStream()
    how = WRITING_FEW if rows.num_rows <= FEW_ROWS else WRITING
    pq.write_table(rows.replace_schema_metadata(), sink, row_group_size=ROW_GROUP, **how)
    content = sink.getvalue().to_pybytes()
    values = _values(partition)
    name = f"part-{sign(pc.unique(rows['location']).to_pylist())}.{uuid.uuid4()}.parquet"
    path = f"{'/'.join(f'{name}={value}' for name, value in values.items())}/{name}"
    return path, content, added(path, len(content), values, _statistics(rows))


def _values(partition: Partition) -> dict[str, str]:
    bucket, month = partition
    return {"bucket": str(bucket), "month": month}


def _statistics(rows: pa.Table) -> dict[str, Any]:
    """What a commit tells of a file's rows."""
    ends = {name: pc.min_max(rows[name]) for name in TOLD}
    return {
        "numRecords": rows.num_rows,
        "minValues": {name: _text(found["min"].as_py()) for name, found in ends.items()},
        "maxValues": {name: _text(found["max"].as_py()) for name, found in ends.items()},
        "nullCount": {name: rows[name].null_count for name in TOLD},
    }


def _text(value: Any) -> str:
    """A value as the protocol has it in JSON: times in ms."""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03d}Z"
    return value.isoformat() if isinstance(value, date) else str(value)
