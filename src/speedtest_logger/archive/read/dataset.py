"""Reading the archive: SQL, pandas and pyarrow over one dataset, narrowed to a node, a location or a period.

A narrowed archive opens only the files that can hold its rows: the index says where a node's rows lie, folders say the
months.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import duckdb
import pyarrow as pa

from speedtest_logger import accounts
from speedtest_logger.archive.arrive import chunks, inbox
from speedtest_logger.archive.format import digest, runs
from speedtest_logger.archive.format.layout import RAW_FILE, Layout, default_root, month_of
from speedtest_logger.archive.format.schema import BATCH_SCHEMA, RAW_SCHEMA, SCHEMA, milliseconds
from speedtest_logger.archive.ledger import index, manifest, places
from speedtest_logger.archive.read import gathered, snapshot
from speedtest_logger.archive.read import sql as statements
from speedtest_logger.errors import DamagedFileError, StorageError, UsageError
from speedtest_logger.record import COLUMNS, SCHEMA_VERSION, utc_text

if TYPE_CHECKING:
    import pandas as pd

PARTS = "'year': INTEGER, 'month': INTEGER"  # of a path; the location may look like a number and is none
LOCATED_PARTS = f"'location': VARCHAR, {PARTS}"
TRIES = 5
OF_DAMAGE = (duckdb.IOException, duckdb.InvalidInputException, RuntimeError)  # what DuckDB raises over damaged bytes
# what nodes delivered since the last ingest
ARRIVED = """
    UNION ALL BY NAME
    SELECT *, year(started_at)::INTEGER AS year, month(started_at)::INTEGER AS month FROM arrived
    ANTI JOIN (SELECT node, run_id FROM stored WHERE started_at >= {since}) USING (node, run_id)"""
WORDS_SCHEMA = RAW_SCHEMA.append(pa.field("node", pa.string()))
VIEW_COLUMNS = (*COLUMNS, "day", "year", "month")


@dataclass(frozen=True)
class Scope:
    """Which rows: of a node, of a location, started from `start` on and before `end` (Unix time, s)."""

    node: str | None = None
    location: str | None = None
    start: float | None = None
    end: float | None = None

    def condition(self) -> str:
        """The same as SQL."""
        texts = [f"{name} = {literal(value)}" for name in ("node", "location") if (value := getattr(self, name))]
        texts += [
            f"started_at {sign} TIMESTAMPTZ {literal(utc_text(moment))}"
            for name, sign in (("start", ">="), ("end", "<"))
            if (moment := getattr(self, name)) is not None
        ]
        return " AND ".join(texts) or "true"

    def files(self, layout: Layout, known: index.Index) -> list[Path]:
        """The files that can hold its rows."""
        if self.node:
            places = sorted(place for place in known.nodes.get(self.node, {}) if self.location in (None, place))
            found = [file for place in places for file in layout.month_files(place)]
        else:
            found = layout.month_files(self.location)
        if self.start is None and self.end is None:
            return found
        first = utc_text(self.start)[:7] if self.start is not None else ""
        last = utc_text(self.end)[:7] if self.end is not None else "9999"
        return [file for file in found if first <= "{1:04d}-{2:02d}".format(*month_of(layout.name(file))) <= last]


def speaks_of_raw(sql: str) -> bool:
    """Whether a question may want the view `raw`."""
    return re.search(r"\braw\b", sql, re.IGNORECASE) is not None


def literal(text: str) -> str:
    """A text as SQL."""
    return "'" + text.replace("'", "''") + "'"


@dataclass(frozen=True)
class Sources:
    """The files that a question reads: months of a location each, and months of the whole fleet."""

    months: list[Path]
    gathered: list[Path]
    raw: list[Path]
    alike: bool  # all months have exactly today's columns: none must be opened to find out

    @classmethod
    def of(cls, layout: Layout, files: snapshot.Still) -> Sources:
        """What to read instead of an archive's files, and have the same rows."""
        alike = index.read(layout).columns == [SCHEMA.names]
        older = {file: identity for file, identity in files.older.items() if file.name != RAW_FILE}
        taken = gathered.instead_of(layout, older) if alike else {}
        covered = {file for months in taken.values() for file in months}
        found = sorted([*(files.older.keys() - covered), *files.linked])
        months, raw = ([file for file in found if (file.name == RAW_FILE) == wanted] for wanted in (False, True))
        return cls(months, sorted(taken), raw, alike)

    def outside(self, folder: Path) -> list[Path]:
        """The files that do not lie below a folder."""
        return [file for file in (*self.months, *self.gathered, *self.raw) if not file.is_relative_to(folder)]

    def records(self) -> str:
        """SQL of the records: every column of today, NULL where a file lacks it, then what only files have."""
        if not self.months and not self.gathered:
            return "SELECT * FROM nothing"
        if not self.alike:
            rows = _parquet(self.months, LOCATED_PARTS, ", union_by_name = true")
            return f"SELECT * FROM nothing UNION ALL BY NAME SELECT * FROM {rows}"
        parts = [_parquet(self.gathered, PARTS)] if self.gathered else []
        parts += [_parquet(self.months, LOCATED_PARTS)] if self.months else []
        return " UNION ALL ".join(f"SELECT {', '.join(VIEW_COLUMNS)} FROM {part}" for part in parts)

    def words(self) -> str:
        """SQL of raw output: as bytes, and as text where they are text."""
        found = _parquet(self.raw, f"'node': VARCHAR, {PARTS}, 'day': INTEGER") if self.raw else "no_words"
        return f"SELECT node, started_at, run_id, TRY(decode(content)) AS text, content FROM {found}"


def _since(arrived: pa.Table) -> str:
    """From when on (SQL) runs are looked for that have arrived: a slot's start is near it, other runs lie anywhere."""
    if arrived["scheduled_at"].null_count:
        return "TIMESTAMPTZ '1970-01-01'"
    first = min(int(milliseconds(arrived[name].drop_null()).min()) for name in ("started_at", "scheduled_at"))
    return f"TIMESTAMPTZ {literal(utc_text((first - places.NEAR_MS) / 1000))}"


def _parquet(files: list[Path], parts: str, options: str = "") -> str:
    names = ", ".join(literal(str(file)) for file in files)
    return f"read_parquet([{names}], hive_partitioning = true, hive_types = {{{parts}}}{options})"


class Elsewhere(Protocol):
    """Another place with an archive's records, such as an object store, that answers instead of the archive's files."""

    def answer(self, sql: str, scope: Scope, besides: str = "") -> pa.Table:
        """The answer to SQL over the view `records`, narrowed to a scope, with more SQL that rows have to satisfy."""
        ...


@dataclass(frozen=True)
class Archive:
    """One dataset. `only` narrows it; `fresh` archives also show what lies in the inbox, as ingest would take it."""

    layout: Layout
    fresh: bool = False
    scope: Scope = field(default_factory=Scope)
    besides: str = ""  # more SQL that the rows have to satisfy
    elsewhere: Elsewhere | None = None

    def only(
        self, node: str | None = None, location: str | None = None, start: float | None = None, end: float | None = None
    ) -> Archive:
        """The same archive narrowed; times are Unix time in seconds, `end` is exclusive."""
        given = Scope(node, location, start, end)
        kept = {name: value for name, value in vars(self.scope).items() if getattr(given, name) is None}
        return replace(self, scope=replace(given, **kept))

    def query(self, sql: str) -> pa.Table:
        """The answer to SQL over the views `records` and `raw`, times in UTC. It can read nothing but the archive.

        Raises UsageError with DuckDB's message where the SQL is wrong or more than a question, DamagedFileError where
        a file is damaged. Where root asks, DuckDB runs as an account that has no right to write to the archive.
        """
        (answer,) = self.answers([sql])
        return answer

    def answers(self, asked: Sequence[str]) -> list[pa.Table]:
        """The same of several questions, of the same rows: the archive's files and a DuckDB are opened once for all."""
        if self.elsewhere:
            return [self.elsewhere.answer(sql, self.scope, self.besides) for sql in asked]
        with accounts.acting_as(accounts.owner_of(self.layout.archive)):
            return self._answers(asked)

    def _answers(self, asked: Sequence[str]) -> list[pa.Table]:
        for _ in range(TRIES):
            arrived = (
                self._arrived() if self.fresh else BATCH_SCHEMA.empty_table()
            )  # first: rows move from here to there
            months = [*self.files(), *self._other_months(arrived)]
            with snapshot.still(self.layout, [*months, *self._raw_files(asked)]) as files:
                try:
                    found = self._ask(Sources.of(self.layout, files), arrived, asked)
                except (duckdb.Error, RuntimeError) as error:  # the latter where its words are no text
                    if files.are_as_they_were():
                        self._look_for_damage(error, months)
                        raise UsageError(str(error)) from error
                else:
                    if files.are_as_they_were():
                        return found
        raise StorageError(f"the archive's old months changed {TRIES} times while they were read: try again later")

    def _look_for_damage(self, error: Exception, months: list[Path]) -> None:
        """Raise DamagedFileError where what DuckDB could not read is a month that is not as it was left."""
        if not isinstance(error, OF_DAMAGE) and type(error) is not duckdb.Error:
            return
        damaged: list[Path] = []
        for _ in range(2):  # an ingest may have been replacing one
            left = {self.layout.archive / name: state for name, state in manifest.state(self.layout).items()}
            damaged = [f for f in months if f in left and not digest.is_of(f, left[f].sha256, left[f].size)]
            if not damaged:
                return
        raise DamagedFileError(damaged[0], error) from error

    def files(self) -> list[Path]:
        """The dataset's files that can hold its rows."""
        return self.scope.files(self.layout, index.read(self.layout))

    def _other_months(self, arrived: pa.Table) -> list[Path]:
        """Where else runs can lie that have arrived, whatever was asked for."""
        if not arrived.num_rows:
            return []
        return list(places.candidates(self.layout, arrived, index.read(self.layout)))

    def _raw_files(self, asked: Sequence[str]) -> list[Path]:
        """Those with raw output; none where no question asks for it, for there may be many."""
        if not any(map(speaks_of_raw, asked)):
            return []
        first, last = (utc_text(t)[:10] if t is not None else None for t in (self.scope.start, self.scope.end))
        return self.layout.raw_files(self.scope.node, first or "", last or "9999")

    def _ask(self, sources: Sources, arrived: pa.Table, asked: Sequence[str]) -> list[pa.Table]:
        with self._unable_to_write() as connection:
            for sql in asked:
                statements.check(connection, sql)
            empty = (
                BATCH_SCHEMA.append(pa.field("year", pa.int32())).append(pa.field("month", pa.int32())).empty_table()
            )
            connection.register("nothing", empty.select(VIEW_COLUMNS))
            connection.execute(f"CREATE VIEW stored AS {sources.records()}")
            rows = "SELECT * FROM stored"
            if arrived.num_rows:
                connection.register("arrived", arrived)
                rows += ARRIVED.format(since=_since(arrived))
            condition = f"{self.scope.condition()} {self.besides}"
            connection.execute(f"CREATE VIEW records AS SELECT * FROM ({rows}) WHERE {condition}")
            connection.register("no_words", WORDS_SCHEMA.empty_table())
            connection.execute(f"CREATE VIEW raw AS {sources.words()} SEMI JOIN records USING (run_id)")
            connection.execute(f"SET allowed_directories = [{literal(str(self.layout.archive))}]")
            linked = [literal(str(file)) for file in sources.outside(self.layout.archive)]
            connection.execute(f"SET allowed_paths = [{', '.join(linked)}]")
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
            relations = (connection.sql(sql) for sql in asked)
            return [pa.table({}) if relation is None else relation.to_arrow_table() for relation in relations]

    @contextmanager
    def _unable_to_write(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A database in memory, with a folder of its own for what does not fit there."""
        with (
            accounts.unable_to_write(self.layout.archive),
            tempfile.TemporaryDirectory(prefix="speedtest-query-", ignore_cleanup_errors=True) as folder,
            duckdb.connect(config={"temp_directory": folder}) as connection,
        ):
            connection.execute("SET TimeZone = 'UTC'")
            yield connection

    def locations(self) -> list[str]:
        """All locations that have rows."""
        if self.elsewhere:
            found: list[str] = self.query("SELECT DISTINCT location FROM records")["location"].to_pylist()
            return sorted(found)
        return sorted({place for places in index.read(self.layout).nodes.values() for place in places})

    def to_arrow(self, columns: list[str] | None = None) -> pa.Table:
        """Rows in order of their start; `columns` None is all of them."""
        names = ", ".join(f'"{name}"' for name in columns) if columns else "* EXCLUDE (year, month)"
        return self.query(f"SELECT {names} FROM records ORDER BY started_at, node, run_id")

    def to_pandas(self, columns: list[str] | None = None) -> pd.DataFrame:
        """The same as a data frame; times are in UTC, what was not measured is NaN or None."""
        frame: pd.DataFrame = self.to_arrow(columns).to_pandas()
        return frame

    def probes(self) -> pa.Table:
        """Results of probes, narrowed as its rows are, in order of their start."""
        from speedtest_logger.archive.read import by_day, probes

        start, end = self.scope.start, self.scope.end
        nodes = None if self.scope.node is None else frozenset((self.scope.node,))
        wanted = probes.Wanted(start or 0.0, by_day.LAST_TIME if end is None else end, nodes, self.scope.location)
        return probes.results(self.layout, wanted).rows

    def newer_than_this_program(self) -> int | None:
        """The archive's schema version where it is later than what this program knows."""
        line = manifest.head(self.layout).line
        version = line.schema_version if line else SCHEMA_VERSION
        return version if version > SCHEMA_VERSION else None

    def _arrived(self) -> pa.Table:
        """What lies in the inbox and is valid; what is not stays there for ingest to judge."""
        tables = [BATCH_SCHEMA.empty_table()]
        tables += [chunk.table for chunk in chunks.ahead(inbox.waiting(self.layout.inbox, chunks.CHUNK_BYTES))]
        return runs.first_of_each_run(pa.concat_tables(tables))


def open_archive(path: Path | str | None = None, *, fresh: bool = False) -> Archive:
    """The archive at `path` (default: SPEEDTEST_ARCHIVE_DIR, or /srv/speedtest-archive). Raises UsageError.

    `fresh` shows the inbox's rows too: what nodes delivered since the last ingest.
    """
    layout = Layout(Path(path) if path else default_root())
    if not layout.archive.is_dir():
        raise UsageError(f"{layout.root} is not an archive: give its directory with --root or SPEEDTEST_ARCHIVE_DIR")
    return Archive(layout, fresh)
