"""A fleet whose last test is just over, its archive, and dashboards that show it: what dashboard.py runs on.

Archives are kept in a temporary folder, for six hours: a dashboard is about the last 24 h.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from fleet_data import SLOT_SECONDS, START, node_table

from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.read.local_time import Zone
from speedtest_logger.archive.read.rollup import Rollups
from speedtest_logger.archive.write import store
from speedtest_logger.dashboard.figures import Figures
from speedtest_logger.record import utc_text

DAY = 86_400
KEPT_SECONDS = 6 * 3600
ZONE = "Europe/Berlin"
PLACE = Path(os.environ.get("BENCHMARK_DIR", tempfile.gettempdir())) / "speedtest-benchmark-dashboard"
RUNS = 5


@dataclass(frozen=True)
class Fleet:
    """Nodes that measured every five minutes for some days, two in each location; `state` is a dashboard's own."""

    nodes: int
    days: int
    layout: Layout
    state: Path

    @property
    def rows(self) -> int:
        """How many records there are."""
        return self.nodes * self.days * DAY // SLOT_SECONDS

    def figures(self) -> Figures:
        """All questions of the dashboard, asked in this process."""
        zone = Zone.named(ZONE)
        return Figures(self.layout, Rollups(self.layout, self.state / "rollup.duckdb", zone), zone)


def fleet(nodes: int, days: int) -> Fleet:
    """The fleet, made where it is not there or too old; its rollups are made, which `first_build` times."""
    folder = PLACE / f"{nodes}x{days}"
    made = folder / "made"
    if not made.exists() or time.time() - made.stat().st_mtime > KEPT_SECONDS:
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "state").mkdir(parents=True)
        generate(Layout(folder / "archive"), nodes, days)
        made.touch()
    return Fleet(nodes, days, Layout(folder / "archive"), folder / "state")


def generate(layout: Layout, nodes: int, days: int) -> None:
    """The fleet's archive and registry."""
    layout.prepare()
    count = days * DAY // SLOT_SECONDS
    first = (int(time.time()) - START) // SLOT_SECONDS - count
    with store.single_writer(layout, "the benchmark"):
        for place in range(0, nodes, 2):
            pair = [node_table(number, first, count, location=place // 2) for number in (place, place + 1)]
            store.commit(layout, "ingest", pa.concat_tables(pair))
            if sys.stderr.isatty():
                print(f"\rgenerating: node {place + 2} of {nodes}", end="", file=sys.stderr)
    for file in layout.month_files():  # the months of a year are not all of this minute
        os.utime(file, (START, START))
    begin = utc_text(START + first * SLOT_SECONDS)
    schedules = {
        f"node-{number:04d}": [
            {
                "valid_from": begin,
                "valid_to": None,
                "interval_seconds": SLOT_SECONDS,
                "offset_seconds": number % SLOT_SECONDS,
                "location": f"loc-{number // 2:04d}",
                "plan_download_mbps": 100,
                "plan_upload_mbps": 40,
            }
        ]
        for number in range(nodes)
    }
    (layout.root / "fleet").mkdir(exist_ok=True)
    (layout.root / "fleet/schedule.json").write_text(json.dumps({"nodes": schedules}))


@dataclass(frozen=True)
class Served:
    """A dashboard that serves a fleet: where, and its process."""

    port: int
    pid: int

    @property
    def address(self) -> str:
        """What to type into a browser."""
        return f"http://127.0.0.1:{self.port}"

    def cpu(self) -> float:
        """CPU (user and system, s) that it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss(self, which: str = "VmRSS") -> float:
        """Memory (MB) that it holds; RssFile: of that, pages of programs and libraries, which others share."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition(f"{which}:")[2].split()[0]) / 1024


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@contextmanager
def running(argv: list[str], environment: dict[str, str], port: int, path: str) -> Iterator[Served]:
    """A server as a process of its own, from when on it answers until the block ends."""
    log = PLACE / "server.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(argv, env={**os.environ, **environment}, stdout=stream, stderr=stream)
        try:
            until = time.monotonic() + 120
            while time.monotonic() < until:
                assert process.poll() is None, log.read_text()[-2000:]
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60).read()
                    break
                except OSError:
                    time.sleep(0.1)
            yield Served(port, process.pid)
        finally:
            process.terminate()
            process.wait()


def without_pandas() -> Path:
    """A folder that hides pandas: a dashboard's environment has none, and pyarrow imports it wherever it finds it."""
    package = PLACE / "without" / "pandas"
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").write_text('raise ImportError("hidden, as in requirements/dashboard.txt")\n')
    return package.parent


@contextmanager
def served(shown: Fleet) -> Iterator[Served]:
    """The dashboard of a fleet, with all figures made."""
    port = free_port()
    environment = {
        "SPEEDTEST_ARCHIVE_DIR": str(shown.layout.root),
        "SPEEDTEST_DASHBOARD_DIR": str(shown.state),
        "SPEEDTEST_DASHBOARD_PORT": str(port),
        "SPEEDTEST_DASHBOARD_TIME_ZONE": ZONE,
        "LOG_LEVEL": "warning",
        "PYTHONPATH": os.pathsep.join([str(without_pandas()), os.environ.get("PYTHONPATH", "")]),
    }
    argv = [sys.executable, "-m", "speedtest_logger.dashboard", "serve"]
    with running(argv, environment, port, "/api/v1/coverage?range=30d&location=loc-0001") as found:
        yield found


def best(*works: Callable[[], object], runs: int = RUNS) -> list[float]:
    """Seconds of each, the best of some runs, taken in turns: what else the machine does meets all alike."""
    return [wall for wall, _ in costs(*works, runs=runs)]


def costs(*works: Callable[[], object], runs: int = RUNS) -> list[tuple[float, float]]:
    """The same, and the CPU (s) that this process's threads used: of that nothing else on the machine takes any."""
    found = [(float("inf"), float("inf"))] * len(works)
    for _ in range(runs):
        for place, work in enumerate(works):
            began, used = time.perf_counter(), time.process_time()
            work()
            taken = (time.perf_counter() - began, time.process_time() - used)
            found[place] = (min(found[place][0], taken[0]), min(found[place][1], taken[1]))
    return found


@dataclass
class Goals:
    """What was to be reached, and whether it was."""

    missed: int = 0

    def say(self, text: str, value: float, limit: float, unit: str = "x") -> None:
        """Print a goal's figure."""
        holds = value <= limit
        self.missed += not holds
        print(f"{'ok    ' if holds else 'MISSED'} {text}: {value:.3g} {unit} (limit {limit:g})", flush=True)
