"""Large questions over an object store, by one DuckDB, by the cluster and by others: python benchmarks/cluster.py.

A fleet's records lie in a Delta table on a real SeaweedFS on loopback; scheduler and workers are real processes that
speak TLS, each worker with one thread on a core of its own (DuckDB, and Arrow which reads for it, have a thread each:
left alone, a worker takes half of a second core). Ratios are of medians of rounds that take turns, so that load meets
all alike. PySpark is asked where an environment with it, and Java, are there: --spark FOLDER. It reads the table's
Parquet files from a folder, for its package knows no S3. The store works on the same cores as who asks it, so all is
asked of a folder too. Who asks S3 keeps the table's files, as a worker does that the role installs: the round that does
not count brings them; what a question costs that has to read the store is told beside it. And two processes that know
nothing of each other say how much two of the machine's cores do of this work (two that share a memory, or are two
threads of one, do less than twice).
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from subprocess import PIPE

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import pyarrow as pa
from clusters import Cluster
from deltalake import WriterProperties, write_deltalake
from fleet_data import node_table
from stores import BUCKET, KEYS, store

from speedtest_logger.archive.read.dataset import Scope
from speedtest_logger.distributed import scan
from speedtest_logger.distributed.cache import FOLDER_VARIABLE, MEGABYTES_VARIABLE
from speedtest_logger.distributed.dask import DaskEngine
from speedtest_logger.distributed.engine import Task
from speedtest_logger.distributed.published import Published
from speedtest_logger.distributed.store import Store
from speedtest_logger.sinks.data_files import ORDER
from speedtest_logger.sinks.delta import SCHEMA_OF_TABLE, Publisher
from speedtest_logger.sinks.place import Place
from speedtest_logger.sinks.table import bucket_of, head_of

ON_ONE_CORE = {"worker-1": ("taskset", "--cpu-list", "0"), "worker-2": ("taskset", "--cpu-list", "1")}
YEAR = 365 * 288
SECONDS = 420
SQL = (
    "SELECT location, median(download_bps) AS d, median(upload_bps) AS u FROM records GROUP BY location "
    "ORDER BY location"
)
HALF = """
import sys, time
from speedtest_logger.distributed import scan
from speedtest_logger.distributed.engine import Task
from speedtest_logger.distributed.published import Published
from speedtest_logger.sinks.place import Place
place = Place.of(sys.argv[1])
half = Published.of(place).files[int(sys.argv[2])::2]
for files in (half[:4], half):
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.perf_counter()
    scan.answer(Task(place.address, files, "true", sys.argv[3]), threads=1)
    print(time.perf_counter() - began, flush=True)
"""
LIMITS = {
    "2 workers against 1, on a folder": ("1 worker on a folder", "2 workers on a folder", 1.7, ">="),
    "2 workers against 1, on S3": ("1 worker on S3", "2 workers on S3", 1.7, ">="),
    "2 workers against one DuckDB, on a folder": ("2 workers on a folder", "one DuckDB on a folder", 1.2, "<="),
    "2 workers against one DuckDB, on S3": ("2 workers on S3", "one DuckDB on S3", 1.2, "<="),
    "one DuckDB on S3 against a folder": ("one DuckDB on S3", "one DuckDB on a folder", 1.5, "<="),
    "2 workers against dask.dataframe, on a folder": (
        "2 workers on a folder",
        "dask.dataframe on a folder",
        1 / 5,
        "<=",
    ),
    "2 workers against dask.dataframe, on S3": ("2 workers on S3", "dask.dataframe on S3", 1 / 5, "<="),
    "2 workers against PySpark, on a folder": ("2 workers on a folder", "PySpark", 1 / 5, "<="),
}
SPARK = """
import sys, time
from pyspark.sql import SparkSession
settings = {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false", "spark.driver.memory": "4g"}
spark = SparkSession.builder.master("local[2]").config(map=settings).getOrCreate()
spark.sparkContext.setLogLevel("ERROR")
spark.read.parquet(sys.argv[1]).createOrReplaceTempView("records")
for _ in range(3):
    began = time.perf_counter()
    spark.sql(sys.argv[2]).collect()
    print(time.perf_counter() - began, flush=True)
"""


def filled(place: Place, nodes: int, locations: int, buckets: int = 16) -> int:
    """A table as `publish` leaves it, a commit for each few locations; returns its rows."""
    made = Publisher(None, place, buckets)  # type: ignore[arg-type]
    table = made._create()
    rows = 0
    of_location: dict[int, list[int]] = {}
    for node in range(nodes):
        of_location.setdefault(node % locations, []).append(node)
    for number, (location, members) in enumerate(of_location.items(), 1):
        part = pa.concat_tables([node_table(node, 0, YEAR, location) for node in members])
        name = part["location"][0].as_py()
        part = part.append_column("bucket", pa.repeat(pa.scalar(bucket_of(name, buckets), pa.int32()), part.num_rows))
        part = part.append_column("month", pa.compute.strftime(part["started_at"], "%Y-%m"))
        part = (
            part.select(SCHEMA_OF_TABLE.names)
            .cast(SCHEMA_OF_TABLE)
            .replace_schema_metadata()
            .sort_by([("month", "ascending"), *ORDER])
        )
        write_deltalake(table, part, mode="append", writer_properties=WriterProperties(compression="ZSTD"))
        rows += part.num_rows
        print(f"\r{number} of {len(of_location)} locations, {rows:,} rows", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    table.optimize.compact(writer_properties=WriterProperties(compression="ZSTD", max_row_group_size=65_536))
    if head_of(place.existing()) is None:  # that a location lies in one bucket is what the archive's commits say
        _signed(place, buckets)
    return rows


def _signed(place: Place, buckets: int) -> None:
    from speedtest_logger.sinks.delta import _properties
    from speedtest_logger.sinks.table import Head

    empty = SCHEMA_OF_TABLE.empty_table()
    write_deltalake(place.existing(), empty, mode="append", commit_properties=_properties(Head(buckets=buckets), {}))


def one_duckdb(place: Place, cache: Path | None = None) -> pa.Table:
    """The whole question in one process with two threads, that keeps files in a folder where one is named."""
    os.environ[FOLDER_VARIABLE] = str(cache or "")
    published = Published.of(place)
    return scan.answer(Task(place.address, published.files, "true", SQL, published.size()), threads=2)


def by_dataframe(place: Place, cluster: Cluster) -> int:
    """The same by dask.dataframe on the same workers."""
    import dask.dataframe as dd

    filesystem, root = place.filesystem()
    with DaskEngine(cluster.address, cluster.keys).connected():
        frame = dd.read_parquet(
            [f"{root}/{file.path}" for file in Published.of(place).files],
            columns=["location", "download_bps", "upload_bps"],
            filesystem=filesystem,
        )
        grouped = frame.groupby("location").agg(
            {"download_bps": "median", "upload_bps": "median"}, shuffle_method="tasks"
        )
        return len(grouped.compute())


def spark_times(folder: str, venv: str | None) -> list[float] | str:
    """Seconds of three rounds of PySpark with two threads, or of those that it got to, or why there are none."""
    if not venv:
        return "not asked: --spark FOLDER names an environment with it"
    command = [f"{venv}/bin/python", "-c", SPARK, folder, SQL]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=SECONDS).stdout
    except subprocess.TimeoutExpired as error:
        said = (error.stdout or b"").decode()
        if not said:
            return f"no answer within {SECONDS} s"
    except (OSError, subprocess.SubprocessError) as error:
        return str(getattr(error, "stderr", "") or error)[-300:]
    return [float(line) for line in said.splitlines()]


def by_halves(place: Place, halves: tuple[int, ...]) -> float:
    """Seconds until processes of one thread, begun at the same time, have answered their halves of the question."""
    script = Path(place.address).with_name("half.py")  # of a program without a file DuckDB thinks that somebody types
    script.write_text(HALF)
    command = [sys.executable, str(script), place.address]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).resolve().parents[1] / "src")}
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen([*pinned, *command, *words], env=environment, text=True, stdin=PIPE, stdout=PIPE)
            )
            for pinned, words in ((("taskset", "--cpu-list", str(half)), (str(half), SQL)) for half in halves)
        ]
        for _ in ("a few files, so that all is loaded", "the half"):
            for process in processes:
                assert process.stdout
                assert process.stdout.readline() == "ready\n"
            for process in processes:
                assert process.stdin
                process.stdin.write("\n")
                process.stdin.flush()
            seconds = [float(process.stdout.readline()) for process in processes if process.stdout]
    return max(seconds)


def of_the_machine(place: Place, rounds: int) -> float:
    """How many times what one core does two do, of this very work."""
    alone = statistics.median(by_halves(place, (0,)) for _ in range(rounds))
    return 2 * alone / statistics.median(by_halves(place, (0, 1)) for _ in range(rounds))


def timed(ways: dict[str, Callable[[], object]], rounds: int, deadline: float) -> dict[str, float]:
    """The median of each way's seconds; each has been tried once before. What fails says why and is left out."""
    times: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        for name, way in list(ways.items()):
            if time.monotonic() > deadline:
                break
            began = time.perf_counter()
            try:
                way()
            except Exception as error:  # of whichever engine: the others are still compared
                print(f"{name}: {str(error)[:300]}")
                del ways[name]
                continue
            if number:
                times.setdefault(name, []).append(time.perf_counter() - began)
        print(f"round {number} of {rounds}", file=sys.stderr, flush=True)
    return {name: statistics.median(found) for name, found in times.items()}


def main() -> int:
    """Print seconds and ratios; 1 where one is out of its bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=200, help="each with a year at five minutes, default %(default)s")
    parser.add_argument("--locations", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--spark", metavar="FOLDER", help="a virtual environment with PySpark")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, store(Path(folder)) as endpoint:
        options = {**KEYS, "AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true"}
        os.environ.update(options)
        on_disk, on_s3 = Place.of(f"{folder}/table"), Place.of(f"s3://{BUCKET}/records")
        rows = filled(on_disk, args.nodes, args.locations)
        copied(on_disk, on_s3)
        print(f"{rows:,} rows, {len(Published.of(on_s3).files)} files; load {os.getloadavg()[0]:.1f}")
        deadline = time.monotonic() + SECONDS
        print(f"two cores do {of_the_machine(on_disk, args.rounds):.2f} times what one does of this work")
        found = asked(Path(folder), options, on_disk, on_s3, args.rounds, deadline)
        spark = spark_times(f"{folder}/table", args.spark)
        if isinstance(spark, str):
            print(f"PySpark: {spark}")
        else:
            found["PySpark"] = min(spark)
    return judged(found)


def copied(source: Place, target: Place) -> None:
    """The same table elsewhere: not a byte differs."""
    import obstore

    there = target.store()
    for file in sorted(Path(source.address).rglob("*")):
        if file.is_file():
            obstore.put(there, file.relative_to(source.address).as_posix(), file)


def asked(
    folder: Path, options: dict[str, str], on_disk: Place, on_s3: Place, rounds: int, deadline: float
) -> dict[str, float]:
    """Seconds of each way. One worker and two are two clusters, so that rounds can take turns."""
    caches = {name: folder / f"cache-{name}" for name in ("one", "two", "here")}
    for each in caches.values():
        each.mkdir(mode=0o700)
    room = {MEGABYTES_VARIABLE: "100000"}
    os.environ.update(room)
    kept_by = {name: {**options, **room, FOLDER_VARIABLE: str(each)} for name, each in caches.items()}
    with Cluster(folder / "one", kept_by["one"]) as one, Cluster(folder / "two", kept_by["two"]) as two:
        for cluster, names in ((one, ("worker-1",)), (two, ("worker-1", "worker-2"))):
            for name in ("scheduler", *names):
                cluster.start(name, *ON_ONE_CORE.get(name, ()))
            cluster.wait_for(len(names))

        def by(cluster: Cluster, place: Place) -> pa.Table:
            engine = DaskEngine(cluster.address, cluster.keys)
            return Store(place, engine, force=True, only_split=True).answer(SQL, Scope())

        assert by(two, on_s3).equals(one_duckdb(on_disk)), "answers differ"
        ways: dict[str, Callable[[], object]] = {
            "one DuckDB on a folder": lambda: one_duckdb(on_disk),
            "one DuckDB on S3": lambda: one_duckdb(on_s3, caches["here"]),
            "one DuckDB on S3 that keeps nothing": lambda: one_duckdb(on_s3),
            "1 worker on a folder": lambda: by(one, on_disk),
            "2 workers on a folder": lambda: by(two, on_disk),
            "1 worker on S3": lambda: by(one, on_s3),
            "2 workers on S3": lambda: by(two, on_s3),
            "dask.dataframe on a folder": lambda: by_dataframe(on_disk, two),
            "dask.dataframe on S3": lambda: by_dataframe(on_s3, two),
        }
        return timed(ways, rounds, deadline)


def judged(found: dict[str, float]) -> int:
    """Print seconds and ratios; 1 where one is out of its bound."""
    for name, seconds in found.items():
        print(f"{name}: {seconds:.2f} s")
    failed = 0
    for what, (left, right, limit, sign) in LIMITS.items():
        if left not in found or right not in found:
            print(f"{what}: not measured")
            continue
        ratio = found[left] / found[right]
        well = ratio >= limit if sign == ">=" else ratio <= limit
        failed |= not well
        print(f"{what}: {ratio:.2f} (wanted {sign} {limit:.2f}){'' if well else '  MISSED'}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
