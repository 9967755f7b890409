"""Five hundred browsers that look: what each message costs, how soon it is there, and what all of them weigh."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from dashboard_fleet import Fleet, Goals, Served
from fleet_data import SLOT_SECONDS, START, as_lines, node_table

SOCKETS, MESSAGES = 500, 20
CPU_LIMIT_US, RSS_LIMIT_MB, P99_LIMIT_S = 50, 150, 2


def deliver(shown: Fleet, number: int) -> str:
    """Put a record of a node into the inbox as receive does; returns its run."""
    slot = (int(time.time()) - START) // SLOT_SECONDS
    line = as_lines(node_table(number, slot, 1, location=number // 2))
    folder = shown.layout.inbox / f"node-{number:04d}"
    folder.mkdir(parents=True, exist_ok=True)
    waiting = folder / f".{time.time_ns()}"
    waiting.write_bytes(line)
    waiting.rename(folder / f"{time.time_ns():026d}.jsonl")
    return str(json.loads(line)["run_id"])


async def look(address: str, together: asyncio.Semaphore, heard: list[tuple[str, float]], ready: list[int]) -> None:
    """One browser, which notes when it hears of which run."""
    from websockets.asyncio.client import connect

    async with together:
        socket = await connect(f"{address.replace('http', 'ws')}/ws", compression=None, open_timeout=60)
    ready.append(1)
    async with socket:
        while True:
            text = str(await socket.recv())
            if '"record"' in text[:40]:
                heard.append((text, time.time()))


async def audience(address: str) -> None:
    """All browsers, in a process of their own: says when all are there, and in the end what they heard."""
    heard: list[tuple[str, float]] = []
    ready: list[int] = []
    together = asyncio.Semaphore(50)
    tasks = [asyncio.create_task(look(address, together, heard, ready)) for _ in range(SOCKETS)]
    while len(ready) < SOCKETS:
        await asyncio.sleep(0.1)
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    runs = {}
    for text, at in heard:
        if text not in runs:
            runs[text] = [record["run_id"] for record in json.loads(text)["records"]]
        for run in runs[text]:
            print(run, at)
    print("over", flush=True)
    for task in tasks:
        task.cancel()


def measure(shown: Fleet, server: Served, goals: Goals) -> None:
    """Deliver once a second and a half while all look."""
    import subprocess

    argv = [sys.executable, str(Path(__file__)), server.address]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as browsers:
        assert browsers.stdin
        assert browsers.stdout
        assert browsers.stdout.readline() == "ready\n"
        time.sleep(3)
        idle = _cpu_in(server, MESSAGES * 1.5)
        began, sent = server.cpu(), {}
        for number in range(MESSAGES):
            at = time.time()
            sent[deliver(shown, number)] = at
            time.sleep(max(0.0, 1.5 - (time.time() - at)))
        used, rss, shared = server.cpu() - began - idle, server.rss(), server.rss("RssFile")
        browsers.stdin.write("\n")
        browsers.stdin.flush()
        waits = []
        for line in iter(browsers.stdout.readline, "over\n"):
            run, at = line.split()
            if run in sent:
                waits.append(float(at) - sent[run])
    for file in shown.layout.inbox.glob("*/*.jsonl"):
        file.unlink()
    waits.sort()
    print(
        f"\n{SOCKETS} sockets: {len(waits)} of {SOCKETS * MESSAGES} messages came, "
        f"p50 {waits[len(waits) // 2]:.2f} s after their delivery"
    )
    assert len(waits) == SOCKETS * MESSAGES
    goals.say("CPU per client and message", 1e6 * used / len(waits), CPU_LIMIT_US, "µs")
    goals.say("receipt to browser, p99", waits[int(len(waits) * 0.99)], P99_LIMIT_S, "s")
    print(f"memory: {shared:.0f} of {rss:.0f} MB are pages of programs and libraries")
    goals.say(f"memory with {SOCKETS} sockets", rss, RSS_LIMIT_MB, "MB")


def _cpu_in(server: Served, seconds: float) -> float:
    """CPU that goes on without any news."""
    began = server.cpu()
    time.sleep(seconds)
    return server.cpu() - began


if __name__ == "__main__":
    asyncio.run(audience(sys.argv[1]))
