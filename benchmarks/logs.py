"""Searching the logs of a fleet, against grep over the same lines, and what they cost.

usage: python benchmarks/logs.py [NODES] [DAYS]   (default 50 nodes, 30 days)

Nodes measure every five minutes. What they log is what the program logs: a line for each record and one for each
delivery, two more where a try fails (one slot in fifty), and one a day for what was removed. Times are the best of
three in this process; the page cache is warm for everybody. grep reads the nodes' own files, uncompressed and side by
side, as someone would who had gathered them by hand.
"""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from speedtest_logger.archive.arrive import inbox
from speedtest_logger.archive.format.layout import Layout, ulid
from speedtest_logger.archive.read import logs
from speedtest_logger.archive.write import by_day
from speedtest_logger.archive.write import logs as write_logs
from speedtest_logger.record import utc_text

DAY, STEP, RUNS = 86_400, 300, 3
START = 1_790_000_000 // DAY * DAY
LIMIT_SECONDS = 1.0


def day_of(day: int, chance: random.Random) -> Iterator[str]:
    """What a node logs on a day."""
    for at in range(START + day * DAY + 17, START + (day + 1) * DAY, STEP):
        failed = chance.random() < 0.02
        if failed:
            for server in ("speed.example.org:5201", "https://speed.example.net/backend"):
                yield line(
                    at + 3,
                    "warning",
                    "try_failed",
                    engine="iperf3",
                    server=server,
                    reason="server_unreachable",
                    message="unable to connect to server: Connection timed out",
                )
        yield line(
            at + 25,
            "warning" if failed else "info",
            "record",
            run_id=str(uuid.UUID(int=chance.getrandbits(128))),
            scheduled_at=utc_text(at // STEP * STEP),
            status="failed" if failed else "ok",
            reason="server_unreachable" if failed else None,
            message="Connection timed out" if failed else None,
            engine=None if failed else "librespeed",
            download_bps=None if failed else chance.randrange(10**7, 10**9),
            upload_bps=None if failed else chance.randrange(10**6, 10**8),
            latency_ms=None if failed else round(chance.uniform(5, 40), 2),
        )
        yield line(at + 26, "info", "delivered", accepted=1, rejected=0, waiting=0)
    yield line(at + 27, "debug", "pruned", files=chance.randrange(5))


def line(at: float, level: str, event: str, **values: object) -> str:
    """A line as the logger writes it."""
    return json.dumps({"time": utc_text(at), "level": level, "event": event, **values})


def generate(layout: Layout, folder: Path, nodes: int, days: int) -> tuple[int, int, float]:
    """The archive, and the nodes' own files: how many lines and bytes, and the CPU time (s) of all ingests."""
    layout.prepare()
    count = size = 0
    spent = 0.0
    for day in range(days):
        for number in range(nodes):
            node = f"node-{number:03d}"
            lines = list(day_of(day, random.Random(day * 10_000 + number)))  # noqa: S311  # no secret
            text = "".join(f"{each}\n" for each in lines)
            with (folder / f"{node}.log").open("a") as stream:
                stream.write(text)
            count, size = count + len(lines), size + len(text)
            place = layout.log_inbox / node
            place.mkdir(exist_ok=True)
            rows = ({"file": "a-1", "offset": day * 10**7 + at * 1_000, "line": each} for at, each in enumerate(lines))
            (place / name_at(START + (day + 1) * DAY - 1)).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        taking, batch = write_logs.Taking(layout), by_day.Batch()
        began = time.process_time()
        for files in inbox.chunks(layout.log_inbox, by_day.CHUNK_BYTES):
            taking.read(files, batch)
        taking.write(batch)
        spent += time.process_time() - began
    return count, size, spent


def name_at(at: int) -> str:
    """The name of a delivery of a time."""
    now, time.time = time.time, lambda: float(at)
    try:
        return f"{ulid()}.jsonl"
    finally:
        time.time = now


def best(work: Callable[[], object]) -> float:
    """Seconds, the best of some runs."""
    taken = []
    for _ in range(RUNS):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return min(taken)


def grep(folder: Path, *patterns: str) -> Callable[[], object]:
    """The lines with all patterns, capitals or not, counted."""
    first, *others = (f"grep -hiF -- '{pattern}'" for pattern in patterns)
    command = " | ".join([f"{first} {folder}/*.log", *others, "wc -l"])
    return lambda: subprocess.run(["sh", "-c", command], check=True, capture_output=True)


def main() -> None:
    """Generate, ask, print."""
    nodes, days = (int(text) for text in (*sys.argv[1:], *("50", "30")[len(sys.argv) - 1 :]))
    with tempfile.TemporaryDirectory() as name:
        layout, folder = Layout(Path(name) / "archive"), Path(name) / "files"
        folder.mkdir()
        count, size, spent = generate(layout, folder, nodes, days)
        packed = sum(file.stat().st_size for file in layout.log_files())
        print(
            f"{nodes} nodes, {days} days: {count:,} lines, "
            f"{count / nodes / days:.0f} a node and day, {size / 1e6:.0f} MB"
        )
        print(
            f"at rest {packed / 1e6:.1f} MB in {len(layout.log_files())} files: {packed / count:.1f} bytes a line, "
            f"JSON lines {size / count:.0f}; ingest {spent / count * 1e6:.1f} us of CPU a line"
        )
        end = START + days * DAY + 1.0
        node = f"node-{nodes // 2:03d}"
        one = frozenset([node])
        nothing = "there is no such text"
        questions = {
            "the fleet's newest 1,000": (logs.Wanted(START, end), None),
            "a text of the fleet, found often": (logs.Wanted(START, end, text="timed out"), grep(folder, "timed out")),
            "a text of the fleet, found nowhere": (logs.Wanted(START, end, text=nothing), grep(folder, nothing)),
            "name=value, all that there are": (
                logs.Wanted(START, end, text="status=failed", limit=1_000_000), grep(folder, '"status": "failed"')),
            "warnings and above": (logs.Wanted(START, end, level="error"), grep(folder, '"level": "error"')),
            "a text of one node": (
                logs.Wanted(START, end, one, text="timed out", limit=1_000_000),
                lambda: subprocess.run(["grep", "-ciF", "timed out", f"{folder}/{node}.log"], check=True,
                                       capture_output=True)),
            "all lines of one node": (logs.Wanted(START, end, one, limit=1_000_000), None),
        }  # fmt: skip
        slowest = 0.0
        for what, (wanted, peer) in questions.items():
            found = logs.search(layout, wanted).lines.num_rows
            taken = best(lambda: logs.search(layout, wanted))  # noqa: B023  # called at once
            slowest = max(slowest, taken)
            against = f"; grep {best(peer) * 1000:6.0f} ms" if peer else ""
            print(f"{what:36} {taken * 1000:6.0f} ms, {found:,} lines{against}")
        verdict = "within" if slowest <= LIMIT_SECONDS else "BEYOND"
        print(f"the slowest took {slowest:.2f} s: {verdict} the limit of {LIMIT_SECONDS:.0f} s")
        print(f"memory peaked at {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000:.0f} MB")


if __name__ == "__main__":
    main()
