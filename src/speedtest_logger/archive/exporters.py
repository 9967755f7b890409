"""export: rows to one file, or to the folder tree that SpeedSnake makes."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from speedtest_logger.archive import render
from speedtest_logger.archive.dataset import Archive
from speedtest_logger.errors import UsageError

FORMS = ("csv", "jsonl", "json", "parquet", "speedsnake")
# SpeedSnake flattens the JSON of sivel's speedtest-cli: speeds in bit/s, ping in ms. It knows no failed tests.
SPEEDSNAKE = """
    SELECT download_bps AS download, upload_bps AS upload, latency_ms AS ping,
           strftime(started_at, '%Y-%m-%dT%H:%M:%S.%gZ') AS timestamp, bytes_sent, bytes_received, result_url AS share,
           server_id, server_name, server_host, server_country, external_ip AS client_ip, isp AS client_isp,
           location AS speedtest_address, day
    FROM records WHERE status = 'ok' ORDER BY location, started_at, node
"""


def export(archive: Archive, form: str, out: Path) -> int:
    """Write an archive's rows in one of FORMS; returns their number. Raises UsageError, OSError."""
    if form == "speedsnake":
        return to_speedsnake(archive, out)
    table = archive.to_arrow()
    render.write(table, form, out)
    return int(table.num_rows)


def to_speedsnake(archive: Archive, out: Path) -> int:
    """location=/year=/month=/day=/speedtest_001.parquet below a folder that is empty or new."""
    if out.exists() and any(out.iterdir()):
        raise UsageError(f"{out} is not empty: name a new folder, or rows would be there twice")
    table = archive.query(SPEEDSNAKE)
    groups = pa.TableGroupBy(table, ["speedtest_address", "day"], use_threads=False).aggregate([([], "count_all")])
    first = 0
    for row in groups.to_pylist():
        day = row["day"]
        folder = out / f"location={row['speedtest_address']}/year={day:%Y}/month={day:%m}/day={day:%d}"
        folder.mkdir(parents=True, exist_ok=True)
        rows = table.slice(first, row["count_all"]).drop_columns(["day"])
        pq.write_table(rows, folder / "speedtest_001.parquet", compression="zstd")
        first += row["count_all"]
    return int(pc.count(table["timestamp"]).as_py())
