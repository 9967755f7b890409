"""What a minute's evaluation costs at 1,000 nodes, as the timer runs it: a process of its own, imports and all.

A month of a fleet that measures every five minutes, the day that is under way as ingest leaves it. Then minute by
minute: 200 nodes deliver a record each, ingest, and `speedtest-alerts run`, told that it is that minute. At night most
lines are judged from the midnight before last on, in the evening from the last one on.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
from archive_ingest import deliver
from dashboard_fleet import Goals
from fleet_data import SLOT_SECONDS, START, node_table

from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.write import ingest, store
from speedtest_logger.record import utc_text

NODES, LOCATIONS = 1000, 700
DAY_SLOTS = 86_400 // SLOT_SECONDS
TODAY = 30 * DAY_SLOTS  # the day that is under way: the fleet has measured since 2025-01-01
NIGHT, EVENING = (TODAY + hour * 12 for hour in (5, 22))
MINUTES = 6
LIMIT = 1.0  # s of CPU
EVALUATED = """
import json, resource, sys, time
def spent():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
now, root, settings = float(sys.argv[1]), sys.argv[2], sys.argv[3]
time.time = lambda: now
from speedtest_logger import light
light.start()
from speedtest_logger import registry
from speedtest_logger.alerts import cli, post, progress, reading, state, watch
from speedtest_logger.archive.read import hellos
from speedtest_logger.log import Log
took, under_way, told = {"imports": spent()}, [], {}
def timed(place, name, what):
    def call(*args, **options):
        under_way.append(0.0)
        began = spent()
        try:
            return work(*args, **options)
        finally:
            all_of_it = spent() - began
            took[what] = took.get(what, 0.0) + all_of_it - under_way.pop()
            if under_way:
                under_way[-1] += all_of_it
    work = getattr(place, name)
    setattr(place, name, call)
for place, name, what in (
    (registry, "read", "registry"), (reading, "known_of", "registry"), (watch, "_fingerprint", "registry"),
    (watch, "_touched", "changes"), (reading, "rows", "reading"), (reading, "tests", "slots"),
    (progress.Progress, "judge", "judging"), (watch, "_judge_lines", "judging"), (watch, "_judge_clocks", "clocks"),
    (watch, "tell", "messages"), (post, "deliver", "messages"), (state, "load", "state"), (state, "save", "state"),
    (progress, "load", "state"), (progress, "save", "state"), (watch, "evaluate", "rest"),
):
    timed(place, name, what)
Log.event = lambda self, level, event, **said: told.update(said)
code = cli.main(["--root", root, "--settings", settings, "run"])
took["all"] = spent()
took["rest"] = took["all"] - sum(took.values()) + took["all"] + took.get("rest", 0)
print(json.dumps({"code": code, "took": took, "told": told,
                  "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""


def location(number: int) -> int:
    """The line of a node: seven lines for ten nodes."""
    return number * LOCATIONS // NODES


def rows(numbers: list[int], first: int, slots: int) -> pa.Table:
    return pa.concat_tables([node_table(number, first, slots, location(number)) for number in numbers])


def generate(layout: Layout) -> None:
    """The fleet's archive until a night, its registry, and what nodes said of their clocks."""
    layout.prepare()
    with store.single_writer(layout, "the benchmark"):
        for first, slots in ((0, TODAY), (TODAY, NIGHT - TODAY)):
            for place in range(LOCATIONS):
                there = [number for number in range(NODES) if location(number) == place]
                store.commit(layout, "ingest", rows(there, first, slots))
                if sys.stderr.isatty():
                    print(f"\rgenerating: line {place + 1} of {LOCATIONS}", end="", file=sys.stderr)
    schedules = {
        f"node-{number:04d}": [
            {
                "valid_from": utc_text(START),
                "valid_to": None,
                "interval_seconds": SLOT_SECONDS,
                "offset_seconds": number % SLOT_SECONDS,
                "location": f"loc-{location(number):04d}",
                "uplink": f"loc-{location(number):04d}",
                "plan_download_mbps": 100,
                "plan_upload_mbps": 40,
            }
        ]
        for number in range(NODES)
    }
    inventory = {
        name: {"location": history[0]["location"], "archive_raw": False, "timezone": "UTC", "data_budget_gb": 500}
        for name, history in schedules.items()
    }
    (layout.root / "fleet").mkdir(exist_ok=True)
    (layout.root / "fleet/schedule.json").write_text(json.dumps({"nodes": schedules, "inventory": inventory}))
    (layout.state / "nodes").mkdir(exist_ok=True)
    (layout.root / "alerts").mkdir(exist_ok=True)


def ingested(layout: Layout, now: float) -> None:
    """Ingest what waits, as if it were now."""
    ingest.ingest(layout)
    file = layout.state / "ingest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "at": utc_text(now)}))


def evaluation(layout: Layout, now: float) -> dict:
    """An evaluation's figures; it is told what time it is, and its destination is nobody's."""
    settings = layout.root / "alerts.json"
    destination = {"name": "nowhere", "url": "json://192.0.2.1", "rules": ["verify"], "digest": "never"}
    settings.write_text(json.dumps({"destinations": [destination]}))
    done = subprocess.run(
        [sys.executable, "-c", EVALUATED, str(now), layout.root, settings], capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stderr
    found = json.loads(done.stdout)
    assert found["code"] == 0, found
    assert found["told"]["waiting"] == 0, found
    return found


def divided(took: dict[str, float]) -> str:
    parts = sorted((part for part in took.items() if part[0] != "all"), key=lambda part: -part[1])
    return ", ".join(f"{name} {1000 * seconds:.0f} ms" for name, seconds in parts)


def hello(layout: Layout, number: int, at: float) -> None:
    """A node was in contact."""
    file = layout.state / f"nodes/node-{number:04d}.json"
    file.write_text(json.dumps({"last_seen": at, "clock_offset": 0.1, "version": "1.0.0", "runtime": "systemd"}))
    os.utime(file, (at, at))


def minutes(layout: Layout, slot: int, name: str, goals: Goals) -> None:
    """Some minutes from a slot on: each fifth of the nodes delivers within one of them."""
    found = []
    for minute in range(MINUTES):
        now = START + slot * SLOT_SECONDS + 60 * (minute + 1) + 30
        for number in range(NODES):
            at = slot + minute // 5
            if (START + at * SLOT_SECONDS + number % SLOT_SECONDS + 30) // 60 == int(now - 30) // 60 - 1:
                deliver(layout, number, node_table(number, at, 1, location(number)))
                hello(layout, number, now - 30)
        ingested(layout, now)
        found.append(evaluation(layout, now))
    of_minutes = [each["took"] for each in found[1:]]  # the first one comes after a break
    median = {part: statistics.median(took.get(part, 0.0) for took in of_minutes) for part in of_minutes[0]}
    lines = statistics.median(each["told"]["lines"] for each in found[1:])
    print(f"{name}: {lines:.0f} lines a minute, {found[-1]['told']['lasting']} findings last; {divided(median)}")
    goals.say(f"CPU of an evaluation, {name}", median["all"], LIMIT, "s")


def until(layout: Layout, first: int, slot: int) -> None:
    """What was measured between two slots arrives."""
    for number in range(NODES):
        deliver(layout, number, node_table(number, first, slot - first, location(number)))
        hello(layout, number, START + slot * SLOT_SECONDS - 320)
    ingested(layout, START + slot * SLOT_SECONDS)


def measured(work: Callable[[], dict], name: str) -> None:
    found = work()
    print(
        f"{name}: {found['took']['all']:.1f} s of CPU, {found['told']['lines']} lines, peak {found['peak_mb']:.0f} MB; "
        f"{divided(found['took'])}",
        flush=True,
    )


def cost(goals: Goals) -> None:
    """Print what evaluations cost: the first one ever, one a minute by night and in the evening."""
    folder = Path(tempfile.mkdtemp(prefix="speedtest-benchmark-", dir=os.environ.get("BENCHMARK_DIR")))
    try:
        layout = Layout(folder / "archive")
        generate(layout)
        now = START + NIGHT * SLOT_SECONDS
        print(f"\n{NODES:,} nodes on {LOCATIONS} lines, {NIGHT * NODES:,} records", flush=True)
        for turn in range(2):  # for the first minutes nobody knows yet what is missing
            ingested(layout, now + 10 + 290 * turn)
            evaluation(layout, now + 10 + 290 * turn)
        until(layout, NIGHT, NIGHT + 1)
        ingested(layout, now + 320)
        measured(lambda: evaluation(layout, now + 320), "the first evaluation, of 35 days")
        minutes(layout, NIGHT + 1, "by night", goals)
        until(layout, NIGHT + 3, EVENING)
        now = START + EVENING * SLOT_SECONDS
        for ago in (310, 20):  # as above
            ingested(layout, now - ago)
            evaluation(layout, now - ago)
        minutes(layout, EVENING, "in the evening", goals)
    finally:
        shutil.rmtree(folder)
