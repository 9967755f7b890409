"""Results of probes in the archive: what a line's page asks, how fast they come in, and what records wait for them.

usage: python benchmarks/probes_archive.py [NODES] [DAYS]   (default 50 nodes, 30 days, 5 targets: 2.2 million results)
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from speedtest_logger.archive.arrive import receive
from speedtest_logger.archive.format.layout import Layout, ulid
from speedtest_logger.archive.read import diagnosis, probes
from speedtest_logger.archive.read.local_time import Zone
from speedtest_logger.archive.write import by_day
from speedtest_logger.archive.write import ingest as of_records
from speedtest_logger.archive.write import probes as write_probes
from speedtest_logger.dashboard.figures.probed import Days, Probed, probed
from speedtest_logger.probe_result import ProbeResult
from speedtest_logger.record import Record, run_id_of_slot, utc_text

START = 1_790_000_000 // 86_400 * 86_400
DAY, STEP = 86_400, 300
TARGETS = (
    *(("dns", "example.org"), ("http", "https://www.example.org/")),
    *(("ping", "1.1.1.1"), ("ping", "9.9.9.9"), ("ping", "gateway")),
)
ZONE = Zone.named("Europe/Berlin")
RUNS = 5
MOST_MS = 50


def day_of(day: int, node: int) -> list[dict[str, object]]:
    """The results of a node and day."""
    chance = random.Random(day * 10_000 + node)  # noqa: S311  # no secret
    found = []
    for at in range(START + day * DAY + node, START + (day + 1) * DAY, STEP):
        for probe, target in TARGETS:
            failed = target != "gateway" and chance.random() < 0.002
            low = chance.uniform(5, 9)
            row = ProbeResult(
                started_at=utc_text(at), finished_at=utc_text(at + 241), location=f"home-{node:03d}", probe=probe,
                target=target, ip_family=4, runs=5, sent=15, lost=15 if failed else int(chance.random() < 0.01),
            )  # fmt: skip
            if failed:
                row.failed_from, row.failed_until, row.reason = row.started_at, row.finished_at, "no_answer"
            else:
                row.min_ms, row.median_ms, row.p90_ms, row.max_ms = (round(low * by, 2) for by in (1, 1.2, 1.5, 3))
            found.append({name: value for name, value in row.to_row().items() if value is not None})
    return found


def generate(layout: Layout, nodes: int, days: int) -> tuple[int, float]:
    """The archive: how many results a day has, and the CPU time (s) of taking one in; the other days are like it."""
    layout.prepare()
    rows = [day_of(0, number) for number in range(nodes)]
    files = [put(layout, f"node-{number:03d}", each) for number, each in enumerate(rows)]
    taking, batch = write_probes.Taking(layout), by_day.Batch()
    began = time.process_time()
    taking.read(files, batch)
    taking.write(batch)
    spent = time.process_time() - began
    first = pq.read_table(layout.probe_file(utc_text(START)[:10]))
    for day in range(1, days):
        later = first
        for name in write_probes.TIMES:
            moved = pc.add(first[name], pa.scalar(day * DAY * 1_000, pa.duration("ms")))
            later = later.set_column(first.schema.get_field_index(name), first.schema.field(name), moved)
        taking.write_file(layout.probe_file(utc_text(START + day * DAY)[:10]), later)
    return sum(map(len, rows)), spent


def put(layout: Layout, node: str, rows: list[dict[str, object]]) -> Path:
    """A delivery's results in the inbox."""
    file = layout.probe_inbox / node / f"{ulid()}.jsonl"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"".join(map(receive.as_line, rows)))
    return file


def records(layout: Layout, nodes: int, hour: int) -> None:
    """A record of each node in the inbox, in twelve slots."""
    for number in range(nodes):
        node, folder = f"node-{number:03d}", layout.inbox / f"node-{number:03d}"
        folder.mkdir(exist_ok=True)
        lines = []
        for slot in range(12):
            at = START + hour * 3_600 + slot * STEP
            row = Record(
                run_id=run_id_of_slot(node, utc_text(at)), node=node, location=f"home-{number:03d}",
                scheduled_at=utc_text(at), started_at=utc_text(at), finished_at=utc_text(at + 25), status="ok",
                download_bps=1e8, upload_bps=1e7, latency_ms=9.0,
            )  # fmt: skip
            lines.append(json.dumps(row.to_row()))
        (folder / f"{ulid()}.jsonl").write_text("\n".join(lines) + "\n")


def ingest_of_records(nodes: int, *, beside: bool) -> float:
    """Seconds of CPU of an ingest of records, an hour of each node, until these are in; results may wait beside."""
    taken = []
    with tempfile.TemporaryDirectory() as name:
        layout = Layout(Path(name))
        layout.prepare()
        for hour in range(RUNS):
            records(layout, nodes, hour)
            if beside:
                for number in range(nodes):
                    put(layout, f"node-{number:03d}", day_of(hour, number)[:36])
            work = of_records.Work(layout, of_records.Limits(), of_records.Attempts(layout))
            began = time.process_time()
            of_records.newcomers(work)
            taken.append(time.process_time() - began)
            of_records.ingest(layout)
    return min(taken)


def best(work: Callable[[], object], runs: int = RUNS) -> float:
    """Milliseconds of CPU, the best of some runs."""
    taken = []
    for _ in range(runs):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return min(taken) * 1_000


def chart_sizes(found: Probed) -> str:
    """What a browser gets to draw of it."""
    points = max(len(curve.at) for curve in found.curves)
    return f"{len(found.curves)} charts of {points} points, {len(json.dumps(found.to_chart())) / 1e3:.0f} kB"


def main() -> None:
    """Generate, ask, print."""
    nodes, days = (int(text) for text in (*sys.argv[1:], *("50", "30")[len(sys.argv) - 1 :]))
    with tempfile.TemporaryDirectory() as name:
        layout = Layout(Path(name))
        count, spent = generate(layout, nodes, days)
        size = sum(file.stat().st_size for file in layout.probe_files())
        each = size / (count * days)
        print(f"{count * days:,} results, {each:.1f} bytes each; in at {count / spent:,.0f} a second of CPU")
        put(layout, "node-000", day_of(days, 0)[:9])
        taking = write_probes.Taking(layout)
        put(layout, "node-001", [{**row, "target": "late"} for row in day_of(days - 1, 1)[:9]])
        files = sorted(layout.probe_inbox.glob("*/*.jsonl"))
        began = time.process_time()
        taking.take(files)
        print(f"9 results more into a full day's file: {1_000 * (time.process_time() - began):.0f} ms of CPU")
        end, place = START + days * DAY, diagnosis.Place("home-017")
        for words, length in (("24 hours", DAY), ("7 days", 7 * DAY), ("30 days", 30 * DAY)):
            days, within = Days(), (end - length, end)
            first, again = (
                best(lambda: probed(layout, within, place.location, ZONE, days), runs)  # noqa: B023  # called at once
                for runs in (1, RUNS)
            )
            sizes = chart_sizes(probed(layout, within, place.location, ZONE, days))
            over = f"   more than {MOST_MS} ms" if again > MOST_MS else ""
            print(f"a line's page, {words:8}: {first:6.1f} ms of CPU at first, {again:5.1f} again; {sizes}{over}")
        print(f"diagnosis of an hour   : {best(lambda: diagnosis.diagnosis(layout, place, end - 7_200, end)):6.1f} ms")
        everything = probes.Wanted(START, end)
        print(f"the newest 500 results : {best(lambda: probes.page(layout, everything, 500)):6.1f} ms")
    alone, with_results = (ingest_of_records(nodes, beside=beside) for beside in (False, True))
    print(f"records of an hour are in after {1_000 * alone:.0f} ms of CPU, with results {1_000 * with_results:.0f} ms")


if __name__ == "__main__":
    main()
