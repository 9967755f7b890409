"""A fleet's deliveries over https: the real services on this machine, and nodes that are simulated.

usage: python benchmarks/fleet_simulator.py [NODES [MINUTES]]   (default 10000 15)

Every node measures each five minutes, at a moment of its own, and delivers its record at once over a new TLS
connection: to Caddy and the receiver, as the roles have them. Ingest runs every minute, the dashboard is asked for its
first page every ten seconds. Whoever is not answered tries again as a node does, three times. The nodes share this
machine's cores with the services: what is printed is an upper bound of times, and what each service took of the CPU.
"""

from __future__ import annotations

import asyncio
import gzip
import http.client
import json
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from archive_receive import cpu_of, memory_below
from front import NAME, Receiver, wait
from ports import free_port

from speedtest_logger.archive import open_archive
from speedtest_logger.record import Record, run_id_of_slot, utc_text

INTERVAL = 300  # seconds between a node's measurements
SECONDS = 10  # that one takes
TRIES, FIRST_WAIT = 3, 2
INGEST = (sys.executable, "-c", "from speedtest_logger.archive.cli import main; raise SystemExit(main())", "ingest")
PAGE_EVERY, INGEST_EVERY = 10, 60


@dataclass
class Seen:
    """What became of the deliveries, in seconds and counts."""

    receipts: list[float] = field(default_factory=list)
    tries: int = 0
    lost: int = 0
    pages: list[float] = field(default_factory=list)
    ingests: list[float] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    ingest_cpu: float = 0.0
    why: dict[str, int] = field(default_factory=dict)


def name_of(number: int) -> str:
    """A node, and its location."""
    return f"node-{number:06d}"


def offset_of(number: int) -> int:
    """When in the interval its slots are (s)."""
    return number * 7919 % INTERVAL


def registry(nodes: int, began: float) -> str:
    """What Ansible would have told the archive of them."""
    since = utc_text(began - 86_400)
    entry = {"valid_from": since, "valid_to": None, "interval_seconds": INTERVAL, "uplink": ""}
    names = {name_of(number): number for number in range(nodes)}
    return json.dumps(
        {
            "nodes": {n: [{**entry, "offset_seconds": offset_of(k), "location": n}] for n, k in names.items()},
            "inventory": {n: {"location": n, "archive_raw": False, "timezone": "UTC"} for n in names},
        }
    )


def slots_of(number: int, start: float, end: float) -> Iterator[float]:
    """A node's slots from a time to another (Unix time, s)."""
    first = start - (start - offset_of(number)) % INTERVAL
    slot = first if first >= start else first + INTERVAL
    while slot < end:
        yield slot
        slot += INTERVAL


def delivery(number: int, slot: float) -> bytes:
    """One record, packed."""
    node, scheduled = name_of(number), utc_text(slot)
    record = Record(
        run_id=run_id_of_slot(node, scheduled), node=node, location=node, scheduled_at=scheduled,
        started_at=scheduled, finished_at=utc_text(slot + SECONDS), status="ok", engine="librespeed",
        download_bps=9e7 + number, upload_bps=4e7, latency_ms=12.5,
    )  # fmt: skip
    return gzip.compress(json.dumps(record.to_row()).encode() + b"\n")


async def posted(host: Receiver, trusting: ssl.SSLContext, number: int, body: bytes) -> None:
    """Deliver once. Raises OSError, ValueError where there is no receipt."""
    reader, writer = await asyncio.open_connection("127.0.0.1", host.port, ssl=trusting, server_hostname=NAME)
    try:
        token = host.tokens[name_of(number)]
        head = (
            f"POST /deliver HTTP/1.1\r\nHost: {NAME}:{host.port}\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Encoding: gzip\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        writer.write(head.encode() + body)
        answer = await reader.read()
    finally:
        writer.close()
    receipt = json.loads(answer.partition(b"\r\n\r\n")[2])
    if len(receipt.get("accepted", ())) != 1:
        raise ValueError(str(receipt)[:100])


async def node(host: Receiver, trusting: ssl.SSLContext, number: int, period: tuple[float, float], seen: Seen) -> None:
    """A node's deliveries in a period."""
    for slot in slots_of(number, *period):
        await asyncio.sleep(max(0.0, slot + SECONDS - time.time()))
        body, began = delivery(number, slot), time.perf_counter()
        for attempt in range(1, TRIES + 1):
            seen.tries += 1
            try:
                await asyncio.wait_for(posted(host, trusting, number, body), 60)
            except (OSError, ValueError, asyncio.TimeoutError) as error:
                words = f"{type(error).__name__}: {error}"[:80]
                seen.why[words] = seen.why.get(words, 0) + 1
                if attempt == TRIES:
                    seen.lost += 1
                await asyncio.sleep(FIRST_WAIT**attempt)
            else:
                seen.receipts.append(time.perf_counter() - began)
                break


async def ingests(host: Receiver, environment: dict[str, str], seen: Seen) -> None:
    """Ingest as its timer has it, for ever."""
    while True:
        began = time.perf_counter()
        before = os.times()
        done = await asyncio.create_subprocess_exec(*INGEST, env=environment, stdout=asyncio.subprocess.DEVNULL)
        await done.wait()
        after = os.times()
        seen.ingest_cpu += after.children_user + after.children_system - before.children_user - before.children_system
        seen.ingests.append(time.perf_counter() - began)
        seen.waiting.append(await asyncio.to_thread(waiting, host))
        await asyncio.sleep(max(0.0, INGEST_EVERY - (time.perf_counter() - began)))


def waiting(host: Receiver) -> int:
    """Deliveries that nobody has taken in yet."""
    return sum(1 for _ in host.layout.inbox.glob("*/*.jsonl"))


async def pages(port: int, seen: Seen) -> None:
    """Ask the dashboard for its first page, for ever."""

    def ask() -> float:
        began = time.perf_counter()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as answer:
            answer.read()
        return time.perf_counter() - began

    while True:
        try:
            seen.pages.append(await asyncio.to_thread(ask))
        except (OSError, http.client.HTTPException) as error:
            words = f"the first page: {error}"[:80]
            seen.why[words] = seen.why.get(words, 0) + 1
        await asyncio.sleep(PAGE_EVERY)


async def drive(host: Receiver, nodes: int, seconds: float, port: int, environment: dict[str, str]) -> Seen:
    """All of it, for so long."""
    seen, trusting = Seen(), ssl.create_default_context(cafile=str(host.root))
    start = time.time() - SECONDS
    beside = [asyncio.create_task(ingests(host, environment, seen)), asyncio.create_task(pages(port, seen))]
    period = (start, start + seconds)
    await asyncio.gather(*(node(host, trusting, number, period, seen) for number in range(nodes)))
    for task in beside:
        task.cancel()
    await asyncio.gather(*beside, return_exceptions=True)
    return seen


def at(values: list[float], share: float) -> float:
    """A quantile."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else float("nan")


def told(seen: Seen, nodes: int, minutes: float, wall: float, cpu: dict[str, float]) -> str:
    """What was seen, in words."""
    taken, sent = len(seen.receipts), len(seen.receipts) + seen.lost
    lines = [
        f"{nodes:,} nodes at {INTERVAL} s for {minutes:g} min on {os.cpu_count()} cores, load {os.getloadavg()[0]:.0f}",
        f"receipted {taken:,} of {sent:,} ({100 * taken / max(1, sent):.2f} %) in {seen.tries:,} tries, "
        f"{taken / wall:.1f} a second; receipt after p50 {at(seen.receipts, 0.5):.3f} s, "
        f"p99 {at(seen.receipts, 0.99):.3f} s, longest {at(seen.receipts, 1):.3f} s",
        f"ingest: {len(seen.ingests)} runs, median {at(seen.ingests, 0.5):.1f} s, longest {at(seen.ingests, 1):.1f} s "
        f"of {INGEST_EVERY}; most left behind {max(seen.waiting, default=0):,} deliveries",
        f"dashboard: first page p50 {1000 * at(seen.pages, 0.5):.0f} ms, longest {1000 * at(seen.pages, 1):.0f} ms",
        "CPU, shares of a core: " + ", ".join(f"{name} {used / wall:.2f}" for name, used in cpu.items()),
        "CPU of a delivery: " + ", ".join(f"{name} {1000 * used / max(1, sent):.1f} ms" for name, used in cpu.items()),
    ]
    return "\n".join([*lines, *(f"failed {count} times: {words}" for words, count in seen.why.items())])


def main() -> None:
    nodes = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    minutes = float(sys.argv[2]) if len(sys.argv) > 2 else 15
    folder = Path(tempfile.mkdtemp(prefix="speedtest-benchmark-"))
    host, port = Receiver(folder), free_port()
    environment = {**host.environment, "SPEEDTEST_ARCHIVE_DIR": str(host.layout.root)}
    environment |= {"SPEEDTEST_DASHBOARD_DIR": str(folder / "dashboard"), "SPEEDTEST_DASHBOARD_PORT": str(port)}
    dashboard = None
    try:
        host.know(*map(name_of, range(nodes)))
        (host.layout.fleet / "schedule.json").write_text(registry(nodes, time.time()))
        host.start()
        host.start_front()
        subprocess.run(INGEST, env=environment, check=True)
        argv = [sys.executable, "-m", "speedtest_logger.dashboard", "serve"]
        with open(folder / "dashboard.log", "wb") as log:
            dashboard = subprocess.Popen(argv, env=environment, stdout=log, stderr=log)
        wait(lambda: b"started" in (folder / "dashboard.log").read_bytes())
        services = {"receiver": host.service, "front": host.front, "dashboard": dashboard}
        before = {name: cpu_of(process.pid) for name, process in services.items() if process}
        began = time.perf_counter()
        seen = asyncio.run(drive(host, nodes, 60 * minutes, port, environment))
        wall = time.perf_counter() - began
        cpu = {name: cpu_of(process.pid) - before[name] for name, process in services.items() if process}
        print(told(seen, nodes, minutes, wall, {**cpu, "ingest": seen.ingest_cpu}))
        print("memory: " + ", ".join(f"{n} {memory_below(p.pid):.0f} MB" for n, p in services.items() if p))
        subprocess.run(INGEST, env=environment, check=True)
        question = "SELECT count(*) AS n, count(DISTINCT run_id) AS runs FROM records"
        found = open_archive(host.layout.root).query(question).to_pylist()[0]
        assert found["n"] == found["runs"] == len(seen.receipts), (found, len(seen.receipts))
        print(f"archived {found['n']:,}: each receipted record, each once")
    finally:
        host.stop()
        if dashboard:
            dashboard.terminate()
            dashboard.wait(20)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
