"""The PostgreSQL sink: records and rollups in a database that follows the archive, each change exactly once.

The cursor of the archive's last change that was carried out stands in the database and is moved in the transaction that
carries out the next ones: whatever ends a sync, rows and cursor belong together. The days that changes touched are made
what the archive has of them, so what was repaired, restored, pruned or accepted follows like what was measured. A month
is a transaction; what touches several remembers those that are done, so a first fill goes on where it ended.

Nothing of the archive is locked meanwhile: a month's file is read as a whole or not at all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import date, datetime, timezone
from itertools import islice
from typing import LiteralString

import psycopg
from psycopg import sql

from speedtest_logger import registry
from speedtest_logger.archive.format.layout import Layout, month_of
from speedtest_logger.archive.read import changes
from speedtest_logger.archive.read.changes import touched_by
from speedtest_logger.archive.read.moments import records_of
from speedtest_logger.errors import UsageError
from speedtest_logger.files import identity
from speedtest_logger.sinks import rows, tables
from speedtest_logger.sinks.connection import Session
from speedtest_logger.sinks.rows import NAMES, Copy

BATCH_BYTES = 4_000_000  # of month files that are read at once: some 100,000 records
DAY = 86_400
Days = set[str] | None  # such as 2026-01-31; None is all of a month
Touched = dict[str, Days]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Part:
    """What is made again: a location's records of some days (UTC) that follow each other, as Unix time (s)."""

    location: str
    start: int
    end: int
    is_whole: bool
    size: int


@dataclass(frozen=True)
class Made:
    """The records of some parts, and their rollups by table; the parts are all whole months, or all days."""

    parts: list[Part]
    records: Copy
    rollups: dict[str, Copy]

    @property
    def is_whole(self) -> bool:
        """Whether it is of whole months."""
        return self.parts[0].is_whole


@dataclass
class Outcome:
    """What a sync did: records that it sent, months that it touched, the archive's line that it got to."""

    records: int = 0
    months: int = 0
    line: int = -1


class Sink:
    """The archive's rows in a database, while this session holds the lock there."""

    def __init__(self, layout: Layout, session: Session, progress: Progress | None = None) -> None:
        self.layout, self.session, self.progress = layout, session, progress or (lambda *_: None)
        self.first_month = oldest_kept(session.settings.keep_months, datetime.now(timezone.utc).date())
        self.outcome = Outcome()

    def sync(self, *, rebuild: bool = False) -> Outcome:
        """Carry out all changes since the last sync; all of the archive where there was none, or on `rebuild`.

        Raises UsageError where the database has rows of another archive, or in another form than is wanted,
        DeliveryError where the server does not do its part, StorageError where the archive cannot be read.
        """
        self.session.take_lock()
        if rebuild:
            tables.drop_other_form(self.session)
        tables.migrate(self.session)
        if rebuild:
            with self.session.transaction():
                tables.clear(self.session)
        cursor, schedule, first_month = self.session.run("SELECT cursor, schedule, first_month FROM speedtest.sink")[0]
        found = self._changes(cursor)
        self._forget_old_months()
        target = found[-1].cursor if found else cursor
        months = {month: list(_batches(parts)) for month, parts in self._due(found, cursor, first_month).items()}
        made = self._made(batch for batches in months.values() for batch in batches)
        with closing(made):
            for number, (month, batches) in enumerate(months.items()):
                self.progress(f"{month:%Y-%m}", number, len(months))
                self._carry_out(month, islice(made, len(batches)), target)
        self._finish(target, schedule)
        return self.outcome

    def _changes(self, cursor: str | None) -> list[changes.Change]:
        """What is to be carried out: all that the archive's files show by now."""
        try:
            return changes.settled(self.layout, cursor)
        except UsageError as error:
            raise UsageError(
                "the database has the rows of another archive, or of this one before it was restored to an earlier "
                "state: nothing was changed; `speedtest-database sync --rebuild` fills it anew"
            ) from error

    def _due(self, found: list[changes.Change], cursor: str | None, first_month: date | None) -> dict[date, list[Part]]:
        """By month what is to be made again. A month that an unfinished sync did is touched by what came since."""
        done = dict(self.session.run("SELECT month, cursor FROM speedtest.sink_month"))
        touched = {None: touched_by(found) | self._no_longer_too_old(first_month, bool(cursor))}
        for since in set(done.values()):
            touched[since] = touched_by(self._changes(since))
        due: dict[date, list[Part]] = {}
        for since, names in touched.items():
            for name, days in names.items():
                month = date(*month_of(name)[1:], 1)
                if done.get(month) == since and month >= self.first_month:
                    due.setdefault(month, []).append(self._part(name, days))
        return dict(sorted(due.items()))

    def _no_longer_too_old(self, first_month: date | None, is_filled: bool) -> Touched:
        """Files of months that are to be kept now and were not."""
        if not is_filled or first_month is None or first_month <= self.first_month:
            return {}
        names = [self.layout.name(file) for file in self.layout.month_files()]
        return {name: None for name in names if self.first_month <= date(*month_of(name)[1:], 1) < first_month}

    def _part(self, name: str, days: Days) -> Part:
        location, year, month = month_of(name)
        first = date(year, month, 1)
        start, end = _unix(first), _unix(tables.next_month(first))
        found = identity(self.layout.archive / name)
        size = found.size if found else 0
        if days:
            share = _unix(date.fromisoformat(min(days))), _unix(date.fromisoformat(max(days))) + DAY
            return Part(location, *share, is_whole=False, size=size * (share[1] - share[0]) // (end - start))
        return Part(location, start, end, is_whole=True, size=size)

    def _made(self, batches: Iterable[list[Part]]) -> Generator[Made, None, None]:
        """What the archive has of each batch; the next one is made while one is sent."""
        with ThreadPoolExecutor(1) as pool:
            waiting: Future[Made] | None = None
            for batch in batches:
                ahead = pool.submit(_read, self.layout, batch)
                if waiting:
                    yield waiting.result()
                waiting = ahead
            if waiting:
                yield waiting.result()

    def _carry_out(self, month: date, batches: Iterable[Made], cursor: str | None) -> None:
        """Make a month what the archive has of it, all or nothing."""
        with self.session.transaction():
            is_new = tables.make_partition(self.session, month)
            may_be_empty = False
            for made in batches:
                self._make_again(made, is_new=is_new)
                may_be_empty |= made.is_whole
            if may_be_empty and tables.is_empty(self.session, month):
                tables.drop_months(self.session, [month])
            self.session.run(MONTH_DONE, month, cursor)
        self.outcome.months += 1

    def _make_again(self, made: Made, *, is_new: bool) -> None:
        self.session.run("DROP TABLE IF EXISTS pg_temp.touched")
        self.session.run(
            TOUCHED, *([getattr(part, name) for part in made.parts] for name in ("location", "start", "end"))
        )
        if made.is_whole:
            self._replace(made.records, is_new=is_new)
        else:
            self._merge(made.records)
        for name, content in made.rollups.items():
            self._delete(name, "start")
            self.copy(sql.Identifier(tables.SCHEMA, name), content)
        self.outcome.records += made.records.count

    def _replace(self, records: Copy, *, is_new: bool) -> None:
        """Records in the place of all that is touched; one by one where one of them is elsewhere, too.

        Of a month that is new nothing is there yet.
        """
        try:
            with self.session.part():
                if not is_new:
                    self._delete("records", "started_at")
                self.copy(sql.Identifier(tables.SCHEMA, "records"), records)
        except psycopg.errors.UniqueViolation:
            self._merge(records)

    def _merge(self, records: Copy) -> None:
        """The same, where most of them are there already: only what differs is written."""
        self.session.run("DROP TABLE IF EXISTS pg_temp.arrived")
        self.session.run("CREATE TEMPORARY TABLE arrived (LIKE speedtest.records) ON COMMIT DROP")
        self.copy(sql.Identifier("pg_temp", "arrived"), records)
        self.session.run("ANALYZE pg_temp.arrived")
        self._delete(
            "records",
            "started_at",
            "AND NOT EXISTS (SELECT FROM pg_temp.arrived AS a WHERE (a.node, a.started_at, a.run_id) "
            "= (held.node, held.started_at, held.run_id))",
        )
        self.session.run(MERGE)

    def _delete(self, table: str, at: str, besides: LiteralString = "") -> None:
        """Remove what is touched of a table."""
        statement = sql.SQL(
            "DELETE FROM {table} AS held USING pg_temp.touched AS t "
            'WHERE held.location = t.location AND held.{at} >= t.start AND held.{at} < t."end" '
        ).format(table=sql.Identifier(tables.SCHEMA, table), at=sql.Identifier(at))
        self.session.run(statement + sql.SQL(besides))

    def copy(self, table: sql.Identifier, content: Copy) -> None:
        """Add rows to a table."""
        names = sql.SQL(", ").join(map(sql.Identifier, content.names))
        statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv)").format(table, names)
        for piece in content.pieces:
            with self.session.in_time(), self.session.connection.cursor().copy(statement) as stream:
                stream.write(piece)

    def _forget_old_months(self) -> None:
        """Remove months that are older than what is kept."""
        old = [month for month in tables.months(self.session) if month < self.first_month]
        if old:
            with self.session.transaction():
                tables.drop_months(self.session, old)

    def _finish(self, cursor: str | None, schedule: str) -> None:
        """All that is touched has been carried out."""
        self.outcome.line = changes.Position.of(cursor).seq if cursor else -1
        with self.session.transaction():
            now = self._take_schedules(schedule)
            self.session.run("DELETE FROM speedtest.sink_month")
            self.session.run(
                "UPDATE speedtest.sink SET cursor = %s, line = %s, schedule = %s, first_month = %s, synced_at = now()",
                cursor,
                self.outcome.line,
                now,
                self.first_month,
            )

    def _take_schedules(self, before: str) -> str:
        """Have the fleet's schedules as the registry has them; returns its digest."""
        found = registry.read(self.layout.root)
        digest = hashlib.sha256(repr(sorted(found.nodes.items())).encode()).hexdigest() if found else ""
        if digest == before or found is None:
            return before
        self.session.run("DELETE FROM speedtest.schedule")
        with self.session.in_time(), self.session.connection.cursor() as cursor:
            cursor.executemany(
                SCHEDULE,
                [
                    (
                        node,
                        e.valid_from,
                        e.valid_to,
                        e.interval_seconds,
                        e.offset_seconds,
                        e.location,
                        _bps(e.plan_download_mbps),
                        _bps(e.plan_upload_mbps),
                    )
                    for node in found.nodes
                    for e in found.history(node)
                ],
            )
        return digest


TOUCHED: LiteralString = (
    "CREATE TEMPORARY TABLE touched ON COMMIT DROP AS "
    'SELECT location, to_timestamp(start) AS start, to_timestamp("end") AS "end" '
    'FROM unnest(%s::text[], %s::bigint[], %s::bigint[]) AS t (location, start, "end")'
)
MONTH_DONE: LiteralString = (
    "INSERT INTO speedtest.sink_month VALUES (%s, %s) ON CONFLICT (month) DO UPDATE SET cursor = excluded.cursor"
)
SCHEDULE: LiteralString = (
    "INSERT INTO speedtest.schedule VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"
)
KEY = ("node", "started_at", "run_id")
MERGE = sql.SQL(
    "INSERT INTO speedtest.records AS held ({names}) SELECT DISTINCT ON ({key}) {names} FROM pg_temp.arrived "
    "ON CONFLICT ({key}) DO UPDATE SET {settings} WHERE ({of_held}) IS DISTINCT FROM ({of_new})"
).format(
    names=sql.SQL(", ").join(map(sql.Identifier, NAMES)),
    key=sql.SQL(", ").join(map(sql.Identifier, KEY)),
    settings=sql.SQL(", ").join(
        sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in NAMES if name not in KEY
    ),
    of_held=sql.SQL(", ").join(sql.Identifier("held", name) for name in NAMES),
    of_new=sql.SQL(", ").join(sql.Identifier("excluded", name) for name in NAMES),
)


def oldest_kept(keep_months: int, today: date) -> date:
    """The first month that is kept, of which the current one is the last; the first of all where all are."""
    number = today.year * 12 + today.month - keep_months if keep_months else 12
    return date(number // 12, number % 12 + 1, 1)


def _read(layout: Layout, parts: list[Part]) -> Made:
    """What the archive has of some parts."""
    found = rows.of_records([records_of(layout, part.location, part.start, part.end) for part in parts])
    return Made(parts, Copy.of(found), {name: Copy.of(table) for name, table in rows.rollups(found).items()})


def _batches(parts: Iterable[Part]) -> Iterator[list[Part]]:
    """Parts that are made again at once, of bounded size: those of whole months, and those of days."""
    for is_whole in (True, False):
        waiting: list[Part] = []
        size = 0
        for part in parts:
            if part.is_whole != is_whole:
                continue
            if waiting and size + part.size > BATCH_BYTES:
                yield waiting
                waiting, size = [], 0
            waiting.append(part)
            size += part.size
        if waiting:
            yield waiting


def _unix(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=timezone.utc).timestamp())


def _bps(mbps: float | None) -> float | None:
    return None if mbps is None else mbps * 1e6
