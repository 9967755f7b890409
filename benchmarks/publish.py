"""What publishing costs beside a bare PUT of the same objects: python benchmarks/publish.py.

An hour of 50 nodes at five minutes, and of one, hour after hour until now, into a table that holds the month before, on
a real SeaweedFS on loopback. The limit for a commit, which reads the day's files, writes them with what came and puts
the log's entry, is three times what putting its objects alone takes, one after the other. What reading the archive
takes is told beside it.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import obstore
from archive_ingest import deliver
from fleet_data import SLOT_SECONDS, START, node_table
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


class Timed(Publisher):
    """A publisher that tells how long its commits took, less the archive's part: reading the rows and their digests."""

    committing = 0.0
    reading = 0.0

    def _changed(self, *args: Any) -> Any:
        began = time.perf_counter()
        try:
            return super()._changed(*args)
        finally:
            self.reading += time.perf_counter() - began

    def _commit(self, *args: Any, **how: Any) -> Any:
        began = time.perf_counter()
        try:
            return super()._commit(*args, **how)
        finally:
            self.committing += time.perf_counter() - began


def measured(layout: Layout, place: Place, nodes: range, first: int) -> float:
    """Hours of some nodes, published one after the other: prints what it took; the ratio of commits to bare PUTs."""
    whole, commits, alone = [], [], []
    for turn in range(TURNS):
        for number in nodes:
            deliver(layout, number, node_table(number, first + turn * HOUR, HOUR))
        ingest.ingest(layout)
        before = objects_of(place)
        publisher = Timed(layout, place)
        assert publisher.objects  # making a client takes as long as some requests; what puts alone has its own, too
        began = time.perf_counter()
        publisher.publish()
        whole.append(time.perf_counter() - began)
        commits.append(publisher.committing - publisher.reading)
        new = [size for path, size in objects_of(place).items() if path not in before]
        alone.append(put_alone(place, new))
    publish, commit, put = (statistics.median(each) * 1000 for each in (whole, commits, alone))
    print(
        f"an hour of {len(nodes)} nodes, {len(nodes) * HOUR} records, {len(new)} objects: published in {publish:.0f} ms"
    )
    print(f"  of which the commit, with its files: {commit:.0f} ms; the same objects put alone: {put:.0f} ms")
    print(f"  {commit / put:.2f} x (limit {LIMIT:g}); the whole publish {publish / put:.2f} x")
    return commit / put


def main() -> int:
    """Print the ratios; 1 where one is above the limit."""
    with tempfile.TemporaryDirectory() as folder, store(Path(folder)) as endpoint:
        layout = Layout(Path(folder) / "archive")
        layout.prepare()
        place = Place.of(f"s3://{BUCKET}/records", {**KEYS, "AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true"})
        now = (int(time.time()) - START) // SLOT_SECONDS
        of_all, of_one = now - 2 * TURNS * HOUR, now - TURNS * HOUR
        for number in range(NODES):
            deliver(layout, number, node_table(number, of_all - MONTH, MONTH))
        ingest.ingest(layout)
        Publisher(layout, place).publish()
        ratios = [measured(layout, place, range(NODES), of_all), measured(layout, place, range(1), of_one)]
        return int(max(ratios) > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
