"""The Parquet dataset: its Arrow schema, reading and replacing one month's file, and opening it all with DuckDB."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from speedtest_logger.archive.layout import Layout
from speedtest_logger.record import COLUMNS, SCHEMA_VERSION, unix_time
from speedtest_logger.spool import sync_directory

ARROW_TYPES = {"int": pa.int64(), "float": pa.float64(), "time": pa.timestamp("ms", tz="UTC")}
# The location is the folder's name: readers of Hive partitions take it from there.
SCHEMA = pa.schema(
    [pa.field(name, ARROW_TYPES.get(kind, pa.string())) for name, kind in COLUMNS.items() if name != "location"]
    + [pa.field("day", pa.date32())],
    metadata={"schema_version": str(SCHEMA_VERSION)},
)
SORT_KEYS = [("started_at", "ascending"), ("node", "ascending"), ("run_id", "ascending")]


def to_table(rows: list[dict[str, Any]]) -> pa.Table:
    """Validated rows of one location as a table of SCHEMA."""
    columns: dict[str, list[Any]] = {}
    for name, kind in COLUMNS.items():
        values = [row.get(name) for row in rows]
        if kind == "time":
            values = [None if v is None else datetime.fromtimestamp(unix_time(v), tz=timezone.utc) for v in values]
        columns[name] = values
    days = [moment.date() for moment in columns["started_at"]]
    arrays = [pa.array(days if f.name == "day" else columns[f.name], f.type) for f in SCHEMA]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def read_month(file: Path) -> pa.Table:
    """One month's file, empty where there is none yet."""
    return pq.ParquetFile(file).read() if file.exists() else SCHEMA.empty_table()


def merge(old: pa.Table, new: pa.Table) -> pa.Table:
    """Old and new rows sorted by time, each run once: its first row stands."""
    known = set(old["run_id"].to_pylist())
    keep = []
    for run_id in new["run_id"].to_pylist():
        keep.append(run_id not in known)
        known.add(run_id)
    fresh = new.filter(pa.array(keep, pa.bool_()))
    return pa.concat_tables([old, fresh], promote_options="default").sort_by(SORT_KEYS)


def replace_month(file: Path, table: pa.Table) -> None:
    """Replace one month's file at once; readers see the old one or the new one. Durable when this returns."""
    file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.tmp")  # readers skip names with a leading dot
    with temporary.open("wb") as stream:
        pq.write_table(table, stream, compression="zstd")
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, file)
    for folder in (file.parent, *list(file.parents)[1:4]):
        sync_directory(folder)


def month_files(layout: Layout) -> list[Path]:
    """All files of the dataset."""
    return sorted(layout.archive.glob("location=*/year=*/month=*/speedtest.parquet"))


def connect(layout: Layout) -> duckdb.DuckDBPyConnection:
    """DuckDB with the dataset as view `records`; it can read the archive's files and nothing else on the machine."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    if month_files(layout):
        pattern = f"{layout.archive}/location=*/year=*/month=*/speedtest.parquet".replace("'", "''")
        names = ", ".join(f'"{name}"' for name in (*COLUMNS, "day", "year", "month"))
        connection.execute(
            f"CREATE VIEW records AS SELECT {names} FROM read_parquet('{pattern}', hive_partitioning = true, "
            "hive_types = {'location': VARCHAR, 'year': INTEGER, 'month': INTEGER}, union_by_name = true)"
        )
    else:
        empty = SCHEMA.append(pa.field("location", pa.string())).empty_table()
        connection.register("nothing", empty)
        connection.execute("CREATE TABLE records AS SELECT *, 0 AS year, 0 AS month FROM nothing")
    directory = str(layout.archive).replace("'", "''")
    connection.execute(f"SET allowed_directories = ['{directory}']")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def month_keys(rows: Iterable[dict[str, Any]]) -> dict[tuple[str, int, int], list[dict[str, Any]]]:
    """Rows by location, year and month of their start (UTC)."""
    grouped: dict[tuple[str, int, int], list[dict[str, Any]]] = {}
    for row in rows:
        stamp = row["started_at"]
        grouped.setdefault((row["location"], int(stamp[:4]), int(stamp[5:7])), []).append(row)
    return grouped


def count_rows(table: pa.Table) -> int:
    """Rows of a table, as a plain number."""
    return int(pc.count(table["run_id"]).as_py())
