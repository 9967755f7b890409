"""Import against its limit: pyarrow's own reading of the same CSV, in the same run.

Usage: python benchmarks/archive_import.py [ROWS]   (default 1,000,000)

The file is Speedtest Tracker's export since 1.6.2 (all columns of Ookla's JSON), a test every five minutes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path

HEADER = (
    "ID,Service,Status,Scheduled,Healthy,Created at,Updated at,Comments,Isp,Ping low,Ping high,Ping jitter,"
    "Ping latency,Type,Result id,Result url,Result persisted,Server id,Server ip,Server host,Server name,Server port,"
    "Server country,Server location,Upload bytes,Upload elapsed,Upload latency iqm,Upload latency low,"
    "Upload latency high,Upload latency jitter,Upload bandwidth,Download bytes,Download elapsed,Download latency iqm,"
    "Download latency low,Download latency high,Download latency jitter,Download bandwidth,Interface name,"
    "Interface isVpn,Interface macAddr,Interface externalIp,Interface internalIp,Timestamp,PacketLoss\n"
)
MEASURED = """
import json, resource, sys, time
from pathlib import Path
from speedtest_logger.archive.write.importing import run
from speedtest_logger.archive.format.layout import Layout
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
layout, file, told = Layout(Path(sys.argv[1])), Path(sys.argv[2]), []
began = time.perf_counter()
outcome, _ = run.run(layout, [file], run.Source("attic", "home"), dry_run=False, progress=told.append)
seconds = time.perf_counter() - began
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert sum(told) == file.stat().st_size and len(told) > 1
print(json.dumps({"added": outcome.added, "refused": outcome.refused, "seconds": seconds, "peak_mb": peak / 1024,
                  "base_mb": base / 1024, "steps": len(told)}))
"""
PLAIN = """
import json, sys, time
import pyarrow.csv
began = time.perf_counter()
rows = pyarrow.csv.read_csv(sys.argv[1]).num_rows
print(json.dumps({"rows": rows, "seconds": time.perf_counter() - began}))
"""


def write(file: Path, rows: int) -> None:
    """A tracker's export."""
    start = datetime(2017, 1, 1, 0, 0, 17, tzinfo=timezone.utc)
    with file.open("w") as stream:
        stream.write(HEADER)
        for number in range(rows):
            made = start + timedelta(minutes=5 * number)
            stamp, end = f"{made:%Y-%m-%d %H:%M:%S}", f"{made + timedelta(seconds=24):%Y-%m-%dT%H:%M:%SZ}"
            down, up = 11_000_000 + number * 7919 % 1_500_000, 5_000_000 + number * 104_729 % 400_000
            stream.write(
                f"{number},Ookla,Completed,Yes,Yes,{stamp},{stamp},,Example Net,9.{number % 899},24.077,1.878,"
                f"19.{number % 997},result,d6fe2fb3-{number:08d},https://www.example.org/result/c/{number:08d},1,4711,"
                "198.51.100.3,speed.example.org,Example,8080,Germany,Berlin,"
                f"{up * 10},9628,341.111,16.663,529.86,37.587,{up},{down * 10},10001,104.125,23.72,269.563,13.447,"
                f"{down},eth0,,00:00:5E:00:53:01,203.0.113.77,192.0.2.10,{end},0\n"
            )


def in_new_process(code: str, *arguments: Path) -> dict:
    """What code prints in a process of its own, so that its peak of memory is its own."""
    done = subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def main() -> None:
    rows = int(sys.argv[1].replace(",", "")) if len(sys.argv) > 1 else 1_000_000
    folder = Path(tempfile.mkdtemp(prefix="speedtest-benchmark-", dir=os.environ.get("BENCHMARK_DIR")))
    try:
        file = folder / "export.csv"
        write(file, rows)
        for name in ("inbox", "archive", "quarantine", "state"):
            (folder / "root" / name).mkdir(parents=True)
        plain = in_new_process(PLAIN, file)
        done = in_new_process(MEASURED, folder / "root", file)
        assert (done["added"], done["refused"], plain["rows"]) == (rows, 0, rows), done
        print(f"export: {rows:,} rows, {HEADER.count(',') + 1} columns, {file.stat().st_size / 1e6:.0f} MB")
        print(
            f"import:            {rows / done['seconds']:>9,.0f} rows/s on {os.cpu_count()} cores, durable and proven, "
            f"peak {done['peak_mb']:.0f} MB (of which {done['base_mb']:.0f} MB libraries), "
            f"progress in {done['steps']:,} steps"
        )
        print(f"pyarrow's reader:  {rows / plain['seconds']:>9,.0f} rows/s, in memory, nothing converted or stored")
        print(f"ratio:             {done['seconds'] / plain['seconds']:>9.1f} x the plain reader's time")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
