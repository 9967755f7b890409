"""What a report's page shows: its figures, charts and tables, ready to be written down."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from speedtest_logger import __version__
from speedtest_logger.archive.ledger import manifest
from speedtest_logger.archive.read import coverage, questions
from speedtest_logger.archive.read.coverage import Account, Cover
from speedtest_logger.archive.read.dataset import Archive
from speedtest_logger.archive.read.local_time import Grain, Zone, beginning, grain_of, parts
from speedtest_logger.archive.report import charts
from speedtest_logger.archive.report.charts import Frame
from speedtest_logger.text import printable

OUTAGES = 30  # that are listed: the longest; the verb `outages` has them all
SHORT_SECONDS, FEW_TESTS = 48 * 3600, 2_000  # up to both of them, each test is drawn
MOST_SOURCES = 4  # nodes or programs that get charts of their own
NAMED = 6  # nodes that are named above
STEPS = [60 * minutes for minutes in (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440)]  # of an axis of time (s)


@dataclass(frozen=True)
class Plan:
    """What the contract promises, Mbit/s; None where it is not known."""

    download: float | None
    upload: float | None

    def of(self, name: str) -> float | None:
        """Of a direction; None for anything else."""
        return {"download": self.download, "upload": self.upload}.get(name)


@dataclass(frozen=True)
class View:
    """What the page looks at: the period (Unix times, s), on which clocks, and where in it there are tests."""

    start: float
    end: float
    zone: Zone
    first: float
    last: float
    tests: int

    @property
    def each_test(self) -> bool:
        """Whether the tests are few enough to draw each of them."""
        return self.last - self.first <= SHORT_SECONDS and self.tests <= FEW_TESTS

    @property
    def grain(self) -> Grain:
        """The parts that the period is shown in."""
        return grain_of(self.last - self.first)

    def parts(self) -> list[datetime]:
        """All of them that have tests, and those between."""
        first, last = (self.zone.part(moment, self.grain) for moment in (self.first, self.last))
        return list(parts(first, last, self.grain))


def gather(archive: Archive, accounts: list[Account], view: View, plan: Plan) -> dict[str, Any]:
    """Everything that the page shows."""
    covers = coverage.covers_of(accounts)
    now = time.time()
    found = coverage.outages(accounts)
    who = questions.sources(archive)
    number_of_line, digest, _ = manifest.head(archive.layout)
    return {
        "location": archive.scope.location,
        "zone": view.zone.name,
        "start": view.zone.text(view.start),
        "end": view.zone.text(view.end),
        "made": view.zone.text(now),
        "version": __version__,
        "nodes": [account.node for account in accounts],
        "named": NAMED,
        "plan": plan,
        "speeds": [
            questions.speed(archive, "download", plan.download),
            questions.speed(archive, "upload", plan.upload),
        ],
        "delays": questions.delays(archive),
        "each_test": view.each_test,
        "grain": view.grain,
        "sources": who if len(who) > 1 else [],
        "groups": groups(archive, who, view, plan),
        "covers": [cover.to_row() for cover in covers],
        "coverage_chart": shares(accounts, view),
        "total": total(covers).to_row(),
        "outages": [told(outage, view, now) for outage in longest(found, min(view.end, now))],
        "outage_count": len(found),
        "methods": questions.methods(archive),
        "line": number_of_line,
        "digest": digest,
        "files": sources(archive),
    }


def longest(outages: list[coverage.Outage], now: float) -> list[coverage.Outage]:
    """The longest ones, in order of time."""
    kept = sorted(outages, key=lambda outage: outage.start - (outage.end or now))[:OUTAGES]
    return sorted(kept, key=lambda outage: (outage.start, outage.node))


def told(outage: coverage.Outage, view: View, now: float) -> dict[str, Any]:
    """An outage as a row, on the page's clocks."""
    until = None if outage.end is None else view.zone.text(outage.end)
    return {**outage.to_row(min(view.end, now)), "from": view.zone.text(outage.start), "until": until}


def total(covers: list[Cover]) -> Cover:
    """All nodes together."""
    both = Cover("all", "")
    for cover in covers:
        both.add(cover)
    return both


def groups(archive: Archive, who: list[questions.Source], view: View, plan: Plan) -> list[dict[str, Any]]:
    """The charts: of all tests together, or where nodes or programs differ, of each of them under its name."""
    if not questions.differ(who):
        return [{"name": None, "charts": draw(archive, view, plan)}]
    return [{"name": source.name, "charts": draw(source.of(archive), view, plan)} for source in who[:MOST_SOURCES]]


def draw(archive: Archive, view: View, plan: Plan) -> list[dict[str, Any]]:
    """The charts of an archive's tests: each of them, or by hour of the day beside by day."""
    usual = questions.usual(archive)
    shown = [name for name in ("download", "upload", "latency", "jitter") if usual[name] is not None]
    if view.each_test:
        return each_test(archive, view, [frame(name, "", plan, usual) for name in shown])
    hours, days = questions.by_hour(archive, view.zone), questions.by_part(archive, view.zone, view.grain)
    clock, all_parts = [f"{hour:02d}" for hour in range(24)], view.parts()
    day, whole = charts.Columns([f"{hour}:00" for hour in clock], clock), columns_of(all_parts, view.grain)
    made = []
    for name in [name for name in shown if name != "jitter"]:
        by_hour = [hours.get(hour, {}).get(name) for hour in range(24)]
        by_part = [days.get(part, {}).get(name) for part in all_parts]
        made.append(charts.of_bands(frame(name, " by hour of the day", plan, usual), by_hour, day))
        made.append(charts.of_bands(frame(name, f" by {view.grain}", plan, usual), by_part, whole))
    return made


def frame(name: str, by: str, plan: Plan, usual: dict[str, float | None]) -> Frame:
    """What stands around a chart of one of questions.VALUES."""
    title, unit, colour = {
        "download": ("Download", "Mbit/s", "down"),
        "upload": ("Upload", "Mbit/s", "up"),
        "latency": ("Idle latency", "ms", "delay"),
        "jitter": ("Jitter", "ms", "delay"),
    }[name]
    return Frame(f"{title}{by}", unit, colour, plan.of(name), usual[name])


def each_test(archive: Archive, view: View, frames: list[Frame]) -> list[dict[str, Any]]:
    """Charts of every single test, over the time that they took."""
    found = questions.tests(archive)
    length = max(view.last - view.first, 60.0)
    start = (view.first + view.last - length) / 2
    several = len({test["node"] for test in found}) > 1
    names = {"Download": "download", "Upload": "upload", "Idle latency": "latency", "Jitter": "jitter"}

    def dot(test: dict[str, Any], drawn: Frame) -> charts.Test:
        value, failed = test[names[drawn.title]], test["status"] == "failed" and drawn.unit == "Mbit/s"
        missing = f"failed ({test['reason']})" if failed else "not measured"
        words = missing if value is None else charts.number(value)
        text = f"{view.zone.text(test['at'])[11:]} {words}" + (f" ({test['node']})" if several else "")
        return charts.Test((test["at"] - start) / length, value, failed, printable(text))

    labels = times(view.zone, start, length)
    return [charts.of_tests(drawn, [dot(test, drawn) for test in found], labels) for drawn in frames]


def times(zone: Zone, start: float, length: float) -> list[tuple[float, str]]:
    """Labels of an axis of time: shares of it, and round times on a zone's clocks."""
    step = next((step for step in STEPS if length / step < charts.LABELS), STEPS[-1])
    labels = []
    moment = start - start % 60
    while moment <= start + length:
        clock = zone.at(moment)
        if moment >= start and (clock.hour * 3600 + clock.minute * 60) % step == 0:
            labels.append(
                ((moment - start) / length, f"{clock:%d %b}" if clock.hour == clock.minute == 0 else f"{clock:%H:%M}")
            )
        moment += 60
    return labels


def columns_of(found: list[datetime], grain: Grain) -> charts.Columns:
    """What hours, days, weeks or months are called."""
    form = {"hour": "%d %b %H:00", "day": "%d %b", "week": "week of %d %b", "month": "%b %Y"}[grain]
    names = [f"{part:{form}}" for part in found]
    below = names
    if grain == "hour":
        below = [f"{part:%H:00}" if part.hour else f"{part:%d %b}" for part in found]
    elif grain == "week":
        below = [f"{part:%d %b}" for part in found]
    return charts.Columns(names, below)


def shares(accounts: list[Account], view: View) -> dict[str, Any]:
    """What became of the slots of each part of the period, all nodes together."""
    slots = [slot for account in accounts for slot in account.slots]
    if not slots:
        return charts.stacked([], charts.Columns([], []))
    first, last = min(slot.at for slot in slots), max(slot.at for slot in slots)
    grain = grain_of(last - first)
    by_hour: dict[int, datetime] = {}  # no zone's clocks change within a quarter of an hour

    def part(at: int) -> datetime:
        quarter = at // 900
        if quarter not in by_hour:
            by_hour[quarter] = view.zone.part(at, grain)
        return by_hour[quarter]

    found: dict[datetime, Cover] = {}
    for slot in slots:
        found.setdefault(part(slot.at), Cover("all", "")).take(slot)
    every = list(parts(beginning(part(first), grain), part(last), grain))
    return charts.stacked([found.get(each) for each in every], columns_of(every, grain))


def sources(archive: Archive) -> list[dict[str, Any]]:
    """The files that the report was made of, as the manifest knows them."""
    wanted = {archive.layout.name(file) for file in archive.files()}
    return [
        {"name": name, "sha256": state.sha256, "rows": state.rows}
        for name, state in sorted(manifest.state(archive.layout).items())
        if name in wanted
    ]
