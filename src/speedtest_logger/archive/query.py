"""query and export: SQL over the view `records`, and the forms in which rows leave the archive."""

from __future__ import annotations

import csv
import io
import json
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from speedtest_logger.archive import store
from speedtest_logger.archive.layout import Layout
from speedtest_logger.errors import ConfigError
from speedtest_logger.record import utc_text

Rows = tuple[list[str], list[tuple[Any, ...]]]


def query(layout: Layout, sql: str) -> Rows:
    """Column names and rows. Raises ConfigError with DuckDB's own words for SQL that is wrong."""
    with store.connect(layout) as connection:
        try:
            relation = connection.sql(sql)
            table = relation.to_arrow_table() if relation else pa.table({})
        except duckdb.Error as error:
            raise ConfigError([str(error)]) from error
    return table.column_names, rows_of(table)


def rows_of(table: Any) -> list[tuple[Any, ...]]:
    """An Arrow table's rows (DuckDB's own fetchall would want pytz for times)."""
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def render(names: list[str], rows: list[tuple[Any, ...]], form: str) -> str:
    """Rows as table, json or csv."""
    return {"table": as_table, "json": as_json, "csv": as_csv}[form](names, rows)


def plain(value: Any) -> Any:
    """A value as JSON knows it; times in UTC with milliseconds."""
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=timezone.utc)
        return utc_text(aware.timestamp())
    if isinstance(value, date):
        return value.isoformat()
    return value if isinstance(value, (int, float, str, bool, type(None))) else str(value)


def printable(value: Any) -> str:
    """A value for a terminal: no control characters, so that stored text cannot move the cursor."""
    if value is None:
        return ""
    text = f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(plain(value))
    return "".join(c if c.isprintable() else "?" for c in text)


def as_table(names: list[str], rows: list[tuple[Any, ...]]) -> str:
    """Aligned columns, numbers to the right."""
    cells = [[printable(value) for value in row] for row in rows]
    widths = [max(len(name), *(len(row[i]) for row in cells)) if cells else len(name) for i, name in enumerate(names)]
    numeric = [
        bool(rows) and all(isinstance(row[i], (int, float, type(None))) for row in rows) for i in range(len(names))
    ]

    def line(row: list[str]) -> str:
        aligned = (c.rjust(w) if right else c.ljust(w) for c, w, right in zip(row, widths, numeric, strict=True))
        return "  ".join(aligned).rstrip()

    return "\n".join([line(names), line(["-" * width for width in widths]), *(line(row) for row in cells)])


def as_json(names: list[str], rows: list[tuple[Any, ...]]) -> str:
    """A list of objects."""
    return json.dumps([dict(zip(names, map(plain, row), strict=True)) for row in rows], indent=2)


def as_csv(names: list[str], rows: list[tuple[Any, ...]]) -> str:
    """CSV with a header; NULL is an empty field."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([plain(value) for value in row] for row in rows)
    return text.getvalue().rstrip("\n")


def export(layout: Layout, form: str, out: Path, start: str | None, end: str | None) -> int:
    """Write the rows between two days (UTC, end exclusive) to a csv, jsonl or parquet file; returns their number."""
    where = [f"started_at {sign} CAST('{day}' AS TIMESTAMPTZ)" for sign, day in ((">=", start), ("<", end)) if day]
    sql = "SELECT * EXCLUDE (year, month) FROM records" + (" WHERE " + " AND ".join(where) if where else "")
    with store.connect(layout) as connection:
        table = connection.sql(sql + " ORDER BY started_at, node").to_arrow_table()
    temporary = out.with_name(f".{out.name}.tmp")
    if form == "parquet":
        import pyarrow.parquet as pq

        pq.write_table(table, temporary, compression="zstd")
    else:
        rows = rows_of(table)
        if form == "csv":
            text = as_csv(table.column_names, rows) + "\n"
        else:
            text = "".join(
                json.dumps(dict(zip(table.column_names, map(plain, row), strict=True))) + "\n" for row in rows
            )
        temporary.write_text(text, encoding="utf-8")
    temporary.replace(out)
    return int(table.num_rows)
