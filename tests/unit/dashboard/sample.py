"""Figures by hand, for tests of pages: a line of every state, a week long, with names and words that mean harm."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import datetime, timezone
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
from probing import result

from speedtest_logger.archive.format import json_lines
from speedtest_logger.archive.format.schema import LOG_SCHEMA, PROBE_SCHEMA
from speedtest_logger.archive.read import logs, probes
from speedtest_logger.archive.read.coverage import Cover
from speedtest_logger.archive.read.told import Destination, Told
from speedtest_logger.dashboard.figures import (
    Alerts,
    Cells,
    Line,
    Measured,
    Node,
    Now,
    Outage,
    Part,
    Plan,
    Series,
    Span,
    Week,
)
from speedtest_logger.dashboard.figures.probed import Failure, Probed
from speedtest_logger.dashboard.figures.source import Known
from speedtest_logger.record import Record, utc_text

AT = 1_795_824_000 + 7_260  # 2026-11-28 02:01 UTC
HOUR, DAY = 3_600, 86_400
HOSTILE = '"><img src=x onerror=alert(1)>'
SCRIPT = "<script>alert(1)</script>"
LONG = "a-location-whose-name-is-just-as-long-as-a-name-may-ever-be-x"
M = 1e6
SHAPES = {  # by location: state, sentence, plan, node names, what it measures of its plan
    "garage": ("down", "line down since 01:10 UTC: both nodes agree", (100, 40), ("bench", "door"), 0.9),
    "shed": ("silent", "nothing was heard of it for 2 h", (50, 10), ("shed-pi",), 0.95),
    "flat-3": ("slow", "41 % of the plan for 5 tests", (250, 40), ("flat-3",), 0.41),
    HOSTILE: ("failing", f"3 tests failed in a row: {SCRIPT}", (None, None), (SCRIPT,), 0.7),
    SCRIPT: ("new", "it was added just now", (None, None), (), None),
    "home": ("well", "", (250, 40), ("attic", "cellar"), 0.96),
    LONG: ("well", "", (1000, 500), (LONG[:59] + "-1",), 0.88),
}  # fmt: skip
NAMES = ("download", "upload", "latency", "download_latency", "upload_latency", "jitter", "loss")


def run_id(node: str, at: int) -> str:
    """A run's name, the same each time."""
    return f"{abs(sum(map(ord, node))) % 16**8:08x}-0000-5000-8000-{at % 16**12:012x}"


def speed(location: str, at: int, direction: int) -> float | None:
    """What a line delivered then (bit/s): less in the evening; nothing at times."""
    plan, share = SHAPES[location][2][direction] or 80, SHAPES[location][4]
    if share is None or (at // HOUR) % 41 == 7:
        return None
    evening = 0.22 * max(0.0, math.cos((at % DAY / HOUR - 20) / 12 * math.pi)) ** 4
    return plan * M * (share - evening + 0.03 * math.sin(at / 997))


def figures_of(location: str, at: int) -> dict[str, float | None]:
    """All that a test measures."""
    down = speed(location, at, 0)
    if down is None:
        return dict.fromkeys(NAMES)
    idle = 11 + 2 * math.sin(at / 1_700)
    values = (down, speed(location, at, 1), idle, idle + 34, idle + 61, idle / 9, 0.0)
    return dict(zip(NAMES, values, strict=True))


def found(rule: str, subject: str, sentence: str, start: int, **changes: Any) -> Told:
    """A finding that somebody was told of; without changes it lasts, and is a warning."""
    place = None if subject == "archive" else subject
    known = {"severity": "warning", "until": None, "told": True, "withdrawn": False, "follows": None, **changes}
    return Told(
        id=f"{rule}-1", rule=rule, title=rule.replace("_", " "), subject=subject, sentence=sentence, location=place,
        node=None, start=start, **known,
    )  # fmt: skip


class SampleFigures:
    """As `Figures`: the same questions, the same kinds of answers."""

    def __init__(self, at: int = AT) -> None:
        self.at = at
        self.source = SimpleNamespace(known=lambda: Known({}, {}, {}))

    def etag(self) -> str:
        return f"sample-{self.at // 60}"

    def is_current(self) -> bool:
        return False

    def version(self) -> object:
        return object()  # tests change the sample as they like: no answer is kept

    def alerts_version(self) -> None:
        return None

    def alerts(self) -> Alerts:
        down = "the line is down: no_route; 2 nodes agree"
        at = self.at
        lasting = [
            found("line_down", "garage", down, at - 3_060, severity="critical"),
            found("disk", "archive", "3.1 % of the archive's disk is free", at - 900, severity="critical"),
            found("below_plan", HOSTILE, f"54 % of the plan at worst in 9 tests: {SCRIPT}", at - DAY),
            found("clock", "garage", "its clock is off by 41 s", at - 2_000, told=False, follows="line_down-1"),
            found("budget", "flat-3", "91 % of the month's data budget is used", at - HOUR, severity="info"),
        ]
        before = (at - 2 * DAY, at - 3 * DAY)
        ended = [
            found("silent_node", "home", "nothing was heard for 9 slots", before[0], until=before[0] + 2_800),
            found("line_down", "home", down, before[1], until=before[1] + 600, severity="critical", withdrawn=True),
        ]
        destinations = [
            Destination("phone", 0, 41, 0, at - 3_000.0, None),
            Destination(SCRIPT, 3, 7, 12, at - 90_000.0, at - 3_000.0),
        ]
        return Alerts(at - 40, None, lasting, ended, destinations)

    def locations(self) -> list[str]:
        return sorted(SHAPES)

    def now(self) -> Now:
        lines = self.lines()
        ill = sum(line.is_ill for line in lines)
        problems = ["the backup is 3 d old"]
        last = max((line.last.at for line in lines if line.last), default=None)
        return Now(self.at, self.at, f"{ill} of {len(lines)} lines need you", lines, last, problems)

    def lines(self) -> list[Line]:
        return [self.line(location) for location in SHAPES]

    def nodes(self) -> list[Node]:
        return [node for line in self.lines() for node in line.nodes]

    def node(self, name: str) -> Node:
        return {node.name: node for node in self.nodes()}[name]

    def line(self, location: str) -> Line:
        state, sentence, plan, names, _ = SHAPES[location]
        nodes = [self._node(name, location) for name in names]
        hours = [(self.at // HOUR - 23 + n) * HOUR for n in range(24)]
        down = {"down": 1, "silent": 3}.get(state, 0)
        speeds = [speed(location, at, 0) for at in hours]
        ticks: list[str | None] = ["failed" if value is None else "ok" for value in speeds]
        ticks[3], ticks[9] = "partial", "skipped"
        if down:
            speeds[-down:], ticks[-down:] = [None] * down, ["failed" if state == "down" else "missed"] * down
        if not names:
            speeds, ticks = [None] * 24, [None] * 24
        five = self.at - 5 * HOUR
        measured = five if speed(location, five, 0) else five - HOUR  # of two hours one has a test
        middle = figures_of(location, measured) if names else dict.fromkeys(NAMES)
        cover = Cover("", location)
        if names:
            cover.expected = 288 * len(names)
            cover.outcomes.update(ok=276 * len(names), failed=8 * len(names), missed=2 * len(names), skipped=len(names))
            cover.outcomes["pending"] = cover.expected - sum(cover.outcomes.values())
        last = max((node.last for node in nodes if node.last), key=lambda each: each.at, default=None)
        since = None if state == "well" else self.at - {"down": 3_060, "silent": 7_300}.get(state, 1_500)
        plans = Plan(*(value * M if value else None for value in plan))
        return Line(
            location, state, since, sentence or "well", plans, nodes, last, middle, cover.to_row(), hours, speeds, ticks
        )  # fmt: skip

    def _node(self, name: str, location: str) -> Node:
        late = {"silent": 7_300, "down": 40}.get(SHAPES[location][0], 40)
        at = self.at - late
        last = self._measured(name, location, at)
        if SHAPES[location][0] in ("down", "failing"):
            last = replace(last, status="failed", reason="no_route", download=None, upload=None, latency=None,
                           download_latency=None, upload_latency=None, jitter=None, loss=None)  # fmt: skip
        following = (self.at // 300 + 1) * 300 + len(name) % 60
        return Node(name, location, "systemd", "1.2.0", 300, following, at, last, 0, 0.004, 2_000_000_000)

    def _measured(self, node: str, location: str, at: int) -> Measured:
        found = figures_of(location, at if speed(location, at, 0) else at - 3 * HOUR)
        return Measured(node, location, at, run_id(node, at), "ok", None, engine="librespeed-cli",
                        server=f"Frankfurt {SCRIPT}", **found)  # fmt: skip

    def _locations_of(self, location: str | None, node: str | None) -> tuple[str, list[str]]:
        for place, shape in SHAPES.items():
            if place == location or node in shape[3]:
                return place, [name for name in shape[3] if node in (None, name)]
        raise KeyError(location or node)

    def series(self, start, end, *, location=None, node=None, grain=None, values=NAMES) -> Series:
        place = self._locations_of(location, node)[0] if location or node else "home"
        length = end - start
        grain = grain or ("test" if length <= 2 * DAY else "hour" if length <= 80 * DAY else "day")
        step = {"test": 300, "hour": HOUR, "day": DAY}[grain]
        first = -(-int(start) // step) * step
        at = list(range(first, int(end), step))[:2_000]
        columns: dict[str, list[float | None]] = {}
        for name in values:
            middle = [figures_of(place, moment)[name] for moment in at]
            if grain != "test":
                columns[f"{name}_low"] = [None if value is None else value * 0.85 for value in middle]
                columns[f"{name}_high"] = [None if value is None else value * 1.06 for value in middle]
            columns[name] = middle
        failed = [int(speed(place, moment, 0) is None) for moment in at]
        status = ["failed" if each else "ok" for each in failed] if grain == "test" else []
        return Series(grain, at, columns, status, [step // 300] * len(at), failed)

    def cells(self, start, end, *, location=None, node=None) -> list[Cells]:
        place, names = self._locations_of(location, node)
        length = end - start
        grain = "test" if length <= 2 * DAY else "hour" if length <= 40 * DAY else "day"
        step = {"test": 300, "hour": HOUR, "day": DAY}[grain]
        found = []
        for name in names:
            at = list(range(-(-int(start) // step) * step, int(end) + (step if grain == "test" else 0), step))
            outcome = ["failed" if speed(place, moment, 0) is None else "ok" for moment in at]
            for where, other in ((5, "partial"), (20, "skipped"), (31, "missed"), (len(at) - 1, "pending")):
                if where < len(at):
                    outcome[where] = other
            reasons = {"failed": "no_route", "skipped": "quiet_hours", "partial": "incomplete"}
            runs = [
                run_id(name, moment) if grain == "test" and each not in ("missed", "pending") else None
                for moment, each in zip(at, outcome, strict=True)
            ]
            found.append(Cells(name, grain, at, outcome, [reasons.get(each) for each in outcome],
                               [step // 300] * len(at), runs))  # fmt: skip
        return found

    def week(self, *_, location=None, node=None, **__) -> Week:
        place, names = self._locations_of(location, node)
        values = [[speed(place, day * DAY + hour * HOUR, 0) for hour in range(24)] for day in range(7)]
        if not names:
            values = [[None] * 24 for _ in range(7)]
        return Week("UTC", values, [[12 if value else 0 for value in row] for row in values])

    def year(self, location: str, _: int) -> Series:
        return self.series(self.at - 300 * DAY, self.at, location=location, grain="day", values=("download",))

    def spans(self, *_, by="location", location=None) -> list[Span]:
        found = []
        for line in self.lines():
            if location not in (None, line.location):
                continue
            for name in [None] if by == "location" else [node.name for node in line.nodes]:
                node = line.nodes[0] if line.nodes else None
                found.append(Span(line.location, name, line.plan, 280 if node else 0, line.median["download"],
                                  line.median["upload"], line.median["latency"], line.share,
                                  line.coverage["availability_pct"], line.coverage["accounted_pct"], 2 if node else 0,
                                  61_400_000_000 if node else 0, node and node.version, node and node.last_seen,
                                  node and node.outbox))  # fmt: skip
        return found

    def coverage(self, *_, location=None, **__) -> list[dict]:
        return [line.coverage for line in self.lines() if location in (None, line.location)]

    def outages(self, start, end, *, location=None, node=None, shortest=1) -> list[Outage]:
        now = self.at
        found = [
            Outage("bench", "garage", now - 3_060, None, 10, "no_route", "line"),
            Outage("flat-3", "flat-3", now - 9 * HOUR, now - 8 * HOUR, 12, "server_unreachable", "unknown"),
            Outage("attic", "home", now - 20 * HOUR, now - 19 * HOUR - 1_200, 8, "no_route", "line"),
            Outage("cellar", "home", now - 11 * HOUR, now - 10.5 * HOUR, 6, "missed", "node"),
            Outage(SCRIPT, HOSTILE, now - 4 * HOUR, now - 3 * HOUR, 12, SCRIPT, "unknown"),
        ]
        found = [replace(each, start=int(each.start), until=each.until and int(each.until)) for each in found]
        return [
            each for each in found
            if location in (None, each.location) and node in (None, each.node) and each.slots >= shortest
            and each.start < end and (each.until or now) > start
        ]  # fmt: skip

    def probed(self, *_: float, location: str) -> Probed:
        rows = [
            result(self.at - HOUR + 300 * number, probe, target, node, location=location)
            for number in range(6)
            for probe, target, node in (("ping", "gateway", "attic"), ("dns", f"host-{SCRIPT}"[:200], "cellar"))
        ]
        rows += [result(self.at - 700, "ping", "1.1.1.1", "attic", failed=(self.at - 650, self.at - 500))]
        table = pa.Table.from_pylist(rows, PROBE_SCHEMA)
        failed = probes.spans(table)
        said = [Failure(span, "the gateway answered and the internet did not") for span in failed]
        return Probed(True, probes.summaries(table, failed), probes.curves(table, "result"), said, 3)

    def probe_results(self, *_: Any) -> probes.Found:
        rows = [result(self.at - 300 * number, "ping", HOSTILE, SCRIPT) for number in range(3)]
        return probes.Found(pa.Table.from_pylist(rows, PROBE_SCHEMA), ["2026-01-31"])

    def probes_heard(self) -> list[probes.Heard]:
        return [probes.Heard("dns", 2, self.at - 60, 1, 0), probes.Heard("ping", 1, self.at - 90, 0, 1)]

    def system(self) -> list[Part]:
        return [
            Part("ingest", True, "ran 40 s ago", self.at - 40, {"lag_seconds": 40}),
            Part("backup", False, "the last one is 3 d old", self.at - 3 * DAY, {"age_seconds": 3 * DAY}),
            Part("quarantine", False, f"1 delivery lies there: {SCRIPT}", self.at - HOUR, {"files": 1}),
        ]

    def troubles(self) -> list[Part]:
        return []

    def record(self, run: str, *_) -> dict | None:
        return next((row for row in self._rows() if row["run_id"] == run), None)

    def raw(self, _: dict) -> bytes | None:
        return f'{{"said": "{SCRIPT}"}}'.encode()

    def logs(self, wanted: logs.Wanted) -> logs.Found:
        said = (
            ("attic", "info", "record", {"status": "ok", "download_bps": 2.4e8}),
            ("cellar", "warning", "try_failed", {"engine": "ookla", "message": f"Timeout: {SCRIPT}"}),
            (SCRIPT, "error", HOSTILE, {HOSTILE: SCRIPT, "escape": "\x1b[2J\u202e", "long": "x" * 900}),
        )
        rows = [
            {"at": datetime.fromtimestamp(self.at - 60 * number, timezone.utc), "node": node, "level": level,
             "event": event, "fields": json.dumps(fields), "file": "a", "offset": number}
            for number, (node, level, event, fields) in enumerate(said)
            if wanted.nodes is None or node in wanted.nodes
        ]  # fmt: skip
        lines = pa.Table.from_pylist(rows[::-1], LOG_SCHEMA)
        return logs.Found(lines, None if wanted.before else '["older"]', ["2026-11-20"])

    def records(self, *_, location=None, node=None, status=None, limit=100, **__):
        rows = [
            row for row in self._rows()
            if location in (None, row["location"]) and node in (None, row["node"]) and status in (None, row["status"])
        ]  # fmt: skip
        return json_lines.to_table(rows[:limit]), None

    def _rows(self) -> list[dict]:
        rows = []
        for node in self.nodes():
            last = node.last
            assert last
            rows.append(Record(node=node.name, location=node.location, run_id=last.run_id).to_row() | {
                "started_at": utc_text(last.at), "finished_at": utc_text(last.at + 21), "status": last.status,
                "reason": last.reason, "message": f"the program said {SCRIPT}" if last.reason else None,
                "engine": last.engine, "server_name": last.server,
                "download_bps": last.download, "upload_bps": last.upload, "latency_ms": last.latency,
            })  # fmt: skip
        return rows
