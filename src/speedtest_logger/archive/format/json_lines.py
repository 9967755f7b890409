"""Records as JSON lines turned into tables of BATCH_SCHEMA: validated rows, a few lines, or whole deliveries.

read_lines believes lines only where every row would pass record.validate, or has been judged by receive already; for
anything else it says None, and the caller goes line by line to find out which row is wrong and why. It starts at once,
but is slow. read_deliveries is DuckDB's reader, less than half the CPU, which would overlook a column that nobody
knows: it is for files that are, byte by byte, what receive has judged and written.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from speedtest_logger.archive.format.schema import ARROW_TYPES, BATCH_SCHEMA
from speedtest_logger.record import (
    COLUMNS,
    MAX_TEXT,
    MOST,
    REASONS,
    REQUIRED,
    RUNTIMES,
    SCHEMA_VERSION,
    STATUSES,
    is_id,
)

if TYPE_CHECKING:
    import duckdb

_EPOCH, _OK, _ZERO = pa.scalar("1970-01-01T00:00:00.000Z"), pa.scalar("ok"), pa.scalar(0.0)
_LINE_TYPES = {"int": pa.int64(), "float": pa.float64()}
_LINE_SCHEMA = pa.schema([pa.field(name, _LINE_TYPES.get(kind, pa.string())) for name, kind in COLUMNS.items()])
_SQL_TYPES = {"int": "BIGINT", "float": "DOUBLE"}
_LINE_COLUMNS = ", ".join(f"{name}: '{_SQL_TYPES.get(kind, 'VARCHAR')}'" for name, kind in COLUMNS.items())
_READ = (
    f"SELECT * FROM read_json(?, columns = {{{_LINE_COLUMNS}}}, "
    "format = 'newline_delimited', hive_partitioning = false)"
)
_PATTERNS = {
    "uuid": r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\z",
    "time": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\z",
    "sha256": r"^[0-9a-f]{64}\z",
}
_WORDS = {"status": STATUSES, "reason": tuple(REASONS), "runtime": RUNTIMES}


def to_table(rows: list[dict[str, Any]]) -> pa.Table:
    """Validated rows as a table of BATCH_SCHEMA."""
    arrays = [
        pa.array([row.get(field.name) for row in rows], field.type)
        for field in _LINE_SCHEMA  # times are still text
    ]
    return _typed(pa.Table.from_arrays(arrays, schema=_LINE_SCHEMA))


def from_columns(columns: dict[str, pa.Array | pa.ChunkedArray], rows: int) -> pa.Table | None:
    """Columns as a table of BATCH_SCHEMA, times given as text; None where record.validate would refuse a row."""
    arrays = [
        columns[field.name].cast(field.type) if field.name in columns else pa.nulls(rows, field.type)
        for field in _LINE_SCHEMA
    ]
    lines = pa.Table.from_arrays(arrays, schema=_LINE_SCHEMA)
    return _typed(lines) if _are_valid(lines) else None


def read_lines(content: bytes, node: str, *, judged: bool = False) -> pa.Table | None:
    """JSON lines of one node as a table of BATCH_SCHEMA, or None where a row is none or would not be valid.

    `judged` lines are what receive wrote: they are only read.
    """
    options = pj.ParseOptions(explicit_schema=_LINE_SCHEMA, unexpected_field_behavior="error")
    reading = pj.ReadOptions(block_size=1 << 20, use_threads=False)  # a fifth less CPU; ingest reads several at once
    try:
        table = pj.read_json(pa.BufferReader(content), read_options=reading, parse_options=options)
        rows = content.count(b"\n")
        return _typed(table) if _are_ours(table, rows, node) and (judged or _are_valid(table)) else None
    except (pa.ArrowException, UnicodeDecodeError):
        return None


def read_deliveries(files: list[Path], rows: int, node: str) -> pa.Table | None:
    """Files of one node as receive wrote them, as a table of BATCH_SCHEMA; None where that is not what they hold."""
    import duckdb  # not for a lone record: 50 ms and 80 MB

    names = [str(file) for file in files]
    with _database().cursor() as cursor:
        try:
            table: pa.Table = cursor.sql(_READ, params=[names]).to_arrow_table()
            return _typed(table) if _are_ours(table, rows, node) else None
        except (duckdb.Error, pa.ArrowException):
            return None


@cache
def _database() -> duckdb.DuckDBPyConnection:
    import duckdb

    return duckdb.connect(config={"threads": 1})  # ingest reads several deliveries at once


def _typed(lines: pa.Table) -> pa.Table:
    """Times become timestamps, and the day of the start is added."""
    columns = {name: lines[name] for name in lines.column_names}
    for name, kind in COLUMNS.items():
        if kind == "time":
            columns[name] = pc.cast(columns[name], ARROW_TYPES["time"])
    without_zone = columns["started_at"].cast(pa.timestamp("ms"))  # or the time zones' database is read: 2 ms
    columns["day"] = without_zone.cast(pa.date32())
    return pa.Table.from_arrays([columns[field.name] for field in BATCH_SCHEMA], schema=BATCH_SCHEMA)


def _are_valid(lines: pa.Table) -> bool:
    """Whether record.validate would take every row."""
    return (
        not any(lines[name].null_count for name in REQUIRED)
        and all(_is_valid(lines[name], kind, MOST[name]) for name, kind in COLUMNS.items())
        and _fit_together(lines)
    )


def _are_ours(lines: pa.Table, rows: int, node: str) -> bool:
    """Whether there are as many rows as lines, all of this node and of the version that this program knows."""
    wanted: dict[str, list[Any]] = {"schema_version": [SCHEMA_VERSION], "node": [node]}
    return lines.num_rows == rows and all(pc.unique(lines[name]).to_pylist() == v for name, v in wanted.items())


def _is_valid(column: pa.ChunkedArray, kind: str, most: int) -> bool:
    if column.null_count == len(column):
        return True
    if kind in ("int", "float"):
        ends = pc.min_max(column).as_py()
        return bool(ends["min"] >= 0 and ends["max"] <= most) and not _any(pc.is_nan(column))
    if kind == "id" or kind in _WORDS:
        known = {value for value in pc.unique(column).to_pylist() if value is not None}
        return all(map(is_id, known)) if kind == "id" else known <= set(_WORDS[kind])
    if kind in _PATTERNS:
        return _all(pc.match_substring_regex(column, _PATTERNS[kind])) and (
            kind != "time" or _all(pc.greater(column, _EPOCH))
        )
    texts = pc.unique(column)  # most come again and again
    return bool(pc.max(pc.utf8_length(texts)).as_py() <= MAX_TEXT) and not _any(pc.match_substring(texts, "\0"))


def _fit_together(lines: pa.Table) -> bool:
    ok = pc.equal(lines["status"], _OK)
    measured = pc.and_(
        *(pc.greater(pc.fill_null(lines[name], _ZERO), _ZERO) for name in ("download_bps", "upload_bps"))
    )
    return (
        _all(pc.equal(ok, pc.is_null(lines["reason"])))
        and _all(pc.greater_equal(lines["finished_at"], lines["started_at"]))
        and _all(pc.or_(pc.invert(ok), measured))
        and set(pc.unique(lines["ip_family"]).to_pylist()) <= {4, 6, None}
    )


def _all(mask: pa.ChunkedArray) -> bool:
    return bool(pc.all(mask, min_count=0).as_py())


def _any(mask: pa.ChunkedArray) -> bool:
    return bool(pc.any(mask, min_count=0).as_py())
