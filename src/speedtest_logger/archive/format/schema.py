"""The dataset's Arrow schema, its order, and columns as numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from speedtest_logger import probe_result
from speedtest_logger.errors import StorageError
from speedtest_logger.record import COLUMNS, SCHEMA_VERSION

ARROW_TYPES = {"int": pa.int64(), "float": pa.float64(), "time": pa.timestamp("ms", tz="UTC")}
# The location is the folder's name: readers of Hive partitions take it from there.
SCHEMA = pa.schema(
    [pa.field(name, ARROW_TYPES.get(kind, pa.string())) for name, kind in COLUMNS.items() if name != "location"]
    + [pa.field("day", pa.date32())],
    metadata={"schema_version": str(SCHEMA_VERSION)},
)
# What a batch carries until it is cut into months: the same columns with the location among them.
BATCH_SCHEMA = pa.schema([*SCHEMA, pa.field("location", pa.string())], metadata=SCHEMA.metadata)
# Raw output, a row for each run.
RAW_SCHEMA = pa.schema(
    [("run_id", pa.string()), ("started_at", pa.timestamp("ms", tz="UTC")), ("content", pa.binary())],
    metadata={"schema_version": "1"},
)
# Lines of nodes' logs: `fields` is JSON text; `file` and `offset` say where on the node a line begins.
LOG_SCHEMA = pa.schema(
    [
        ("at", pa.timestamp("ms", tz="UTC")),
        ("node", pa.string()),
        ("level", pa.string()),
        ("event", pa.string()),
        ("fields", pa.string()),
        ("received_at", pa.timestamp("ms", tz="UTC")),
        ("file", pa.string()),
        ("offset", pa.int64()),
    ],
    metadata={"schema_version": "1"},
)
# Results of probes, with the node that delivered them.
PROBE_SCHEMA = pa.schema(
    [("node", pa.string())]
    + [(name, ARROW_TYPES.get(kind, pa.string())) for name, kind in probe_result.COLUMNS.items()],
    metadata={"schema_version": str(probe_result.SCHEMA_VERSION)},
)
SORT_KEYS = [("started_at", "ascending"), ("node", "ascending"), ("run_id", "ascending")]


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


def rows_by_text(column: pa.ChunkedArray) -> dict[str, tuple[int, int]]:
    """The first row of each text, and the one after the last, where all of one stand together."""
    numbers, texts = numbered(column)
    bounds = np.searchsorted(numbers, np.arange(len(texts) + 1)).tolist()
    return {text: (bounds[place], bounds[place + 1]) for place, text in enumerate(texts)}


def milliseconds(column: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    """Times as Unix time in ms."""
    values: np.ndarray[Any, Any] = column.cast(pa.int64()).to_numpy()
    return values


def months(times: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Months since January 1970 of times in ms."""
    found: np.ndarray[Any, Any] = times.astype("i8").astype("M8[ms]").astype("M8[M]").astype("i8")
    return found
