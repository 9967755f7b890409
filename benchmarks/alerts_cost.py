"""What a minute's evaluation costs at 1,000 nodes, as the timer runs it: a process of its own, imports and all.

A month of a fleet that measures every five minutes, the day that is under way as ingest leaves it. Then minute by
minute: 200 nodes deliver a record each, ingest, and `speedtest-alerts run`, told that it is that minute. In the evening
most is read of a day; from one to half past one at night lines are kept as they stood at midnight.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
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
NIGHT, EVENING, AFTER_MIDNIGHT = (TODAY + hour * 12 for hour in (5, 22, 25))
MINUTES, MANY_MINUTES = 6, 20
LIMIT, FIRST_LIMIT = 1.0, 15.0  # s of CPU
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
    (progress.Progress, "_load", "state"), (progress.Progress, "save", "state"), (watch, "evaluate", "rest"),
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
    words = [sys.executable, "-c", EVALUATED, str(now), layout.root, settings]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(layout.root.parent / "compiled")  # as it is where a role installed it
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
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


def minute(layout: Layout, slot: int, number: int) -> dict:
    """One of the minutes from a slot on, in which a fifth of the nodes delivers: what its evaluation took."""
    now = START + slot * SLOT_SECONDS + 60 * (number + 1) + 30
    at = slot + number // 5
    for node in range(NODES):
        if (START + at * SLOT_SECONDS + node % SLOT_SECONDS + 30) // 60 == int(now - 30) // 60 - 1:
            deliver(layout, node, node_table(node, at, 1, location(node)))
            hello(layout, node, now - 30)
    ingested(layout, now)
    return evaluation(layout, now)


def minutes(layout: Layout, slot: int, numbers: range, name: str, goals: Goals) -> None:
    """Some minutes from a slot on: what an evaluation takes, as a rule and at worst."""
    found = [minute(layout, slot, number) for number in numbers]
    of_minutes = [each["took"] for each in found]
    median = {part: statistics.median(took.get(part, 0.0) for took in of_minutes) for part in of_minutes[0]}
    lines = statistics.median(each["told"]["lines"] for each in found)
    print(f"{name}: {lines:.0f} lines a minute, {found[-1]['told']['lasting']} findings last; {divided(median)}")
    goals.say(f"CPU of an evaluation, {name}", median["all"], LIMIT, "s")
    goals.say(f"the worst one of {len(found)}", max(took["all"] for took in of_minutes), LIMIT, "s")


def first_ones(layout: Layout, slot: int, goals: Goals) -> int:
    """The first evaluations of all, until each line is judged; how many there are."""
    found: list[dict] = []
    while not found or found[-1]["told"]["postponed"]:
        found.append(minute(layout, slot, len(found)))
    spent = [each["took"]["all"] for each in found]
    print(
        f"each line is judged from 35 days ago on within {len(found)} minutes and {sum(spent):.0f} s of CPU, "
        f"peak {max(each['peak_mb'] for each in found):.0f} MB; the first of them: {divided(found[0]['took'])}"
    )
    goals.say("CPU of the worst of these", max(spent), FIRST_LIMIT, "s")
    return len(found)


def until(layout: Layout, first: int, slot: int) -> None:
    """What was measured between two slots arrives."""
    for number in range(NODES):
        deliver(layout, number, node_table(number, first, slot - first, location(number)))
        hello(layout, number, START + slot * SLOT_SECONDS - 320)
    ingested(layout, START + slot * SLOT_SECONDS)


def later(layout: Layout, first: int, slot: int) -> None:
    """What was measured between two slots arrives, it is listened for as long as a record may take, and all is judged.

    That is the first minute of the second slot.
    """
    until(layout, first, slot)
    for ago in (310, 20):
        ingested(layout, START + slot * SLOT_SECONDS - ago)
        evaluation(layout, START + slot * SLOT_SECONDS - ago)
    found = minute(layout, slot, 0)
    hours = (slot - first) * SLOT_SECONDS / 3600
    print(f"after {hours:.0f} hours without any: {found['took']['all']:.1f} s of CPU, {found['told']['lines']} lines")


def cost(goals: Goals) -> None:
    """Print what evaluations cost: the first ones ever, and one a minute by night, in the evening, after midnight."""
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
        slot = NIGHT + 1
        count = -(-first_ones(layout, slot, goals) // 5) * 5  # to the end of a slot
        minutes(layout, slot, range(count, count + MINUTES), "by night", goals)
        for then, many, name in (
            (EVENING, MINUTES, "in the evening"),
            (AFTER_MIDNIGHT, MANY_MINUTES, "after midnight, when days are closed"),
        ):
            later(layout, slot + -(-count // 5) + 2, then)
            minutes(layout, then, range(1, 1 + many), name, goals)
            slot, count = then, 1 + many
    finally:
        shutil.rmtree(folder)
