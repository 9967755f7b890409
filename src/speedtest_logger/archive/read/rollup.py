"""Rollups: figures per node, hour and day, in a database beside the archive that may be removed at any time.

Whoever looks at a year of a fleet cannot read millions of records for each page. A rollup has the exact percentiles of
each hour and day, made from the records of just these; every slot's outcome; and the records of the last days as they
are. Before each question the manifest is asked what became of which days (`changes`), and exactly these are made again,
in one transaction with the cursor: an answer is never older than the archive, and a crash leaves what was before.
(Where that takes longer than a second, which it does with thousands of nodes, it is done ahead of the questions, and an
answer is of the change before.)

A location that several nodes measure has rows of its own, under the node '': percentiles of several cannot be merged.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.format.schema import BATCH_SCHEMA
from speedtest_logger.archive.read import changes
from speedtest_logger.archive.read.dataset import literal
from speedtest_logger.archive.read.local_time import Zone
from speedtest_logger.archive.read.moments import records_of
from speedtest_logger.archive.read.renewal import Part, batches_of, part_of
from speedtest_logger.errors import NotReadyError, StorageError, UsageError
from speedtest_logger.files import Identity, identity

FORMAT = "3"  # of the tables: another one has them made again
RECENT_DAYS = 8  # of which the records themselves are kept
PATIENCE_SECONDS = 1.0  # that a question waits for a change of the archive: seconds only where thousands of nodes are
BEHIND_SECONDS = 60.0  # that an answer may be older than the archive then
AGAIN_SECONDS = 30.0  # until a first build that failed elsewhere is tried again
MEMORY = "400MB"
LEAST_MEMORY = "32MB"
THREADS = 1  # for a question: there are others at the same time
# Name of a figure: its column in a record.
VALUES = {
    "download": "download_bps",
    "upload": "upload_bps",
    "latency": "latency_ms",
    "jitter": "jitter_ms",
    "download_latency": "download_latency_ms",
    "upload_latency": "upload_latency_ms",
    "loss": "packet_loss_pct",
}
STATUSES = ("ok", "partial", "failed", "skipped")
BAND_COLUMNS = ", ".join(
    [f"{status} INTEGER" for status in STATUSES]
    + [f"{name}_low DOUBLE, {name} DOUBLE, {name}_high DOUBLE, {name}_tests INTEGER" for name in VALUES]
    + ["bytes_received BIGINT, bytes_sent BIGINT"]
)
BANDS = ", ".join(
    [f"count(*) FILTER (status = '{status}')" for status in STATUSES]
    + [
        f"quantile_cont({column}, 0.1), quantile_cont({column}, 0.5), quantile_cont({column}, 0.9), count({column})"
        for column in VALUES.values()
    ]
    + ["sum(bytes_received), sum(bytes_sent)"]
)
COUNTS = ("expected", *STATUSES, "missed", "unscheduled", "unscheduled_failed", "down_first", "outages", "down_last")
TALLIED = ", ".join(f"{name} INTEGER" for name in COUNTS)
TABLES = f"""
    CREATE TABLE about (name VARCHAR PRIMARY KEY, value VARCHAR);
    CREATE TABLE slot (node VARCHAR, location VARCHAR, moment BIGINT, run UBIGINT, status VARCHAR, reason VARCHAR,
                       started BIGINT); -- moment in s, started in ms since 1970
    -- a row of each node, and one with an empty name of all nodes where there are several: `whole` is the location's
    CREATE TABLE hour (node VARCHAR, location VARCHAR, start BIGINT, {BAND_COLUMNS}, whole BOOLEAN);
    CREATE TABLE day (node VARCHAR, location VARCHAR, start BIGINT, {BAND_COLUMNS}, whole BOOLEAN);
    CREATE TABLE recent AS FROM nothing;
    CREATE TABLE stale (node VARCHAR, day INTEGER); -- days since 1970 (UTC) whose tally is to be made
    CREATE TABLE scheduled (node VARCHAR, history VARCHAR); -- by which the tallies were made
    CREATE TABLE reason (text VARCHAR, code SMALLINT);
    CREATE TABLE tally_reason (node VARCHAR, day INTEGER, code SMALLINT, count INTEGER);
    CREATE TABLE tally (node VARCHAR, day INTEGER, location VARCHAR, mixed BOOLEAN, plain BOOLEAN, first BIGINT,
                        {TALLIED}, status BLOB, reason BLOB, extra_at BIGINT[], extra_status BLOB);
"""
NAMES = ("recent", "day", "hour", "slot", "about", "stale", "scheduled", "reason", "tally_reason", "tally")
SECOND_OF = "CAST(floor(epoch({})) AS BIGINT)"
IN_MEMORY = Path(":memory:")
Progress = Callable[[int, int], None]  # hears how many files of how many are done


class Rollups:
    """The rollups of one archive in one file, which one process has open. Its methods may be called by any thread."""

    def __init__(
        self, layout: Layout, file: Path, zone: Zone, first_build: Callable[[Progress], None] | None = None
    ) -> None:
        """Open the file, or make it. Raises StorageError where another process has it open.

        `first_build` makes all of the file elsewhere, when `renew_ahead` is called; until then nothing is ready.
        """
        self.layout, self.file, self.zone = layout, file, zone
        self._first_build = first_build
        self._failed: tuple[float, StorageError] | None = None  # when (monotonic, s) the first build did, and why
        self._lock = threading.Lock()
        self._seen: tuple[Identity | None, ...] | None = None
        self._made: tuple[int, int, str] | None = None  # done, of how many of what, while all of it is being made
        self._ahead = -math.inf  # when they were last made ahead (monotonic, s)
        self._took = 0.0  # s: the last change
        self.version = 0  # another one whenever the tables are; odd while they are being changed
        self.tallied = 0  # the same of `tally` and `tally_reason`
        self._database = self._open()
        self._cursor = _cursor_in(self._database)

    def _open(self) -> duckdb.DuckDBPyConnection:
        """The file as it is; anew where it cannot be read, or is of another format, zone or archive.

        Where all of it is to be made elsewhere, empty tables stand for it.
        """
        for _ in range(2):
            try:
                database = self._connected(self.file)
            except duckdb.IOException as error:
                if "lock" in str(error):
                    raise StorageError(f"another process has {self.file} open: one dashboard is enough") from error
                self._remove()
                continue
            except duckdb.Error:  # whatever lies there can be made again
                self._remove()
                continue
            if self._first_build and not (self._is_known(database) and _cursor_in(database)):
                database.close()
                database = self._connected(IN_MEMORY)
            else:
                self._first_build = None
            if not self._is_known(database):
                self._make(database)
            return database
        raise StorageError(f"{self.file} cannot be opened: remove it; it is made again")

    @staticmethod
    def _connected(file: Path) -> duckdb.DuckDBPyConnection:
        database = duckdb.connect(file, config={"memory_limit": MEMORY, "threads": THREADS})
        database.execute("SET TimeZone = 'UTC'; SET enable_external_access = false")
        return database

    def _remove(self) -> None:
        for name in (self.file.name, f"{self.file.name}.wal"):
            self.file.with_name(name).unlink(missing_ok=True)

    def _about(self) -> dict[str, str]:
        return {"format": FORMAT, "zone": self.zone.name, "archive": str(self.layout.root.resolve())}

    def _is_known(self, database: duckdb.DuckDBPyConnection) -> bool:
        with suppress(duckdb.Error):
            about = dict(database.execute("SELECT name, value FROM about").fetchall())
            return self._about().items() <= about.items()
        return False

    def _make(self, database: duckdb.DuckDBPyConnection) -> None:
        """Empty tables."""
        for name in NAMES:
            database.execute(f"DROP TABLE IF EXISTS {name}")
        database.register("nothing", BATCH_SCHEMA.empty_table())
        database.execute(TABLES)
        database.unregister("nothing")
        database.executemany("INSERT INTO about VALUES (?, ?)", list(self._about().items()))

    def close(self) -> None:
        """End all use of the file."""
        self._database.close()

    def cursor(self) -> str | None:
        """Where the archive's manifest had got to when the rollups were made; None before its first change."""
        return self._cursor

    def ask(self, sql: str, parameters: dict[str, Any] | None = None) -> pa.Table:
        """The answer to SQL over slot, hour, day and recent, as of now. Raises as `refresh` does."""
        self.refresh()
        return self.reading().sql(sql, params=parameters or None).to_arrow_table()

    def reading(self) -> duckdb.DuckDBPyConnection:
        """A connection to the tables as they are."""
        return self._database.cursor()

    def rows(self, sql: str, parameters: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """The same as one dictionary a row."""
        found: list[dict[str, Any]] = self.ask(sql, parameters).to_pylist()
        return found

    def is_current(self) -> bool:
        """Whether the archive is what it was when the rollups were looked at last; for what may not wait."""
        return self._manifest() == self._seen

    def _manifest(self) -> tuple[Identity | None, ...]:
        return tuple(identity(self.layout.manifest / name) for name in ("chain.jsonl", "open.jsonl"))

    def refresh(self) -> None:
        """Make again what changed in the archive since, before a question is answered. Raises as `renew`.

        Where a change takes longer than PATIENCE_SECONDS and a thread renews them ahead, the answer is the one before
        that change, for at most BEHIND_SECONDS.
        """
        if self._first_build:
            raise self._failed[1] if self._failed else self._not_ready()
        if self._took < PATIENCE_SECONDS or time.monotonic() - self._ahead > BEHIND_SECONDS or self._made:
            self.renew()

    def renew_ahead(self, progress: Progress | None = None) -> None:
        """`renew`, by a thread that does so again and again, so that others need not wait for it."""
        if self._first_build:
            self._have_built(self._first_build, progress)
        self.renew(progress)
        self._ahead = time.monotonic()

    def _have_built(self, first_build: Callable[[Progress], None], progress: Progress | None) -> None:
        """Have the file made, and open it."""
        if self._failed and time.monotonic() - self._failed[0] < AGAIN_SECONDS:
            raise self._failed[1]

        def tell(done: int, of: int) -> None:
            self.tell(done, of, "files")
            if progress:
                progress(done, of)

        with self.changing():
            self.tell(0, len(self.layout.month_files()), "files")
            try:
                first_build(tell)
                with self._numbered(tallies=True):
                    before, self._database = self._database, self._open()
            except StorageError as error:
                self._failed = time.monotonic(), error
                raise
            before.close()
            self._cursor = _cursor_in(self._database)

    def renew(self, progress: Progress | None = None) -> None:
        """Make again what changed in the archive since; `progress` hears how many files of how many are done.

        Raises StorageError and DamagedFileError where the archive cannot be read, and NotReadyError while another
        thread makes the rollups of all of it: that can take minutes, where a change takes milliseconds.
        """
        with self.changing():
            seen = self._manifest()
            if seen == self._seen:
                return
            began = time.monotonic()
            found = self._changes()
            under_way = bool(found) and changes.is_under_way(self.layout, found[-1])
            self._take(found[:-1] if under_way else found, progress)
            self._seen = None if under_way else seen
            self._took = time.monotonic() - began

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Whoever changes the tables is alone. Raises NotReadyError as `refresh` does."""
        if not self._lock.acquire(blocking=False):
            if self._made:
                raise self._not_ready()
            self._lock.acquire()
        try:
            yield
        finally:
            self._made = None
            self._lock.release()

    def _not_ready(self) -> NotReadyError:
        if not self._made:
            return NotReadyError("the figures are being made for the first time")
        done, of, what = self._made
        return NotReadyError(f"the figures of {of:,} {what} are being made for the first time: {done:,} are done")

    def tell(self, done: int, of: int, what: str) -> None:
        """Have it said to whoever asks meanwhile how far this is."""
        self._made = (done, of, what)

    def _changes(self) -> list[changes.Change]:
        """What came since; everything where the archive is not what it was."""
        try:
            return list(changes.since(self.layout, self.cursor()))
        except UsageError:  # it was restored to an earlier state
            with self._numbered(tallies=True):
                self._make(self._database)
            self._cursor = None
            return list(changes.since(self.layout))

    def _take(self, found: list[changes.Change], progress: Progress | None) -> None:
        if not found:
            return
        touched = changes.touched_by(found)
        parts = [part_of(name, days, self.zone) for name, days in touched.items()]
        done, is_first = 0, self.cursor() is None
        batches = list(batches_of(self.layout, parts))
        with self._threads(os.cpu_count() or 1 if is_first else THREADS):
            for number, batch in enumerate(batches):
                if is_first:
                    self.tell(done, len(parts), "files")
                last = number == len(batches) - 1
                self._make_again(batch, found[-1].cursor if last else None)
                done += len(batch)
                if progress:
                    progress(done, len(parts))
        if is_first:
            self._forget_blocks()

    def _forget_blocks(self) -> None:
        """Have no more than LEAST_MEMORY of the file in memory, where all of it was just written."""
        connection = self._database.cursor()
        with suppress(duckdb.OutOfMemoryException):  # so much is in use: the limit is as before
            connection.execute(f"SET memory_limit = '{LEAST_MEMORY}'")
        connection.execute(f"SET memory_limit = '{MEMORY}'")

    @contextmanager
    def _threads(self, count: int) -> Iterator[None]:
        """So many threads for a statement, meanwhile."""
        self._database.cursor().execute(f"SET threads = {count}")
        try:
            yield
        finally:
            self._database.cursor().execute(f"SET threads = {THREADS}")

    def _make_again(self, parts: list[Part], cursor: str | None) -> None:
        """Put what the archive has of some parts in the place of what the tables have, all or nothing."""
        tables = [
            records_of(self.layout, p.location, min(p.start, p.local_start), max(p.end, p.local_end)) for p in parts
        ]
        columns = ("location", "start", "end", "local_start", "local_end")
        touched = pa.table({name: [getattr(part, name) for part in parts] for name in columns})
        with self.transaction() as connection:
            connection.register("found", pa.concat_tables(tables))
            connection.register("touched", touched)
            self._replace(connection)
            if cursor:
                connection.execute("INSERT OR REPLACE INTO about VALUES ('cursor', ?)", [cursor])
        if cursor:
            self._cursor = cursor

    @contextmanager
    def transaction(self, *, tallies: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection whose changes are all made at its end, or none; `tallies`: it may change these."""
        connection = self._database.cursor()
        with self._numbered(tallies=tallies):
            try:
                connection.execute("SET TimeZone = 'UTC'; BEGIN")
                yield connection
                connection.execute("COMMIT")
            finally:
                connection.close()  # what was not committed never was

    @contextmanager
    def _numbered(self, *, tallies: bool) -> Iterator[None]:
        """The tables' numbers are odd meanwhile, and others afterwards."""
        self.version += 1
        self.tallied += tallies
        try:
            yield
        finally:
            self.version += 1
            self.tallied += tallies

    def _replace(self, connection: duckdb.DuckDBPyConnection) -> None:
        within = "t.location = {0}.location AND {1} >= t.{2}start AND {1} < t.{2}end"
        places = (("slot", "slot.started // 1000", ""), ("hour", "hour.start", ""), ("day", "day.start", "local_"))
        self._mark_stale(connection, within)
        for table, at, which in places:
            connection.execute(f"DELETE FROM {table} USING touched t WHERE {within.format(table, at, which)}")
        started = SECOND_OF.format("started_at")
        connection.execute(f"DELETE FROM recent USING touched t WHERE {within.format('recent', started, '')}")
        oldest = int(time.time()) - RECENT_DAYS * 86_400
        connection.execute(f"DELETE FROM recent WHERE started_at < to_timestamp({oldest})")
        chosen = f"(SELECT f.* FROM found f JOIN touched t ON {within.format('f', started, '')})"
        connection.execute(f"""
            INSERT INTO slot SELECT node, location, {SECOND_OF.format("coalesce(scheduled_at, started_at)")},
              CASE WHEN scheduled_at IS NULL THEN hash(run_id) END, status, reason, epoch_ms(started_at)
            FROM {chosen} ORDER BY node, started_at""")
        self._mark_stale(connection, within)
        connection.execute(f"INSERT INTO recent SELECT * FROM {chosen} WHERE started_at >= to_timestamp({oldest})")
        self._bands(connection, "hour", chosen, f"{started} // 3600 * 3600")
        local = f"(SELECT f.* FROM found f JOIN touched t ON {within.format('f', started, 'local_')})"
        midnight = f"timezone({literal(self.zone.name)}, date_trunc('day', {self.zone.sql()}))"
        self._bands(connection, "day", local, SECOND_OF.format(midnight))

    @staticmethod
    def _mark_stale(connection: duckdb.DuckDBPyConnection, within: str) -> None:
        """The tallies of the days of what is touched are to be made again."""
        connection.execute(f"""
            INSERT INTO stale FROM (SELECT node, CAST(moment // 86400 AS INTEGER) FROM slot
            JOIN touched t ON {within.format("slot", "slot.started // 1000", "")} EXCEPT FROM stale)""")

    @staticmethod
    def _bands(connection: duckdb.DuckDBPyConnection, table: str, rows: str, at: str) -> None:
        """Each node's row of an hour or day, and one of the location's where several nodes measured it."""
        connection.execute(f"""
            INSERT INTO {table} SELECT coalesce(node, ''), location, {at} AS start, {BANDS},
              count(*) OVER (PARTITION BY location, start) = 1 OR grouping(node) = 1 FROM {rows}
            GROUP BY GROUPING SETS ((node, location, start), (location, start))
            HAVING grouping(node) = 0 OR count(DISTINCT node) > 1 ORDER BY 1, 2, 3""")


def _cursor_in(database: duckdb.DuckDBPyConnection) -> str | None:
    """Where the archive's manifest had got to when a database's tables were made; None where they are not complete."""
    row = database.cursor().execute("SELECT value FROM about WHERE name = 'cursor'").fetchone()
    return str(row[0]) if row else None
