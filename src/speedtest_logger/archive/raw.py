"""The engines' own words, which nodes deliver on request: a second dataset beside the records.

    raw/node=NAME/year=YYYY/month=MM/day=DD/raw.parquet      one row per run: run_id, started_at, content

A run's record has the SHA-256 of its words, and the manifest has the record: so the words need no manifest of their own
and may be removed at any time.
"""

from __future__ import annotations

import json
import os
from datetime import datetime, timezone
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa

from speedtest_logger import raw_output
from speedtest_logger.archive import inbox, parquet
from speedtest_logger.archive.layout import Layout
from speedtest_logger.archive.schema import check_version
from speedtest_logger.errors import DamagedFileError, RecordError
from speedtest_logger.record import unix_time
from speedtest_logger.spool import sync_directory

Row = dict[str, Any]
SCHEMA = pa.schema(
    [("run_id", pa.string()), ("started_at", pa.timestamp("ms", tz="UTC")), ("content", pa.binary())],
    metadata={"schema_version": "1"},
)
CHUNK_BYTES = 4_000_000  # taken in at once; ten times as much or more when unpacked
ROW_GROUP = 256


def ingest(layout: Layout) -> tuple[int, list[str]]:
    """Move what was delivered into the dataset, under the writer's lock; returns how many runs were new.

    And what is wrong with days that cannot be read any more: what belongs in these stays in the inbox.
    """
    added = 0
    damaged: list[str] = []
    for files in inbox.chunks(layout.raw_inbox, CHUNK_BYTES):
        contents = inbox.contents(files)
        rows = sorted(read(layout, contents), key=_day)
        try:
            for day, runs in groupby(rows, key=_day):
                added += add(layout.raw_file(files[0].parent.name, day), list(runs))
        except DamagedFileError as error:
            damaged.append(str(error))
            continue
        for file in contents:
            file.unlink()
    return added, damaged


def _day(row: Row) -> str:
    return f"{row['started_at']:%Y-%m-%d}"


def read(layout: Layout, contents: dict[Path, bytes]) -> list[Row]:
    """What lies in deliveries, each run once; damaged lines go to quarantine."""
    rows: dict[str, Row] = {}
    for file, content in contents.items():
        for line in content.splitlines():
            try:
                row = judged(line)
            except (ValueError, RecordError) as error:
                inbox.keep_damaged(layout, inbox.Damaged(file, line, error))
            else:
                rows.setdefault(row["run_id"], row)
    return list(rows.values())


def judged(line: bytes) -> Row:
    """A delivered line as a row of SCHEMA. Raises ValueError and RecordError for one that is none any more."""
    row = json.loads(line)
    if not isinstance(row, dict) or not isinstance(row.get("run_id"), str):
        raise RecordError("bad_raw", "raw output without run_id")
    started = datetime.fromtimestamp(unix_time(str(row.get("started_at"))), tz=timezone.utc)
    return {"run_id": row["run_id"], "started_at": started, "content": raw_output.unpacked(row.get("content"))}


def add(file: Path, runs: list[Row]) -> int:
    """Add runs to a day, each once; returns how many were new. Durable when this returns. Raises DamagedFileError."""
    old = [SCHEMA.empty_table()]
    if file.exists():
        with parquet.reading(file):
            source = parquet.ParquetFile(file)
            check_version(source.schema_arrow.metadata, file)
            old += parquet.groups(source)
    known = {run_id for rows in old for run_id in rows["run_id"].to_pylist()}
    fresh = [row for row in runs if row["run_id"] not in known]
    if fresh:
        rows = pa.concat_tables([*old, pa.Table.from_pylist(fresh, SCHEMA)])
        parquet.make_folders(file.parent)
        with parquet.new_file(parquet.beside(file)) as stream:
            parquet.write(stream, [rows.sort_by("started_at")], SCHEMA, ROW_GROUP)
        os.replace(parquet.beside(file), file)
        sync_directory(file.parent)
    return len(fresh)
