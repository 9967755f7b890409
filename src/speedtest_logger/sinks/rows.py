"""Rows on their way into the database: records and their rollups as the text that COPY reads."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb
import pyarrow as pa
from pyarrow import csv

from speedtest_logger.archive.format.schema import BATCH_SCHEMA
from speedtest_logger.archive.read.rollup import BANDS, MEMORY, STATUSES, VALUES
from speedtest_logger.record import COLUMNS

CHUNK_ROWS = 50_000  # for a statement: each has its own time
NAMES = list(COLUMNS)
BAND_KINDS = [
    *[(status, pa.int64()) for status in STATUSES],
    *[
        (f"{name}{end}", pa.int64() if end == "_tests" else pa.float64())
        for name in VALUES
        for end in ("_low", "", "_high", "_tests")
    ],
    ("bytes_received", pa.int64()),
    ("bytes_sent", pa.int64()),
]
UNITS = {"rollup_hour": "hour", "rollup_day": "day"}


@dataclass(frozen=True)
class Copy:
    """Rows as COPY … (FORMAT csv) reads them, in pieces: NULL is nothing, an empty text is "", times are in UTC."""

    names: list[str]
    pieces: list[bytes]
    count: int

    @classmethod
    def of(cls, table: pa.Table) -> Copy:
        """A table's rows."""
        kinds = [pa.timestamp(kind.unit) if pa.types.is_timestamp(kind) else kind for kind in table.schema.types]
        plain = table.cast(pa.schema(zip(table.column_names, kinds, strict=True)))  # each zone would be looked up
        chunks = plain.combine_chunks().to_batches(CHUNK_ROWS)
        return cls(table.column_names, list(map(_text, chunks)), table.num_rows)


def _text(rows: pa.RecordBatch) -> bytes:
    stream = pa.BufferOutputStream()
    csv.write_csv(rows, stream, csv.WriteOptions(include_header=False, batch_size=8192))
    content: bytes = stream.getvalue().to_pybytes()
    return content


def rollups(records: pa.Table) -> dict[str, pa.Table]:
    """By its table: figures per node and hour or day (UTC) of records, and per location that several nodes measured.

    The records of each of these hours and days have to be all there.
    """
    with duckdb.connect(config={"memory_limit": MEMORY, "threads": 1}) as database:
        database.execute("SET TimeZone = 'UTC'; SET enable_external_access = false")
        database.register("found", records)
        return {name: _bands(database, unit) for name, unit in UNITS.items()}


def _bands(database: duckdb.DuckDBPyConnection, unit: str) -> pa.Table:
    made = database.sql(f"""
        SELECT coalesce(node, '') AS node, location, date_trunc('{unit}', started_at) AS start, {BANDS}
        FROM found GROUP BY GROUPING SETS ((node, location, start), (location, start))
        HAVING grouping(node) = 0 OR count(DISTINCT node) > 1 ORDER BY 2, 1, 3""").to_arrow_table()
    first = [made.schema.field(place) for place in range(3)]
    schema = pa.schema([*first, *(pa.field(name, kind) for name, kind in BAND_KINDS)])
    return made.rename_columns(schema.names).cast(schema)


def of_records(tables: list[pa.Table]) -> pa.Table:
    """Records with the columns of the database, in its order."""
    return pa.concat_tables([BATCH_SCHEMA.empty_table(), *tables]).select(NAMES)
