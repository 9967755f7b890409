"""Questions about the lines of nodes' logs: `speedtest-archive logs`, the dashboard's page and its API.

Files are read from the newest day back until there are as many lines as are wanted, so that memory has a bound; of each
file only the row groups that can have one of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from speedtest_logger.archive.format import parquet
from speedtest_logger.archive.format.layout import Layout, day_of
from speedtest_logger.archive.format.schema import LOG_SCHEMA, check_version
from speedtest_logger.archive.read import by_day
from speedtest_logger.archive.read.by_day import moment
from speedtest_logger.errors import DamagedFileError, StorageError, UsageError
from speedtest_logger.log import PRIORITIES
from speedtest_logger.record import unix_time, utc_text

LEVELS = tuple(PRIORITIES)  # from the least to the most urgent
ORDER = [(name, "ascending") for name in ("at", "node", "file", "offset")]
FIRST, TEXTS, LAST = ["at", "node", "level"], ["event", "fields"], ["file", "offset"]  # columns as they are needed
SHOWN = ["at", "node", "level", "event", "fields"]
DAY = 86_400
AHEAD_SECONDS = 300  # that a line's time may be later than its arrival
MOST_TEXT = 200  # characters that can be searched for
NAMED = re.compile(r"(\w)=")


@dataclass(frozen=True)
class Wanted:
    """Which lines: of a period (Unix times, s), of nodes (None: all), from a level on, with a text; so many at most.

    `before` is the cursor of an answer: what is older than its first line.
    """

    start: float
    end: float
    nodes: frozenset[str] | None = None
    level: str = "debug"
    text: str = ""
    limit: int = 1_000
    before: str | None = None


@dataclass(frozen=True)
class Found:
    """Lines, the newest last, with the columns of LOG_SCHEMA; the cursor for older ones; days that are unreadable."""

    lines: pa.Table
    before: str | None
    unreadable: list[str]


def search(layout: Layout, wanted: Wanted) -> Found:
    """The newest lines that are wanted. Raises UsageError for a text that is too long, or a cursor that is none."""
    if len(wanted.text) > MOST_TEXT:
        raise UsageError(f"a text to look for has {MOST_TEXT} characters at most")
    place = place_of(wanted.before) if wanted.before else None
    kept, unreadable = LOG_SCHEMA.empty_table(), []
    for file in reversed(layout.log_files(first=utc_text(max(0.0, wanted.start))[:10])):
        if kept.num_rows > wanted.limit and _latest_in(file) < kept["at"][0].as_py().timestamp():
            break
        try:
            found = [kept, *_matching(file, wanted, place)]
        except (DamagedFileError, StorageError, FileNotFoundError):  # or it is removed just now
            unreadable.append(day_of(file))
            continue
        kept = pa.concat_tables(found).sort_by(ORDER)
        kept = kept.slice(max(0, kept.num_rows - wanted.limit - 1))
    more = kept.num_rows > wanted.limit
    lines = kept.slice(1) if more else kept
    return Found(lines, _cursor(lines) if more else None, unreadable)


def _latest_in(file: Path) -> float:
    return datetime.fromisoformat(day_of(file)).replace(tzinfo=timezone.utc).timestamp() + DAY + AHEAD_SECONDS


def _matching(file: Path, wanted: Wanted, place: tuple[Any, ...] | None) -> Iterator[pa.Table]:
    source = parquet.ParquetFile(file)
    check_version(source.schema_arrow.metadata, file)
    for group in range(source.num_row_groups):
        if _may_have(source, group, wanted):
            with parquet.reading(file):
                yield _of_group(source, group, wanted, place)


def _of_group(source: parquet.ParquetFile, group: int, wanted: Wanted, place: tuple[Any, ...] | None) -> pa.Table:
    """The lines of a row group that are wanted; columns are read as far as there may be one."""
    rows = source.read_row_group(group, FIRST + (LAST if place else []))
    numbers = pc.indices_nonzero(mask(rows, wanted, place))
    if not len(numbers):
        return LOG_SCHEMA.empty_table()
    texts = source.read_row_group(group, TEXTS)
    if wanted.text:
        numbers = numbers.filter(says(texts.take(numbers), wanted.text).combine_chunks())
        if not len(numbers):
            return LOG_SCHEMA.empty_table()
    known = {name: of[name] for of in (rows, texts) for name in of.column_names}
    rest = source.read_row_group(group, [name for name in LOG_SCHEMA.names if name not in known])
    columns = {**known, **{name: rest[name] for name in rest.column_names}}
    return pa.table([columns[name] for name in LOG_SCHEMA.names], LOG_SCHEMA.names).take(numbers).cast(LOG_SCHEMA)


def _may_have(source: parquet.ParquetFile, group: int, wanted: Wanted) -> bool:
    """Whether a row group can have a line that is wanted, as the footer says."""
    return by_day.may_have_any(source, group, "node", wanted.nodes) and by_day.may_have_within(
        source, group, "at", wanted.start, wanted.end
    )


def mask(rows: pa.Table, wanted: Wanted, place: tuple[Any, ...] | None) -> pa.Array:
    """Which lines are wanted, but for their text."""
    at = rows["at"]
    found = pc.and_(pc.greater_equal(at, moment(wanted.start)), pc.less(at, moment(wanted.end)))
    if wanted.nodes is not None:
        found = pc.and_(found, pc.is_in(rows["node"], pa.array(sorted(wanted.nodes), pa.string())))
    if wanted.level != LEVELS[0]:
        found = pc.and_(found, pc.is_in(rows["level"], pa.array(LEVELS[LEVELS.index(wanted.level) :])))
    return pc.and_(found, by_day.before(rows, [name for name, _ in ORDER], place)) if place else found


def says(rows: pa.Table, text: str) -> pa.ChunkedArray:
    """Which lines have a text in their event or fields, capitals or not; name=value too, as lines are shown."""
    found = pc.match_substring(rows["fields"], max(text.split("="), key=len), ignore_case=True)
    if not NAMED.search(text):
        return pc.or_(found, pc.match_substring(rows["event"], text, ignore_case=True))
    likely = pc.if_else(found, rows["fields"], "")  # a pattern takes longer
    pattern = NAMED.sub(r'\1":"?', re.escape(text).replace(r"\=", "="))
    return pc.match_substring_regex(likely, pattern, ignore_case=True)


def _cursor(lines: pa.Table) -> str:
    first = lines.slice(0, 1).to_pylist()[0]
    return json.dumps([utc_text(first["at"].timestamp()), first["node"], first["file"], first["offset"]])


def place_of(cursor: str) -> tuple[Any, ...]:
    """The place in ORDER that a cursor names. Raises UsageError."""
    try:
        at, node, file, offset = json.loads(cursor)
        if not all(isinstance(text, str) for text in (at, node, file)) or type(offset) is not int:
            raise ValueError(cursor)
        return moment(unix_time(at)), node, file, pa.scalar(offset, pa.int64())
    except (ValueError, TypeError, OverflowError, RecursionError, pa.ArrowException) as error:
        raise UsageError("this is no cursor: give `next` of the answer before") from error


def rows_of(lines: pa.Table) -> Iterator[dict[str, Any]]:
    """Lines as JSON knows them, their fields unpacked."""
    for row in lines.select(SHOWN).to_pylist():
        try:
            fields = json.loads(row["fields"])
        except (ValueError, RecursionError):  # it was written here; but a disk may do what it likes
            fields = {"text": row["fields"]}
        yield {**row, "at": utc_text(row["at"].timestamp()), "fields": fields if isinstance(fields, dict) else {}}


def words(fields: dict[str, Any]) -> str:
    """Fields as a log shows them: name=value."""
    return " ".join(
        f"{name}={value if isinstance(value, (str, int, float)) else json.dumps(value)}"
        for name, value in fields.items()
        if value is not None
    )
