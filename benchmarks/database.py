"""The PostgreSQL sink against bare COPY of the same rows into the same table, and ingest with the server dead.

Usage: python benchmarks/database.py [NODES [DAYS]]   (default 20 nodes and 90 days: 518,400 records)

Each server that is here, by turns; with SPEEDTEST_POSTGRESQL_DIR=$(python -m lab.postgresql) Debian 13 is too.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from archive_ingest import deliver
from fleet_data import node_table

from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.write import ingest, store
from speedtest_logger.sinks import postgresql, rows, settings
from speedtest_logger.sinks.connection import connected
from tests.postgresql import Server, versions

TURNS = 5
TRYING = """
import sys, time
from pathlib import Path
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.errors import DeliveryError
from speedtest_logger.sinks import postgresql, settings
from speedtest_logger.sinks.connection import connected
while True:
    try:
        with connected(settings.Settings(sys.argv[1])) as session:
            postgresql.Sink(Layout(Path(sys.argv[2])), session).sync()
    except DeliveryError:
        print("it is dead", flush=True)
        time.sleep(1)
"""
FOREVER = 1 << 32
DAY_SLOTS = 288
NAMES = ", ".join(rows.NAMES)


def fill(layout: Layout, nodes: int, days: int) -> None:
    layout.prepare()
    with store.single_writer(layout, "the benchmark"):
        for number in range(nodes):
            store.commit(layout, "ingest", node_table(number, 0, days * DAY_SLOTS))


def bare(pieces: list[bytes], into: str) -> float:
    """Seconds of COPY alone: text that is ready, into tables that are, in one transaction a month as the sink does."""
    with psycopg.connect(into, autocommit=True) as connection:
        connection.execute("TRUNCATE speedtest.records")
        began = time.perf_counter()
        with connection.transaction():
            for piece in pieces:
                with connection.cursor().copy(f"COPY speedtest.records ({NAMES}) FROM STDIN (FORMAT csv)") as stream:
                    stream.write(piece)
        return time.perf_counter() - began


def sync(layout: Layout, conninfo: str, *, rebuild: bool = False, only_records: bool = False) -> float:
    """Seconds of a sync; `only_records` leaves the rollups out."""
    made = rows.rollups
    rows.rollups = (lambda _: {}) if only_records else made
    try:
        with connected(settings.Settings(conninfo)) as session:
            began = time.perf_counter()
            postgresql.Sink(layout, session).sync(rebuild=rebuild)
            return time.perf_counter() - began
    finally:
        rows.rollups = made


def main() -> None:
    nodes, days = (int(word) for word in [*sys.argv[1:3], *("20", "90")[len(sys.argv) - 1 :]])
    with tempfile.TemporaryDirectory() as place:
        layout = Layout(Path(place) / "archive")
        fill(layout, nodes, days)
        servers = {version: Server(programs) for version, programs in versions().items()}
        try:
            for server in servers.values():
                server.make()
            against_copy(layout, servers, nodes * days * DAY_SLOTS)
            with_the_server_dead(layout, next(iter(servers.values())), nodes, days)
        finally:
            for server in servers.values():
                server.remove()
        shutil.rmtree(layout.root)


def against_copy(layout: Layout, servers: dict[str, Server], count: int) -> None:
    for server in servers.values():
        sync(layout, server.database("sink"))
    files = layout.month_files()
    places = sorted({file.parts[-4].partition("=")[2] for file in files})
    tables = [postgresql.records_of(layout, place, 0, FOREVER) for place in places]
    pieces = rows.Copy.of(rows.of_records(tables)).pieces
    took: dict[str, dict[str, list[float]]] = {
        version: {"bare COPY": [], "records": [], "all": []} for version in servers
    }
    for _ in range(TURNS):
        for version, server in servers.items():
            took[version]["bare COPY"].append(bare(pieces, server.conninfo("sink")))
            took[version]["records"].append(sync(layout, server.database("filled"), only_records=True))
            took[version]["all"].append(sync(layout, server.database("filled")))
    for version, by_name in took.items():
        print(f"PostgreSQL {version}, {count:,} records of {len(files)} months, medians of {TURNS} turns")
        for name, of in by_name.items():
            seconds = statistics.median(of)
            pace = statistics.median(alone / its for alone, its in zip(by_name["bare COPY"], of, strict=True))
            print(f"  {name}: {seconds:.2f} s, {count / seconds:,.0f} records/s, {pace:.2f} x bare COPY of its turn")


def with_the_server_dead(layout: Layout, server: Server, nodes: int, days: int) -> None:
    """Ingest of a delivery of each node, by turns alone and beside a sink that tries to reach a server that is dead."""
    sync(layout, server.conninfo("sink"))
    server.stop()
    took: dict[str, list[float]] = {"alone": [], "beside a sink without a server": []}
    for turn in range(2 * TURNS):
        beside = turn % 2 == 1
        for number in range(nodes):
            deliver(layout, number, node_table(number, days * DAY_SLOTS + turn, 1))
        command = [sys.executable, "-c", TRYING, server.conninfo("sink"), str(layout.root)]
        trying = subprocess.Popen(command, stdout=subprocess.PIPE) if beside else None
        if trying and trying.stdout:
            trying.stdout.readline()  # it has started, which costs whatever it does then
        began = time.perf_counter()
        ingest.ingest(layout)
        took["beside a sink without a server" if beside else "alone"].append(time.perf_counter() - began)
        if trying:
            trying.kill()
            trying.wait()
    alone, beside_it = (statistics.median(of) for of in took.values())
    print(f"  ingest of {nodes} deliveries alone: {alone:.2f} s; with the server dead {beside_it / alone:.2f} x")


if __name__ == "__main__":
    main()
