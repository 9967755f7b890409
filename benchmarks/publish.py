"""What publishing costs beside a bare PUT of the same objects: python benchmarks/publish.py.

A commit with an hour of 50 nodes at five minutes, into a table that holds a month, on a real SeaweedFS on loopback; the
limit is three times the time that putting its objects alone takes.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import obstore
from archive_ingest import deliver
from fleet_data import node_table
from stores import BUCKET, KEYS, store

from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.write import ingest
from speedtest_logger.sinks.delta import Publisher
from speedtest_logger.sinks.place import Place

TURNS = 9
LIMIT = 3.0
NODES, HOUR = 50, 12  # slots of an hour
MONTH = 28 * 24 * HOUR


def objects_of(place: Place) -> dict[str, int]:
    """Each object of a table with its size."""
    listed = obstore.list(place.store()).collect()
    return {each["path"]: each["size"] for each in listed}


def put_alone(place: Place, sizes: list[int]) -> float:
    """Seconds that putting so many bytes takes, object by object, the last one on a condition as a commit is."""
    beside = Place(f"{place.address}-alone", place.options).store()
    contents = [bytes(size) for size in sizes]
    began = time.perf_counter()
    for number, content in enumerate(contents):
        last = number == len(contents) - 1
        obstore.put(beside, f"{time.time_ns()}-{number}", content, mode="create" if last else "overwrite")
    return time.perf_counter() - began


def main() -> int:
    """Print the ratio; 1 where it is above the limit."""
    with tempfile.TemporaryDirectory() as folder, store(Path(folder)) as endpoint:
        layout = Layout(Path(folder) / "archive")
        layout.prepare()
        place = Place.of(f"s3://{BUCKET}/records", {**KEYS, "AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true"})
        for number in range(NODES):
            deliver(layout, number, node_table(number, 0, MONTH))
        ingest.ingest(layout)
        Publisher(layout, place).publish()
        ours, alone = [], []
        for turn in range(TURNS):
            for number in range(NODES):
                deliver(layout, number, node_table(number, MONTH + turn * HOUR, HOUR))
            ingest.ingest(layout)
            before = objects_of(place)
            began = time.perf_counter()
            Publisher(layout, place).publish()
            ours.append(time.perf_counter() - began)
            new = [size for path, size in objects_of(place).items() if path not in before]
            alone.append(put_alone(place, new))
        ratio = statistics.median(ours) / statistics.median(alone)
        print(f"publish of {NODES * HOUR} records: {statistics.median(ours) * 1000:.0f} ms, {len(new)} objects")
        print(
            f"  the same objects put alone: {statistics.median(alone) * 1000:.0f} ms: {ratio:.2f} x (limit {LIMIT:g})"
        )
        return int(ratio > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
