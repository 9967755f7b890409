"""The forms in which rows leave the archive: a table for people, CSV, JSON, JSON lines and Parquet for programs."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from speedtest_logger import files
from speedtest_logger.errors import UsageError
from speedtest_logger.text import FORMULA_STARTS, as_table, plain

FORMS = ("table", "csv", "json", "jsonl", "parquet")
ROWS_AT_ONCE = 10_000
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def write(table: pa.Table, form: str, out: Path | BinaryIO | None) -> None:
    """Write a table in one of FORMS to what a path names (files.new_output), to a stream, or to standard output.

    Raises UsageError for Parquet on a terminal, OSError where the file cannot be written.
    """
    if isinstance(out, Path):
        with files.new_output(out) as stream:
            write(table, form, stream)
        return
    if out is None:
        sys.stdout.flush()
    stream = sys.stdout.buffer if out is None else out
    terminal = stream.isatty()
    if form == "parquet" and terminal:
        raise UsageError("Parquet cannot be shown on a terminal: add --out FILE, or pipe it")
    for piece in encoded(table, form):
        stream.write(for_terminal(piece) if terminal else piece)
    stream.flush()


def encoded(table: pa.Table, form: str) -> Iterator[bytes]:
    """A table's rows in one of FORMS, piece by piece."""
    if form == "parquet":
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        yield sink.getvalue().to_pybytes()
    elif form == "table":
        yield as_table(table.column_names, rows_of(table)).encode() + b"\n"
    elif form == "json":
        yield json.dumps(list(objects(table)), indent=2).encode() + b"\n"
    else:
        if form == "csv":
            yield csv_lines([[csv_value(name) for name in table.column_names]])
        for batch in table.to_batches(ROWS_AT_ONCE):
            rows = pa.Table.from_batches([batch])
            if form == "csv":
                yield csv_lines([[csv_value(value) for value in row] for row in rows_of(rows)])
            else:
                yield "".join(json.dumps(row) + "\n" for row in objects(rows)).encode()


def rows_of(table: pa.Table) -> list[tuple[Any, ...]]:
    """A table's rows (DuckDB's own fetchall would want pytz for times)."""
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def objects(table: pa.Table) -> Iterator[dict[str, Any]]:
    """A table's rows as JSON knows them."""
    for row in zip(*map(_plain, table.columns), strict=True):
        yield dict(zip(table.column_names, row, strict=True))


def _plain(column: pa.ChunkedArray) -> list[Any]:
    """`plain` of a column's values; of times it takes a tenth as long."""
    if pa.types.is_timestamp(column.type):
        with suppress(pa.ArrowInvalid):  # milliseconds are not all of it
            moments = column.cast(pa.timestamp("ms", column.type.tz or "UTC")).cast(pa.timestamp("ms", "UTC"))
            return list(pc.strftime(moments, "%Y-%m-%dT%H:%M:%SZ").to_pylist())
    values = column.to_pylist()
    known = pa.types.is_string(column.type) or pa.types.is_floating(column.type) or pa.types.is_integer(column.type)
    return list(values) if known else [plain(value) for value in values]


def csv_lines(rows: Sequence[Sequence[Any]]) -> bytes:
    """Rows as CSV (RFC 4180); NULL is an empty field."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def csv_value(value: Any) -> Any:
    """A value for CSV, which is looked at with `cat` and opened in spreadsheets.

    A control character, which could move a terminal's cursor or worse, becomes U+FFFD, but tabs and ends of lines do
    not. A text that a spreadsheet would run as a formula gets an apostrophe in front (owasp.org).
    """
    if isinstance(value, (int, float, type(None))):  # most are, and there may be millions
        return value
    value = plain(value)
    if not isinstance(value, str):
        return value
    value = CONTROL.sub("\N{REPLACEMENT CHARACTER}", value)
    return f"'{value}" if value.startswith(FORMULA_STARTS) else value


def for_terminal(piece: bytes) -> bytes:
    """Text without what could move a terminal's cursor."""
    return "".join(c if c.isprintable() or c in "\r\n" else "?" for c in piece.decode()).encode()
