"""The archive's records as plain files in an object store, for programs that read no Delta: SpeedSnake's folders.

    uploads/location=L/year=YYYY/month=MM/day=DD/speedtest_NNN.parquet    a day that is over
    results/location=L/year=YYYY/month=MM/day=DD/speedtest_HH-MM-SS.csv   what began in a second of a day that is not
    uploads/_published                                                   what need not be looked at again

A file of uploads/ has those runs of its day that no file before it has. It is put under the next free number on the
condition that nobody has that number. So whoever was killed, got no answer or was slower than another looks at what is
there and adds what is missing: each run is there once, and no file is ever changed or removed. What results/ has of a
second is what the archive has of it, put anew when more came; it is for today, and may expire.

The folders: https://github.com/thekhoo/speedsnake (there results/ is one node's, and has no location).
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timezone

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from speedtest_logger.archive.format.layout import Layout, month_of
from speedtest_logger.archive.format.schema import SORT_KEYS
from speedtest_logger.archive.ledger import manifest
from speedtest_logger.archive.read import changes, render
from speedtest_logger.archive.read.changes import touched_by
from speedtest_logger.archive.read.exporters import SPEEDSNAKE_NAMES
from speedtest_logger.errors import DeliveryError, StorageError, UsageError
from speedtest_logger.record import COLUMNS
from speedtest_logger.sinks.months import Days, place_in_order, rows_of
from speedtest_logger.sinks.objects import Objects
from speedtest_logger.sinks.place import NO_CONDITIONS, Place

UPLOADS, RESULTS = "uploads/", "results/"
STATE = f"{UPLOADS}_published"  # readers pass over names that begin so
FILE = re.compile(r"speedtest_(\d{3,9})\.parquet")
SETTLED = 3600  # s after a day's end, in which what its nodes still had comes in
KEPT_SECONDS = 30.0  # of work that is looked at again after a kill
MOST_FILE_BYTES = 100_000_000  # a million runs of a day: who has the store's key may have put anything there
MOST_STATE_BYTES = 20_000_000
ATTEMPTS = 20  # to find a free number: each time somebody else was faster
Key = tuple[str, str]  # node and run_id
Months = dict[str, Days]  # by the name of the archive's file
Advance = Callable[[int], None]


@dataclass
class Outcome:
    """What a publish did: records and files that it put into uploads/, and those into results/."""

    records: int = 0
    files: int = 0
    results: int = 0


@dataclass
class Known:
    """All up to a cursor of the archive is in uploads/, but for what waits: months with their days."""

    cursor: str | None = None
    waiting: Months = field(default_factory=dict)

    @classmethod
    def of(cls, content: bytes) -> Known | None:
        """What the store has; None where it makes no sense, for then all is looked at."""
        with suppress(ValueError, LookupError, TypeError, AttributeError, RecursionError, UsageError):
            found = json.loads(content)
            waiting = {name: None if days is None else set(days) for name, days in found["waiting"].items()}
            for name, days in waiting.items():
                month_of(name)
                _ = [date.fromisoformat(day) for day in days or ()]
            if found["cursor"] is not None:
                changes.Position.of(found["cursor"])
            return cls(found["cursor"], waiting)
        return None

    def to_bytes(self) -> bytes:
        """As `of` reads it."""
        waiting = {name: None if days is None else sorted(days) for name, days in sorted(self.waiting.items())}
        return json.dumps({"cursor": self.cursor, "waiting": waiting}).encode()


@dataclass
class Tree:
    """Carries one archive's records into one tree; `results`: those of today too, as CSV."""

    layout: Layout
    place: Place
    results: bool = False
    outcome: Outcome = field(default_factory=Outcome)

    def __post_init__(self) -> None:
        """Reach the place when it is asked, not before."""
        self.objects = Objects(self.place)

    def publish(self, *, rebuild: bool = False, advance: Advance = lambda _: None) -> Outcome:
        """Add what is missing of all days that changes touched since the last time. `rebuild`: of all days.

        `advance` hears of the months that were done.

        Raises UsageError for a tree of another archive, DeliveryError where others are always faster, StorageError
        where the store or the archive cannot be read or written.
        """
        before = self._begun()
        known = (None if rebuild else Known.of(before)) or Known()
        touched = self._take_up(known)
        today = _today()
        if self.results:
            for name, days in touched.items():
                self._show(name, days, today)
        kept = time.monotonic()
        for name in sorted(_over(known.waiting, today), key=place_in_order):
            self._carry(known, name, today)
            advance(1)
            if time.monotonic() - kept >= KEPT_SECONDS:
                self.objects.put(STATE, known.to_bytes())
                kept = time.monotonic()
        if known.to_bytes() != before:
            self.objects.put(STATE, known.to_bytes())
        return self.outcome

    def _begun(self) -> bytes:
        """What the store says that it knows. Raises StorageError where it would not guard a number."""
        if found := self.objects.get(STATE, MOST_STATE_BYTES):
            return found[0]
        nothing = Known().to_bytes()
        self.objects.put_new(STATE, nothing)
        if self.objects.put_new(STATE, nothing):
            raise StorageError(f"{self.place.address}: {NO_CONDITIONS}")
        return nothing

    def _take_up(self, known: Known) -> Months:
        """Have what changes touched since wait too; returns that."""
        try:
            found = changes.settled(self.layout, known.cursor)
        except UsageError as error:
            raise UsageError(
                f"{self.place.address} has the tree of another archive, or of this one before it was restored to an "
                "earlier state: nothing was changed; with --rebuild what is missing is added"
            ) from error
        touched = touched_by(found)
        for name, days in touched.items():
            waits = known.waiting.get(name, set())
            known.waiting[name] = None if days is None or waits is None else waits | days
        known.cursor = found[-1].cursor if found else known.cursor
        return touched

    def _carry(self, known: Known, name: str, today: date) -> None:
        """What is missing of a month's days that are over; the others wait on."""
        days = known.waiting[name]
        there: dict[str, list[str]] = {}
        for path in self._files(name):
            there.setdefault(path.rpartition("/")[0], []).append(path)
        later = {day for day in days or () if date.fromisoformat(day) >= today}
        for day, rows in _by_day(rows_of(self.layout, name, days)):
            if day >= today:
                later.add(day.isoformat())
            else:
                folder = _folder(UPLOADS, name, day)
                self._add(folder, name, rows, there.get(folder, []))
        if later:
            known.waiting[name] = later
        else:
            del known.waiting[name]

    def _add(self, folder: str, name: str, rows: pa.Table, there: list[str]) -> None:
        """Put the rows of a day that no file of it has into the next one."""
        for _ in range(ATTEMPTS):
            known = self._keys(there)
            missing = rows.filter(pa.array([key not in known for key in _keys_of(rows)], pa.bool_()))
            if not missing.num_rows:
                return
            number = max((_number(path) for path in there), default=0) + 1
            path = f"{folder}/speedtest_{number:03d}.parquet"
            if self.objects.put_new(path, _parquet(flattened(missing, name))):
                self.outcome.records += missing.num_rows
                self.outcome.files += 1
                return
            there = [path for path in self._files(name) if path.startswith(f"{folder}/")]
        raise DeliveryError(f"{self.place.address}/{folder}: others take each free number: one archive publishes there")

    def _keys(self, paths: list[str]) -> Counter[Key]:
        """The runs that files have, with how often."""
        return sum((Counter(self._keys_in(path)) for path in paths), Counter())

    def _keys_in(self, path: str) -> Iterator[Key]:
        content = self.objects.get(path, MOST_FILE_BYTES)
        if content is None:
            return  # it expired meanwhile
        try:
            yield from _keys_of(pq.read_table(pa.BufferReader(content[0]), columns=["node", "run_id"]))
        except (pa.ArrowException, KeyError) as error:
            raise StorageError(f"{self.place.address}/{path} is no file of an archive: move it away") from error

    def _files(self, name: str) -> list[str]:
        """The files of a month."""
        listed = self.objects.listed(_folder(UPLOADS, name) + "/")
        return [item.name for item in listed if FILE.fullmatch(item.name.rpartition("/")[2])]

    def _show(self, name: str, days: Days, today: date) -> None:
        """Have what the archive has of the seconds of days that are not over in results/."""
        if month_of(name)[1:] < (today.year, today.month) or max(days or ["9"], default="") < today.isoformat():
            return
        for day, rows in _by_day(rows_of(self.layout, name, days)):
            if day < today:
                continue
            folder = _folder(RESULTS, name, day)
            sizes = {item.name: item.size for item in self.objects.listed(f"{folder}/")}
            for second, same in _by_second(rows):
                path, content = f"{folder}/speedtest_{second}.csv", _csv(flattened(same, name))
                if sizes.get(path) != len(content):
                    self.objects.put(path, content)
                    self.outcome.results += 1

    def size(self, *, rebuild: bool = False) -> int:
        """About how many months there are to look at. Raises as publish."""
        found = None if rebuild else self.objects.get(STATE, MOST_STATE_BYTES)
        known = (Known.of(found[0]) if found else None) or Known()
        self._take_up(known)
        return len(_over(known.waiting, _today()))

    def compared(self) -> list[str]:
        """On which days that are over uploads/ lacks runs of the archive, or has one twice, in words.

        What it has of months that were pruned is right: it stays.
        """
        today, problems = _today(), []
        for name in sorted(manifest.state(self.layout), key=place_in_order):
            files = self._files(name)
            for day, rows in _by_day(rows_of(self.layout, name, None)):
                folder = _folder(UPLOADS, name, day)
                there = self._keys([path for path in files if path.startswith(f"{folder}/")])
                lost = sum(key not in there for key in _keys_of(rows)) if day < today else 0
                double = sum(count > 1 for count in there.values())
                if lost or double:
                    problems.append(f"{folder}: {lost} runs of the archive are not there, {double} are there twice")
        return problems


def flattened(rows: pa.Table, name: str) -> pa.Table:
    """Records of a month (BATCH_SCHEMA) with SpeedSnake's columns first; what the folders say is no column.

    A test that failed has no figures there, and says why in the record's own columns.
    """
    rows = rows.sort_by(SORT_KEYS)
    columns = {of: rows[column] for of, column in SPEEDSNAKE_NAMES.items()}
    columns["timestamp"] = pc.strftime(rows["started_at"].cast(pa.timestamp("ms", "UTC")), "%Y-%m-%dT%H:%M:%SZ")
    columns["speedtest_address"] = pa.repeat(pa.scalar(month_of(name)[0]), rows.num_rows)
    own = {column: rows[column] for column in COLUMNS if column != "location"}
    return pa.table({**columns, **own}).replace_schema_metadata(rows.schema.metadata)


def _parquet(rows: pa.Table) -> bytes:
    return b"".join(render.encoded(rows, "parquet"))


def _csv(rows: pa.Table) -> bytes:
    return b"".join(render.encoded(rows, "csv"))


def _today() -> date:
    """The first day (UTC) that is not over."""
    return datetime.fromtimestamp(time.time() - SETTLED, tz=timezone.utc).date()


def _over(waiting: Months, today: date) -> list[str]:
    """The months of which a day that is over waits."""
    text = today.isoformat()
    return [name for name, days in waiting.items() if days is None or not days or min(days) < text]


def _folder(root: str, name: str, day: date | None = None) -> str:
    """Where a month's, or a day's, files are."""
    location, year, month = month_of(name)
    return f"{root}location={location}/year={year:04d}/month={month:02d}" + (f"/day={day:%d}" if day else "")


def _number(path: str) -> int:
    found = FILE.fullmatch(path.rpartition("/")[2])
    return int(found[1]) if found else 0


def _keys_of(rows: pa.Table) -> list[Key]:
    return list(zip(rows["node"].to_pylist(), rows["run_id"].to_pylist(), strict=True))


def _by_day(rows: pa.Table) -> Iterator[tuple[date, pa.Table]]:
    for day in sorted(pc.unique(rows["day"]).to_pylist()):
        yield day, rows.filter(pc.equal(rows["day"], day))


def _by_second(rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """Rows by the second that they began in, as HH-MM-SS."""
    seconds = pa.chunked_array([[f"{at:%H-%M-%S}" for at in rows["started_at"].to_pylist()]], pa.string())
    for second in sorted(pc.unique(seconds).to_pylist()):
        yield second, rows.filter(pc.equal(seconds, second))
