"""Ingest against its limit: pyarrow's plain write of the same rows, in the same run.

Usage: python benchmarks/archive_ingest.py [RECORDS]   (default 2,000,000; 10,000,000 takes some minutes of generating)
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from fleet_data import as_lines, node_table

from speedtest_logger.archive.format.layout import Layout, sealed_name, ulid
from speedtest_logger.archive.format.schema import BATCH_SCHEMA
from speedtest_logger.archive.write import store

DELIVERY_ROWS = 10_000  # receive's limit
SMALL_MONTHS = (1, 10, 100)
LARGE_NODES = 100
TURNS = 9  # of each small ingest, every one in a new process; the median counts
MEASURED = """
import json, resource, sys, time
from pathlib import Path
from speedtest_logger import light
light.start()
from speedtest_logger.archive.write import ingest
from speedtest_logger.archive.format.layout import Layout
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
began = time.perf_counter()
outcome = ingest.ingest(Layout(Path(sys.argv[1])))
seconds = time.perf_counter() - began
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({**vars(outcome), "seconds": seconds, "peak_mb": used.ru_maxrss / 1024, "base_mb": base / 1024,
                  "cpu": used.ru_utime + used.ru_stime}))
"""


REWRITTEN = """
import json, sys, time
import pyarrow.parquet as pq
began = time.perf_counter()
table = pq.ParquetFile(sys.argv[1]).read()
pq.write_table(table, sys.argv[2], compression="zstd")
print(json.dumps({"seconds": time.perf_counter() - began}))
"""


def in_new_process(code: str, *arguments: Path) -> dict:
    """What code prints in a process of its own, so that its peak of memory and what it does first are its own."""
    done = subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def ingest(layout: Layout) -> dict:
    """Ingest what waits."""
    return in_new_process(MEASURED, layout.root)


def deliver(layout: Layout, number: int, rows: pa.Table) -> None:
    """Put rows where receive puts what a node delivers."""
    content = as_lines(rows)
    folder = layout.inbox / f"node-{number:04d}"
    folder.mkdir(exist_ok=True)
    (folder / sealed_name(ulid(), content)).write_bytes(content)


def fill(layout: Layout, records: int) -> int:
    """A backlog: nodes that each deliver what they measured since the start of the year."""
    nodes = max(1, records // 60_000)
    each = records // nodes
    for number in range(nodes):
        for first in range(0, each, DELIVERY_ROWS):
            deliver(layout, number, node_table(number, first, min(DELIVERY_ROWS, each - first)))
        if sys.stderr.isatty():
            print(f"\rgenerating: node {number + 1} of {nodes}", end="", file=sys.stderr)
    return nodes * each


def plain_write(records: int, folder: Path) -> tuple[float, float]:
    """Seconds and bytes per row that pyarrow needs to write the same rows that lie in memory, a file per node."""
    nodes = max(1, records // 60_000)
    seconds, size = 0.0, 0
    for number in range(nodes):
        table = node_table(number, 0, records // nodes)
        began = time.perf_counter()
        pq.write_table(table, folder / f"{number}.parquet", compression="zstd")
        seconds += time.perf_counter() - began
        size += (folder / f"{number}.parquet").stat().st_size
    return seconds, size / (nodes * (records // nodes))


def small(layout: Layout, months: int, turn: int) -> float:
    """Milliseconds per touched month when as many nodes deliver one record each; their months hold 8,640 rows."""
    for number in range(months):
        newest = 30 * 288 + len(SMALL_MONTHS) * turn + SMALL_MONTHS.index(months)
        deliver(layout, number, node_table(number, newest, 1))
    outcome = ingest(layout)
    assert outcome["months"] == outcome["added"] == months, outcome
    return 1000 * outcome["seconds"] / months


def small_batches(layout: Layout) -> None:
    """Print what one record each for some months costs, next to pyarrow reading and writing one of them."""
    layout.prepare()
    for number in range(max(SMALL_MONTHS)):
        deliver(layout, number, node_table(number, 0, 30 * 288))
    ingest(layout)
    rewrite, took = [], {}
    for turn in range(TURNS):  # in turns: the machine's pace changes
        there = layout.month_files()[0]
        rewrite.append(1000 * in_new_process(REWRITTEN, there, layout.root / "rewritten.parquet")["seconds"])
        for months in SMALL_MONTHS:
            took.setdefault(months, []).append(small(layout, months, turn))
    limit = statistics.median(rewrite)
    ends = f"({min(rewrite):.1f} to {max(rewrite):.1f})"
    print(f"pyarrow reads and writes one month of 8,640 rows: {limit:.1f} ms {ends}")
    for months, found in took.items():
        median = statistics.median(found)
        print(
            f"one record each for {months:>3} months of 8,640 rows: {median:6.1f} ms per month "
            f"({min(found):.1f} to {max(found):.1f}), {median / limit:.2f} x pyarrow's"
        )
    one, many = (statistics.median(took[months]) * months for months in SMALL_MONTHS[::2])
    each = (many - one) / (max(SMALL_MONTHS) - 1)
    print(f"which is {one - each:.1f} ms for a run and {each:.1f} ms for each month that it touches")


def large_month(layout: Layout) -> None:
    """Print what one record costs in the month of a location with many nodes."""
    layout.prepare()
    with store.single_writer(layout, "the benchmark"):
        tables = [node_table(number, 0, 30 * 288, location=0) for number in range(LARGE_NODES)]
        store.commit(layout, "ingest", pa.concat_tables(tables))
    took = []
    for turn in range(TURNS):
        deliver(layout, 0, node_table(0, 30 * 288 + turn, 1, location=0))
        outcome = ingest(layout)
        assert outcome["added"] == 1, outcome
        took.append(1000 * outcome["seconds"])
    first, later = took[0], statistics.median(took[1:])
    print(
        f"one record for a month of {30 * 288 * LARGE_NODES:,} rows, {LARGE_NODES} nodes in one location: "
        f"{first:.0f} ms for the first of a day, {later:.0f} ms for a later one"
    )


def main() -> None:
    records = int(sys.argv[1].replace(",", "")) if len(sys.argv) > 1 else 2_000_000
    folder = Path(tempfile.mkdtemp(prefix="speedtest-benchmark-", dir=os.environ.get("BENCHMARK_DIR")))
    try:
        layout = Layout(folder / "archive")
        layout.prepare()
        count = fill(layout, records)
        size = sum(file.stat().st_size for file in layout.inbox.glob("*/*.jsonl"))
        print(f"backlog: {count:,} records, {size / count:.0f} bytes each, {len(BATCH_SCHEMA)} columns")
        outcome = ingest(layout)
        assert outcome["added"] == count, outcome
        rate = count / outcome["seconds"]
        stored = sum(file.stat().st_size for file in layout.month_files()) / count
        (folder / "plain").mkdir()
        seconds, plain_size = plain_write(records, folder / "plain")
        print(
            f"ingest:            {rate:>9,.0f} records/s on {os.cpu_count()} cores, {outcome['cpu']:.1f} s of CPU, "
            f"peak {outcome['peak_mb']:.0f} MB (of which {outcome['base_mb']:.0f} MB libraries), {stored:.0f} bytes/row"
        )
        print(f"pyarrow's write:   {count / seconds:>9,.0f} records/s, {plain_size:.0f} bytes/row")
        print(f"ratio:             {outcome['seconds'] / seconds:>9.2f} x the plain write's time")
        shutil.rmtree(layout.root)
        small_batches(layout)
        large_month(Layout(folder / "large"))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
