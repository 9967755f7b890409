"""All files into the dataset, or only counted; what is not taken is named."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from speedtest_logger import accounts
from speedtest_logger.archive.arrive.aside import Different
from speedtest_logger.archive.format import json_lines, month, parquet, runs
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.ledger import index
from speedtest_logger.archive.write import doubles, store
from speedtest_logger.archive.write.importing import catalogue, columns, preview
from speedtest_logger.archive.write.importing.formats import Format, Row, recognise
from speedtest_logger.archive.write.importing.reading import Aside, Rows, find, read
from speedtest_logger.archive.write.importing.records import TIMES, NoTestError, Source, to_record
from speedtest_logger.archive.write.importing.text import UNREADABLE
from speedtest_logger.errors import EngineError, RecordError, UsageError

__all__ = ["Imported", "Source", "find", "run", "sizes", "tables"]
BATCH_ROWS = 60_000  # that one change of the dataset takes
ONE_TEST = 120  # s; an error line so shortly before a result belongs to the same run
MOST_PROBLEMS = 20  # that are named
# A foreign row may hold any type anywhere: what a parser stumbles over is a row of another form than it looked.
MISFITS = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError)


@dataclass
class Imported:
    """What an import did, or would do. `passed_over` is what tells of no test, by what it is."""

    files: int = 0
    rows: int = 0
    added: int = 0
    duplicates: int = 0
    different: int = 0
    refused: int = 0
    formats: dict[str, int] = field(default_factory=dict)
    passed_over: dict[str, int] = field(default_factory=dict)
    locations: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def refuse(self, file: Path, place: int, problem: str, count: int = 1) -> None:
        """Count refused rows and keep the first problems, each once."""
        self.refused += count
        where = f"{file}, row {place}" + (f" and {count - 1} more" if count > 1 else "")
        if len(self.problems) < MOST_PROBLEMS and not any(told.endswith(f": {problem}") for told in self.problems):
            self.problems.append(f"{where}: {problem}")

    def pass_over(self, what: str, count: int = 1) -> None:
        """Count what tells of no test."""
        self.passed_over[what] = self.passed_over.get(what, 0) + count

    def take(self, form: Format, table: pa.Table) -> None:
        """Count rows that are taken."""
        self.rows += table.num_rows
        self.formats[form.name] = self.formats.get(form.name, 0) + table.num_rows
        for place, count in Counter(table["location"].to_pylist()).items():
            self.locations[place] = self.locations.get(place, 0) + count


@dataclass
class _Run:
    """An import under way."""

    layout: Layout
    dry_run: bool
    outcome: Imported
    waiting: list[pa.Table] = field(default_factory=list)
    seen: set[tuple[str, str]] = field(default_factory=set)
    shown: preview.Preview = field(default_factory=preview.Preview)

    def flush(self) -> None:
        """Bring what waits into the dataset, or count what would be new."""
        if not self.waiting:
            return
        table = pa.concat_tables(self.waiting)
        self.waiting.clear()
        added = self._rehearse(table) if self.dry_run else self._add(table)
        self.outcome.added += added
        self.outcome.duplicates += table.num_rows - added

    def _add(self, table: pa.Table) -> int:
        with store.single_writer(self.layout, "import", wait=60):
            done = store.commit(self.layout, "import", table)
        self._name(done.different)
        return done.added

    def _name(self, different: list[Different]) -> None:
        self.outcome.different += len(different)
        for record in different[: max(0, MOST_PROBLEMS - len(self.outcome.problems))]:
            self.outcome.problems.append(
                f"run {record.run_id} of node '{record.node}' is stored already, and counts once: {record.message}"
            )

    def _rehearse(self, table: pa.Table) -> int:
        """How many of the rows would be new; `seen` are the runs of those before them."""
        known = index.read(self.layout)
        parts = runs.split(table)
        self._name(doubles.different([], parts))
        rows, new = doubles.elsewhere(self.layout, parts.firsts, known), 0
        for file, part in store.by_month(self.layout, rows):
            old = parquet.ParquetFile(file) if file.exists() else None
            unseen = set(runs.keys(month.unknown_only(old, part))) - self.seen
            self.seen |= unseen
            new += len(unseen)
        return new


def sizes(files: list[Path]) -> int:
    """Bytes of files, for a progress bar."""
    with accounts.as_caller():
        return sum(file.stat().st_size for file in files)


def run(
    layout: Layout, files: list[Path], source: Source, *, dry_run: bool, progress: Callable[[int], None] | None = None
) -> tuple[Imported, preview.Preview]:
    """Read files into the dataset, or only count with `dry_run`; a row that is none is named and the others go on.

    `progress` is told bytes of files. Returns what was done, and what the values look like. Raises UsageError where the
    source needs a node's name and none is given, where `at` has more than one test, or where nothing is recognised;
    StorageError while another change of the archive is running.
    """
    under_way = _Run(layout, dry_run, Imported())
    outcome = under_way.outcome
    for file in files:
        for form, table in tables(file, source, outcome, progress):
            under_way.shown.take(form, table)
            under_way.waiting.append(table)
            if not source.at and sum(part.num_rows for part in under_way.waiting) >= BATCH_ROWS:
                under_way.flush()
        outcome.files += 1
    if source.at and sum(outcome.formats.values()) > 1:
        raise UsageError(f"--at is the time of one test, and there are {outcome.rows}: nothing was taken")
    under_way.flush()
    return outcome, under_way.shown


def tables(
    file: Path, source: Source, outcome: Imported, progress: Callable[[int], None] | None = None
) -> Iterator[tuple[Format, pa.Table]]:
    """A file's rows as tables of valid records, each of one format; what cannot be one is counted in `outcome`."""
    errors = _Errors(outcome)
    try:
        for found in read(file, progress):
            if isinstance(found, Aside):
                if found.problem:
                    outcome.refuse(file, found.place, found.problem, found.count)
                elif found.other:
                    outcome.pass_over(found.other, found.count)
                continue
            try:
                form = recognise(found.header, catalogue.FORMATS, source.form)
            except RecordError as error:
                outcome.refuse(file, found.places[0], str(error)[:400], len(found.places))
                continue
            taken = list(_taken(found, form, file, source, outcome))
            for kind, table in errors.settle(form, taken):
                outcome.take(kind, table)
                yield kind, table
    except UNREADABLE as error:
        outcome.refuse(file, 0, f"it cannot be read: {str(error)[:200]}")
    for table in errors.rest():
        outcome.take(catalogue.BY_NAME["ookla-log"], table)
        yield catalogue.BY_NAME["ookla-log"], table


class _Errors:
    """Ookla's error lines: one run prints several, and may go on to a result. What is left is a failed test."""

    def __init__(self, outcome: Imported) -> None:
        self._outcome, self._held = outcome, list[pa.Table]()

    def settle(self, form: Format, taken: list[pa.Table]) -> Iterator[tuple[Format, pa.Table]]:
        """Tables that are sure; error lines wait for what follows them."""
        if form.name == "ookla-log":
            for table in taken:
                for number in range(table.num_rows):
                    self._hold(table.slice(number, 1))
            return
        if taken and self._held and self._is_soon_after(taken[0]):
            self._held.pop()
            self._outcome.pass_over("error line")
        yield from ((catalogue.BY_NAME["ookla-log"], table) for table in self.rest())
        yield from ((form, table) for table in taken)

    def _hold(self, row: pa.Table) -> None:
        if self._held and self._is_soon_after(row):
            self._outcome.pass_over("error line")
        else:
            self._held.append(row)

    def _is_soon_after(self, table: pa.Table) -> bool:
        before, after = (rows["started_at"][0].as_py().timestamp() for rows in (self._held[-1], table))
        return bool(0 <= after - before <= ONE_TEST)

    def rest(self) -> list[pa.Table]:
        """What waits."""
        held, self._held = self._held, []
        return held


def _taken(rows: Rows, form: Format, file: Path, source: Source, outcome: Imported) -> Iterator[pa.Table]:
    """Rows of a format as tables: those that are plainly right at once, the others one by one."""
    left = list(range(len(rows)))
    if rows.objects is None and form.columns and not form.prepare and source.node:
        table, left = columns.convert(rows, form, file, source)
        if table is not None and table.num_rows:
            yield table
    records = [row for place in left if (row := _one(rows, place, form, file, source, outcome))]
    if records:
        yield json_lines.to_table(records)


def _check_end(rows: Rows, form: Format) -> None:
    """Raises RecordError for the last value of a file that ends without an end of line, where it may be cut short."""
    name, value = rows.header.names[-1], str(rows.row(len(rows) - 1)[-1])
    whole = name in TIMES and (value.endswith(("Z", "UTC")) or re.search(r"\d\d:\d\d:\d\d$", value))
    if not whole and (name in (*form.columns, *TIMES, "time", form.status) or form.name == catalogue.OWN):
        raise RecordError("cut_short", f"the file ends within this line: {name} '{value:.40}' may be cut short")


def _one(rows: Rows, place: int, form: Format, file: Path, source: Source, outcome: Imported) -> dict[str, Any] | None:
    row = Row(dict(zip(rows.header.names, rows.row(place), strict=True)), rows.objects[place] if rows.objects else None)
    try:
        if rows.torn and place == len(rows) - 1:
            _check_end(rows, form)
        return to_record(row, form, file, source).to_row()
    except NoTestError as what:
        outcome.pass_over(str(what))
    except (RecordError, EngineError) as error:
        outcome.refuse(file, rows.places[place], str(error)[:300])
    except MISFITS as error:
        outcome.refuse(file, rows.places[place], f"its values do not fit its columns: {str(error)[:160]}")
    return None
