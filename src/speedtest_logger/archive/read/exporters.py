"""export: rows to one file, a SQLite database among them, to SpeedSnake's folder tree, or as OpenMetrics text."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from speedtest_logger.archive.read import openmetrics, render, sqlite
from speedtest_logger.archive.read.dataset import Archive
from speedtest_logger.errors import UsageError
from speedtest_logger.files import kind_of, new_output
from speedtest_logger.record import COLUMNS

FORMS = ("csv", "jsonl", "json", "parquet", "sqlite", "speedsnake", "openmetrics")
WRITERS = {"openmetrics": openmetrics.write, "sqlite": sqlite.write}
# SpeedSnake flattens the JSON of sivel's speedtest-cli: speeds in bit/s, ping in ms. It knows no failed tests. The
# record's own columns follow, so that what is brought in again is the same record. The location is the folder's name.
OWN = ", ".join(name for name in COLUMNS if name != "location")
SPEEDSNAKE_NAMES = {
    "download": "download_bps",
    "upload": "upload_bps",
    "ping": "latency_ms",
    "timestamp": "started_at",  # as text
    "share": "result_url",
    "client_ip": "external_ip",
    "client_isp": "isp",
    "speedtest_address": "location",
}
RENAMED = ", ".join(
    f"strftime({column}, '%Y-%m-%dT%H:%M:%S.%gZ') AS {name}" if name == "timestamp" else f"{column} AS {name}"
    for name, column in SPEEDSNAKE_NAMES.items()
)
SPEEDSNAKE = f"""
    SELECT {RENAMED}, day, {OWN}
    FROM records WHERE status = 'ok' ORDER BY location, started_at, node
"""


def export(archive: Archive, form: str, out: Path | BinaryIO) -> int:
    """Write an archive's rows in one of FORMS; returns their number. Raises UsageError, OSError.

    `out` is a file, or for speedsnake a folder that is empty or new; a stream gets the folder as a tar stream.
    """
    if form == "speedsnake":
        table = archive.query(SPEEDSNAKE)
        if isinstance(out, Path):
            make_empty_folder(out)
            for name, content in speedsnake(table):
                (out / name).parent.mkdir(parents=True, exist_ok=True)
                (out / name).write_bytes(content)
        else:
            to_tar(speedsnake(table), out)
        return int(table.num_rows)
    if form in WRITERS:
        if isinstance(out, Path):
            with new_output(out) as stream:
                return WRITERS[form](archive, stream)
        return WRITERS[form](archive, out)
    table = archive.to_arrow()
    render.write(table, form, out)
    return int(table.num_rows)


def make_empty_folder(out: Path) -> None:
    """Make a folder that is to be filled. Raises UsageError where there is something, or something in it."""
    if kind_of(out) not in (None, "a directory") or (out.exists() and any(out.iterdir())):
        raise UsageError(f"{out} is not an empty folder: name a new one, or rows would be stored twice")
    out.mkdir(parents=True, exist_ok=True)


def to_tar(found: Iterable[tuple[str, bytes]], stream: BinaryIO) -> None:
    """Files as a tar stream."""
    with tarfile.open(fileobj=stream, mode="w|") as archive:
        for name, content in found:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def speedsnake(table: pa.Table) -> Iterator[tuple[str, bytes]]:
    """location=/year=/month=/day=/speedtest_001.parquet: names and contents of files."""
    groups = pa.TableGroupBy(table, ["speedtest_address", "day"], use_threads=False).aggregate([([], "count_all")])
    first = 0
    for row in groups.to_pylist():
        day = row["day"]
        folder = f"location={row['speedtest_address']}/year={day:%Y}/month={day:%m}/day={day:%d}"
        content = pa.BufferOutputStream()
        rows = table.slice(first, row["count_all"]).drop_columns(["day"])
        pq.write_table(rows, content, compression="zstd")
        yield f"{folder}/speedtest_001.parquet", content.getvalue().to_pybytes()
        first += row["count_all"]
