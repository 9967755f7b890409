"""The dataset's Arrow schema, and turning records into its tables: line by line, or a whole file at once.

read_lines believes a file only where every one of its rows would pass record.validate; for anything else it says None
and the caller goes line by line to find out which row is wrong and why.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from speedtest_logger.errors import StorageError
from speedtest_logger.record import (
    COLUMNS,
    MAX_TEXT,
    REASONS,
    REQUIRED,
    RUNTIMES,
    SCHEMA_VERSION,
    STATUSES,
    is_id,
)

ARROW_TYPES = {"int": pa.int64(), "float": pa.float64(), "time": pa.timestamp("ms", tz="UTC")}
# The location is the folder's name: readers of Hive partitions take it from there.
SCHEMA = pa.schema(
    [pa.field(name, ARROW_TYPES.get(kind, pa.string())) for name, kind in COLUMNS.items() if name != "location"]
    + [pa.field("day", pa.date32())],
    metadata={"schema_version": str(SCHEMA_VERSION)},
)
# What a batch carries until it is cut into months: the same columns with the location among them.
BATCH_SCHEMA = pa.schema([*SCHEMA, pa.field("location", pa.string())], metadata=SCHEMA.metadata)
SORT_KEYS = [("started_at", "ascending"), ("node", "ascending"), ("run_id", "ascending")]

_EPOCH, _OK, _ZERO = pa.scalar("1970-01-01T00:00:00.000Z"), pa.scalar("ok"), pa.scalar(0.0)
_LINE_TYPES = {"int": pa.int64(), "float": pa.float64()}
_LINE_SCHEMA = pa.schema([pa.field(name, _LINE_TYPES.get(kind, pa.string())) for name, kind in COLUMNS.items()])
_PATTERNS = {
    "uuid": r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\z",
    "time": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\z",
    "sha256": r"^[0-9a-f]{64}\z",
}
_WORDS = {"status": STATUSES, "reason": tuple(REASONS), "runtime": RUNTIMES}


def check_version(metadata: dict[bytes, bytes] | None, where: object) -> None:
    """Raise StorageError for a file that a later version of this program wrote."""
    version = int((metadata or {}).get(b"schema_version", b"1"))
    if version > SCHEMA_VERSION:
        raise StorageError(
            f"{where} has schema version {version}, this program knows up to {SCHEMA_VERSION}: nothing was changed; "
            "install the version of speedtest-archive that wrote it, or a later one"
        )


def numbered(column: pa.ChunkedArray) -> tuple[np.ndarray[Any, Any], list[str]]:
    """A number for each row's text and the texts that the numbers stand for, in order of their appearance.

    (Table.group_by would do, but it loads pyarrow's query engine: 7 ms of every start.)
    """
    texts = pc.unique(column)
    return pc.index_in(column, value_set=texts).to_numpy().astype("i8"), texts.to_pylist()


def milliseconds(column: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    """Times as Unix time in ms."""
    values: np.ndarray[Any, Any] = column.cast(pa.int64()).to_numpy()
    return values


def to_table(rows: list[dict[str, Any]]) -> pa.Table:
    """Validated rows as a table of BATCH_SCHEMA."""
    arrays = [
        pa.array([row.get(field.name) for row in rows], field.type)
        for field in _LINE_SCHEMA  # times are still text
    ]
    return _typed(pa.Table.from_arrays(arrays, schema=_LINE_SCHEMA))


def read_lines(content: bytes, node: str) -> pa.Table | None:
    """JSON lines of one node as a table of BATCH_SCHEMA, or None where a row is none or would not be valid."""
    options = pj.ParseOptions(explicit_schema=_LINE_SCHEMA, unexpected_field_behavior="error")
    reading = pj.ReadOptions(block_size=1 << 20, use_threads=False)  # a fifth less CPU; ingest reads several at once
    try:
        table = pj.read_json(pa.BufferReader(content), read_options=reading, parse_options=options)
        if table.num_rows != content.count(b"\n") or not _are_valid(table, node):
            return None
        return _typed(table)
    except (pa.ArrowException, UnicodeDecodeError):
        return None


def _typed(lines: pa.Table) -> pa.Table:
    """Times become timestamps, and the day of the start is added."""
    columns = {name: lines[name] for name in lines.column_names}
    for name, kind in COLUMNS.items():
        if kind == "time":
            columns[name] = pc.cast(columns[name], ARROW_TYPES["time"])
    without_zone = columns["started_at"].cast(pa.timestamp("ms"))  # or the time zones' database is read: 2 ms
    columns["day"] = without_zone.cast(pa.date32())
    return pa.Table.from_arrays([columns[field.name] for field in BATCH_SCHEMA], schema=BATCH_SCHEMA)


def _are_valid(lines: pa.Table, node: str) -> bool:
    """Whether record.validate would take every row, and each is of this node."""
    if any(lines[name].null_count for name in REQUIRED):
        return False
    if pc.unique(lines["schema_version"]).to_pylist() != [SCHEMA_VERSION]:
        return False
    if pc.unique(lines["node"]).to_pylist() != [node]:
        return False
    return all(_is_valid(lines[name], kind) for name, kind in COLUMNS.items()) and _fit_together(lines)


def _is_valid(column: pa.ChunkedArray, kind: str) -> bool:
    if column.null_count == len(column):
        return True
    if kind in ("int", "float"):
        ends = pc.min_max(column).as_py()
        return bool(ends["min"] >= 0 and ends["max"] < 2**53) and not _any(pc.is_nan(column))
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
