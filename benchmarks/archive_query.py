"""Queries against one perfectly sorted file, against SpeedSnake's layout and against PostgreSQL, all in one run.

usage: python benchmarks/archive_query.py [NODES] [DAYS]   (default 200 nodes, 365 days: 21 million rows; 1000 365 is
the full fleet: 105 million rows, about 15 GB of disk and half an hour)

Nodes measure every five minutes, two of them in each location. The archive is asked as ingest leaves it, a file per
location and month, and again as the nightly upkeep leaves it, with the fleet's months gathered. SpeedSnake's layout (a
file per location and day) and PostgreSQL (Debian's package, a server of its own that this starts and removes) hold a
tenth of the nodes, and so does the archive that they are compared with. Times are the best of three; the page cache is
warm for everybody.
"""

from __future__ import annotations

import csv
import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fleet_data import START, node_table

from speedtest_logger.archive import open_archive
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.read import gathered
from speedtest_logger.archive.write import store

DAY = 86_400
RUNS = 3
HIVE = "hive_partitioning = true, hive_types = {'location': VARCHAR, 'year': INTEGER, 'month': INTEGER}"
Queries = dict[str, Callable[[], object]]
MEDIANS = "SELECT location, {month} AS m, {median} FROM {rows} GROUP BY 1, 2"
AVAILABLE = "SELECT day, count(*) FILTER (WHERE status = 'ok') * 100.0 / count(*) AS pct FROM {rows} GROUP BY 1"
LAST = "SELECT started_at, download_bps, upload_bps FROM {rows} WHERE node = '{node}' AND started_at >= '{since}'"


def best(*works: Callable[[], object]) -> list[float]:
    """Seconds of each, the best of some runs, taken in turns: what else the machine does meets all alike."""
    times: list[list[float]] = [[] for _ in works]
    for _ in range(RUNS):
        for work, taken in zip(works, times, strict=True):
            began = time.perf_counter()
            work()
            taken.append(time.perf_counter() - began)
    return [min(taken) for taken in times]


def generate(layout: Layout, nodes: int, days: int) -> None:
    """The fleet's archive, months as deliveries leave them: what each node measured last came in last."""
    layout.prepare()
    with store.single_writer(layout, "the benchmark"):
        for place in range(0, nodes, 2):
            pair = [node_table(number, 0, days * 288, location=place // 2) for number in (place, place + 1)]
            rows, last = pa.concat_tables(pair), np.concatenate([last_of_months(table) for table in pair])
            store.commit(layout, "ingest", rows.filter(pa.array(~last)))
            store.commit(layout, "ingest", rows.filter(pa.array(last)))
            if sys.stderr.isatty():
                print(f"\rgenerating: node {place + 2} of {nodes}", end="", file=sys.stderr)
    for file in layout.month_files():  # the months of a year are not all of this minute
        os.utime(file, (START, START))


def last_of_months(rows: pa.Table) -> np.ndarray:
    """Which of a node's rows are the last of their month."""
    months = rows["started_at"].to_numpy().astype("M8[M]")
    return np.append(months[1:] != months[:-1], True)


def one_sorted_file(layout: Layout, file: Path) -> None:
    """All rows in one file, sorted by location and start, written by DuckDB."""
    pattern = f"{layout.archive}/*/*/*/speedtest.parquet"
    with duckdb.connect() as connection:  # files are sorted inside, so their order is the order
        connection.execute("SET preserve_insertion_order = true")
        connection.execute(
            f"COPY (SELECT * FROM read_parquet('{pattern}', {HIVE})) TO '{file}' (COMPRESSION zstd)"  # noqa: S608  our own paths
        )


def ours(root: Path, node: str, since: str, since_unix: float) -> Queries:
    """The three questions to an archive, as its library is used."""
    archive = open_archive(root)
    medians = MEDIANS.format(month="month", median="median(download_bps), median(upload_bps)", rows="records")
    last = LAST.format(rows="records", node=node, since=since)
    return {
        "medians": lambda: archive.query(medians),
        "last 30 days": lambda: archive.only(node=node, start=since_unix).query(last),
        "availability": lambda: archive.query(AVAILABLE.format(rows="records")),
    }


def files(rows: str, node: str, since: str, month: str = "month") -> Queries:
    """The three questions to Parquet files."""

    def ask(sql: str) -> object:
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            return connection.sql(sql).to_arrow_table()

    medians = MEDIANS.format(month=month, median="median(download_bps), median(upload_bps)", rows=rows)
    return {
        "medians": lambda: ask(medians),
        "last 30 days": lambda: ask(LAST.format(rows=rows, node=node, since=since)),
        "availability": lambda: ask(AVAILABLE.format(rows=rows)),
    }


def speedsnake(layout: Layout, folder: Path) -> str:
    """The same rows a file per location and day; returns what DuckDB reads them by."""
    for file in layout.month_files():
        table = pq.ParquetFile(file).read()
        month = folder / layout.name(file.parent)
        for day in sorted(set(table["day"].to_pylist())):
            (month / f"day={day:%d}").mkdir(parents=True, exist_ok=True)
            rows = table.filter(pa.compute.equal(table["day"], pa.scalar(day)))
            pq.write_table(rows, month / f"day={day:%d}" / "speedtest_001.parquet", compression="zstd")
    rows = f"SELECT * FROM read_parquet('{folder}/**/*.parquet', {HIVE})"  # noqa: S608  our own paths
    return f"({rows.replace('*', '* REPLACE (CAST(started_at AS DATE) AS day)', 1)})"


@contextmanager
def postgresql(folder: Path) -> Iterator[Callable[[str], str]]:
    """A PostgreSQL server on a socket in a folder; gives what runs SQL there."""
    programs = next(Path("/usr/lib/postgresql").glob("*/bin"), None)
    if programs is None:
        raise FileNotFoundError
    folder.mkdir()
    shutil.chown(folder, "postgres")
    as_postgres = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"]
    environment = {**os.environ, "PGHOST": str(folder), "PGUSER": "postgres", "HOME": str(folder)}

    def run(*argv: str, stdin: bytes | None = None) -> str:
        done = subprocess.run([*as_postgres, *argv], check=True, capture_output=True, input=stdin, env=environment)
        return done.stdout.decode()

    run(str(programs / "initdb"), "-D", str(folder / "data"), "--no-sync")
    settings = (
        f"-k {folder} -c listen_addresses= -c shared_buffers=1GB -c work_mem=256MB -c max_parallel_workers_per_gather=2"
    )
    run(str(programs / "pg_ctl"), "-D", str(folder / "data"), "-o", settings, "-l", str(folder / "log"), "-w", "start")
    try:
        yield lambda sql, stdin=None: run("psql", "-X", "-q", "-At", "-c", sql, stdin=stdin)
    finally:
        run(str(programs / "pg_ctl"), "-D", str(folder / "data"), "-m", "immediate", "stop")


def fill_postgresql(run: Callable[..., str], layout: Layout) -> float:
    """Copy the rows in, with the index that a time series wants; returns bytes per row."""
    schema = pq.read_schema(layout.month_files()[0])
    kinds = {pa.int64(): "bigint", pa.float64(): "double precision", pa.date32(): "date", pa.string(): "text"}
    columns = ", ".join(f"{field.name} {kinds.get(field.type, 'timestamptz')}" for field in schema)
    run(f"CREATE TABLE records (location text, {columns})")
    count = 0
    for file in layout.month_files():
        table = pq.ParquetFile(file).read()
        location = layout.name(file).split("/")[0].partition("=")[2]
        text = io.StringIO()
        csv.writer(text).writerows(
            zip([location] * table.num_rows, *(c.to_pylist() for c in table.columns), strict=True)
        )
        run("COPY records FROM STDIN (FORMAT csv)", stdin=text.getvalue().encode())
        count += table.num_rows
    run("CREATE INDEX ON records (node, started_at)")
    run("VACUUM ANALYZE records")
    return int(run("SELECT pg_total_relation_size('records')")) / count


def compare(name: str, theirs: Queries, mine: Queries, bytes_per_row: tuple[float, float]) -> None:
    """A line per question."""
    print(f"\nagainst {name} ({bytes_per_row[1]:.0f} bytes/row, the archive {bytes_per_row[0]:.0f}):")
    for question, work in theirs.items():
        own, other = best(mine[question], work)
        print(
            f"  {question:<13} archive {own:8.3f} s   {name} {other:8.3f} s   ratio {own / other:6.2f}",
            flush=True,
        )


def size_of(folder: Path, rows: int) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*.parquet")) / rows


def main() -> None:
    nodes = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    days = int(sys.argv[2]) if len(sys.argv) > 2 else 365
    folder = Path(tempfile.mkdtemp(prefix="speedtest-benchmark-", dir=os.environ.get("BENCHMARK_DIR")))
    folder.chmod(0o755)
    since_unix = float(START + (days - 30) * DAY)
    since = time.strftime("%Y-%m-%d %H:%M:%S+00", time.gmtime(since_unix))
    try:
        layout = Layout(folder / "archive")
        generate(layout, nodes, days)
        rows = nodes * days * 288
        print(
            f"{nodes} nodes, {days} days, {rows:,} rows in {len(layout.month_files()):,} files, {os.cpu_count()} cores",
            flush=True,
        )
        one_sorted_file(layout, folder / "sorted.parquet")
        asked = ours(layout.root, "node-0007", since, since_unix)
        limit = files(f"'{folder}/sorted.parquet'", "node-0007", since)
        sizes = (size_of(layout.archive, rows), (folder / "sorted.parquet").stat().st_size / rows)
        compare("one sorted file", limit, asked, sizes)
        began = time.perf_counter()
        months = gathered.gather(layout, time.time())
        print(
            f"\n{len(months)} months gathered in {time.perf_counter() - began:.0f} s, "
            f"{size_of(layout.gathered, rows):.0f} bytes/row beside the archive's own",
            flush=True,
        )
        compare("one sorted file", limit, asked, sizes)
        (folder / "sorted.parquet").unlink()
        shutil.rmtree(layout.root)
        tenth = max(2, nodes // 20 * 2)
        rows = tenth * days * 288
        generate(layout, tenth, days)
        mine = ours(layout.root, "node-0001", since, since_unix)
        mine_size = size_of(layout.archive, rows)
        theirs = speedsnake(layout, folder / "snake")
        compare(
            "SpeedSnake's layout", files(theirs, "node-0001", since), mine, (mine_size, size_of(folder / "snake", rows))
        )
        try:
            with postgresql(folder / "postgresql") as run:
                size = fill_postgresql(run, layout)
                median = ", ".join(
                    f"percentile_cont(0.5) WITHIN GROUP (ORDER BY {d}_bps)" for d in ("download", "upload")
                )
                sqls = {
                    "medians": MEDIANS.format(month="date_trunc('month', started_at)", median=median, rows="records"),
                    "last 30 days": LAST.format(rows="records", node="node-0001", since=since),
                    "availability": AVAILABLE.format(rows="records"),
                }
                asked: Queries = {question: lambda sql=sql: run(sql) for question, sql in sqls.items()}
                compare("PostgreSQL", asked, mine, (mine_size, size))
        except FileNotFoundError:
            print("\nPostgreSQL is not installed: apt install postgresql")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
