"""The dashboard against the raw archive, one table in memory, Streamlit and ECharts, all in one run.

usage: python benchmarks/dashboard.py [PART ...]   (default all: rollups questions pages charts load sockets)

Two fleets that measure every five minutes: 50 nodes for a year (5.3 million records), and 1,000 nodes for 31 days (8.9
million; of a year they would be 105 million, and half an hour to make them), which is what a line's page of 30 days
needs. Both are kept in a temporary folder ($BENCHMARK_DIR) for some hours. Exits 1 where a goal is missed.
"""

from __future__ import annotations

import shutil
import sys
import time

import dashboard_load
import dashboard_pages
import dashboard_questions
import dashboard_sockets
import pyarrow.parquet as pq
from dashboard_fleet import Fleet, Goals, costs, fleet, served
from fleet_data import SLOT_SECONDS, START, node_table

from speedtest_logger.archive.write import store

SMALL, LARGE = (50, 365), (1000, 31)
PARTS = ("rollups", "questions", "pages", "charts", "load", "sockets")


def rollups(shown: Fleet) -> None:
    """The first build, and what one delivery and the end of a day take."""
    shutil.rmtree(shown.state, ignore_errors=True)
    shown.state.mkdir()
    figures = shown.figures()
    began, used = time.perf_counter(), time.process_time()
    figures.source.rollups.refresh()
    rolled, rolled_cpu = time.perf_counter() - began, time.process_time() - used
    figures.source.refresh()
    wall, cpu = time.perf_counter() - began, time.process_time() - used
    size = figures.source.rollups.file.stat().st_size / 1e6

    def read_all() -> None:
        for file in shown.layout.month_files():
            pq.ParquetFile(file).read(use_threads=False)

    ((_, reading),) = costs(read_all, runs=1)
    print(f"\nrollups of {shown.nodes} nodes, {shown.days} days, {shown.rows:,} records:")
    print(
        f"  first build {wall:.1f} s, {cpu:.1f} s CPU: {cpu / reading:.1f} x that of reading the files; {size:.0f} MB"
    )
    print(f"  of which counting days {wall - rolled:.1f} s, {cpu - rolled_cpu:.1f} s CPU", flush=True)
    slot = (int(time.time()) - START) // SLOT_SECONDS
    for name, at in (("a record of now", slot), ("one that comes 100 days late", slot - 100 * 288)):
        if at * SLOT_SECONDS + START < time.time() - shown.days * 86_400:
            continue
        with store.single_writer(shown.layout, "the benchmark"):
            store.commit(shown.layout, "ingest", node_table(3, at, 1, location=1))
        ((wall, cpu),) = costs(figures.source.refresh, runs=1)
        print(f"  {name}: {1000 * wall:.0f} ms, {1000 * cpu:.0f} ms CPU", flush=True)
    figures.source.rollups.close()


def main() -> int:
    """Print every part's figures, and which goals hold."""
    chosen = sys.argv[1:] or PARTS
    assert set(chosen) <= set(PARTS), f"parts are {', '.join(PARTS)}"
    goals, small = Goals(), fleet(*SMALL)
    print(f"{small.nodes} nodes, {small.days} days, {small.rows:,} records", flush=True)
    if "rollups" in chosen:
        rollups(small)
    if "questions" in chosen:
        dashboard_questions.compare(small, goals)
    if "charts" in chosen:
        dashboard_pages.drawn(goals)
    if "pages" in chosen:
        with dashboard_pages.streamlit(small) as theirs, served(small) as ours:
            dashboard_pages.pages(ours, theirs, goals)
    if "load" in chosen:
        large = fleet(*LARGE)
        with served(small) as few:
            dashboard_load.alone(few, small.nodes)
            dashboard_load.at_once(few, goals)
            with served(large) as many:
                dashboard_load.alone(many, large.nodes)
                dashboard_load.scrapes(many, large.nodes, goals)
                dashboard_load.lines(many, few, goals)
    if "sockets" in chosen:  # of a dashboard that has made all figures, which took the most memory
        shutil.rmtree(small.state)
        small.state.mkdir()
        with served(small) as server:
            dashboard_sockets.measure(small, server, goals)
    return 1 if goals.missed else 0


if __name__ == "__main__":
    sys.exit(main())
