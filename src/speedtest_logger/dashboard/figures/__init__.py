"""Every figure that a page or the API shows, asked once: pages, API and live updates say the same."""

from __future__ import annotations

import time
from collections.abc import Hashable
from dataclasses import replace
from datetime import datetime
from typing import Any

import pyarrow as pa

from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.read import logs, probes, slots, told
from speedtest_logger.archive.read.local_time import Zone
from speedtest_logger.archive.read.parts import Part
from speedtest_logger.archive.read.rollup import VALUES, Rollups
from speedtest_logger.archive.read.told import Alerts
from speedtest_logger.dashboard.figures import exported as of_exported
from speedtest_logger.dashboard.figures import probed as of_probed
from speedtest_logger.dashboard.figures import records as of_records
from speedtest_logger.dashboard.figures import series as of_series
from speedtest_logger.dashboard.figures import spans as of_spans
from speedtest_logger.dashboard.figures import standing, system
from speedtest_logger.dashboard.figures.exported import Exported, Totals
from speedtest_logger.dashboard.figures.kept import Kept
from speedtest_logger.dashboard.figures.records import Wanted
from speedtest_logger.dashboard.figures.source import Source
from speedtest_logger.dashboard.figures.types import (
    WELL,
    Cells,
    Grain,
    Line,
    Measured,
    Node,
    Now,
    Outage,
    Plan,
    Series,
    Span,
    State,
    Week,
)
from speedtest_logger.files import identity

__all__ = [
    "WELL", "Alerts", "Cells", "Exported", "Figures", "Grain", "Line", "Measured", "Node", "Now", "Outage", "Part",
    "Plan", "Series", "Span", "State", "Totals", "Wanted", "Week",
]  # fmt: skip
DOUBTFUL = ("archive", "rollups", "registry", "ingest")  # parts without which figures are not those of now


class Figures:
    """All questions of the dashboard. May be asked by any thread; times are Unix times (s)."""

    def __init__(self, layout: Layout, rollups: Rollups, zone: Zone) -> None:
        self.source = Source(layout, rollups, zone)
        self._lines = Kept(lambda: standing.lines(self.source, time.time()))
        self._parts = Kept(self._parts_now)
        self._noticed: dict[str, int] = {}
        self._silent = of_exported.Silent()
        self._probe_days = of_probed.Days()
        self._alerts: tuple[Hashable, Alerts] | None = None

    def etag(self) -> str:
        """Another text whenever a figure may be another one: the manifest's place and the minute."""
        self.source.rollups.refresh()
        cursor = self.source.rollups.cursor() or "0"
        return f"{cursor[:24]}-{int(time.time()) // 60}"

    def version(self) -> Hashable:
        """Another value whenever a figure may be another one, or what makes them doubtful. Raises as `etag`."""
        wrong = tuple((part.name, part.sentence) for part in self.troubles())
        return (self.etag(), self.source.registry_version(), wrong)

    def is_current(self) -> bool:
        """Whether the archive is what it was when a version was asked for last; for what may not wait."""
        return self.source.rollups.is_current()

    def alerts_version(self) -> Hashable:
        """Another value whenever alerts have written down something else."""
        return identity(told.file_of(self.source.layout))

    def alerts(self) -> Alerts:
        """What was found and told."""
        version, known = self.alerts_version(), self._alerts
        if known is None or version is None or known[0] != version:
            self._alerts = known = (version, told.read(self.source.layout))
        return known[1]

    def lines(self) -> list[Line]:
        """All lines as they stand, those that need somebody first."""
        return self._lines.get().answer

    def judge_ahead(self) -> None:
        """Judge all lines and parts before somebody waits for that, where it takes long. Raises as the rollups do."""
        self._lines.ahead()
        self._parts.ahead()

    def line(self, location: str) -> Line:
        """A line as it stands. Raises KeyError for one that nobody knows."""
        found = standing.lines(self.source, time.time(), location)
        if not found:
            raise KeyError(location)
        return found[0]

    def locations(self) -> list[str]:
        """All locations."""
        return sorted(line.location for line in self.lines())

    def nodes(self) -> list[Node]:
        """All nodes, by name."""
        return sorted((node for line in self.lines() for node in line.nodes), key=lambda node: node.name)

    def node(self, name: str) -> Node:
        """A node. Raises KeyError for one that nobody knows."""
        found = next((node for node in self.nodes() if node.name == name), None)
        if found is None:
            raise KeyError(name)
        return found

    def now(self) -> Now:
        """The fleet: the sentence first."""
        judged = self._lines.get()
        lines = judged.answer
        ill = sum(line.is_ill for line in lines)
        count = "1 line" if len(lines) == 1 else f"{len(lines)} lines"
        if not lines:
            sentence = "No line has been measured yet."
        elif ill:
            sentence = f"{ill} of {count} need{'s' if ill == 1 else ''} you."
        else:
            sentence = f"All {count} are well." if len(lines) > 1 else "The line is well."
        parts = [part for part in self.system() if not part.ok]
        if any(part.name == "archive" for part in parts):
            sentence = "The archive cannot be read: these are the figures of before."
        problems = [f"{part.name}: {part.sentence}" for part in parts if part.name not in DOUBTFUL]
        last = max((line.last.at for line in lines if line.last), default=None)
        return Now(int(time.time()), int(judged.at), sentence, lines, last, problems)

    def exported(self) -> list[Exported]:
        """All nodes as Prometheus is told of them, by name."""
        return of_exported.nodes(self.source, self._silent, time.time())

    def totals(self) -> Totals:
        """What was counted of each node since the beginning."""
        return of_exported.totals(self.source, time.time())

    def series(
        self,
        start: float,
        end: float,
        *,
        location: str | None = None,
        node: str | None = None,
        grain: Grain | None = None,
        values: tuple[str, ...] = tuple(VALUES),
    ) -> Series:
        """Columns for a chart of a line or node; its grain is chosen so that there are at most 2,000 points."""
        names = [name for name in VALUES if name in values]
        grain = grain or of_series.grain_of(end - start)
        return of_series.series(self.source, (start, end), (location, node), grain, names)

    def cells(self, start: float, end: float, *, location: str | None = None, node: str | None = None) -> list[Cells]:
        """Each node's slots as cells."""
        return of_series.cells(self.source, (start, end), {"location": location, "node": node}, time.time())

    def week(
        self, start: float, end: float, *, location: str | None = None, node: str | None = None, zone: str | None = None
    ) -> Week:
        """Median download by hour of the week. Raises UsageError for a zone that nobody knows."""
        clocks = Zone.named(zone) if zone else self.source.zone
        return of_series.week(self.source, (start, end), (location, node), clocks)

    def year(self, location: str, year: int) -> Series:
        """A line's days of a year."""
        first, last = (datetime(number, 1, 1, tzinfo=self.source.zone.rules).timestamp() for number in (year, year + 1))
        return of_series.series(self.source, (first, last), (location, None), "day", ["download", "upload"])

    def spans(self, start: float, end: float, *, by: str = "location", location: str | None = None) -> list[Span]:
        """What each line or node delivered."""
        return of_spans.spans(self.source, (start, end), time.time(), by_node=by == "node", location=location)

    def coverage(
        self, start: float, end: float, *, location: str | None = None, node: str | None = None, by_day: bool = False
    ) -> list[dict[str, Any]]:
        """Rows as `speedtest-archive coverage` gives them."""
        covers = self.source.covers((start, end), time.time(), slots.Scope(node, location), by_day=by_day)
        return [cover.to_row() for cover in covers]

    def outages(
        self, start: float, end: float, *, location: str | None = None, node: str | None = None, shortest: int = 1
    ) -> list[Outage]:
        """Outages of at least so many slots, oldest first."""
        return of_spans.outages(self.source, (start, end), time.time(), shortest, (location, node))

    def records(self, wanted: Wanted) -> tuple[pa.Table, str | None]:
        """A page of records, newest first, and the next page's cursor."""
        return of_records.page(self.source, wanted)

    def record(self, run_id: str, node: str | None = None, at: float | None = None) -> dict[str, Any] | None:
        """One record; `node` and `at` make it quick to find."""
        return of_records.one(self.source, run_id, node, at)

    def raw(self, record: dict[str, Any]) -> bytes | None:
        """What a record's engine printed."""
        return of_records.raw(self.source, record)

    def nodes_at(self, location: str | None, node: str | None) -> frozenset[str] | None:
        """The nodes of a location now, or the one that is named; None: all nodes."""
        if location is None:
            return None if node is None else frozenset((node,))
        there = frozenset(self.source.known().nodes.get(location, ()))
        return there & {node} if node else there

    def logs(self, wanted: logs.Wanted) -> logs.Found:
        """Lines of nodes' logs, the newest last."""
        return logs.search(self.source.layout, wanted)

    def probe_results(self, wanted: probes.Wanted, limit: int, before: str | None = None) -> probes.Found:
        """A page of results of probes, the newest last. Raises UsageError for a cursor that is none."""
        return probes.page(self.source.layout, wanted, limit, before)

    def probed(self, start: float, end: float, location: str) -> of_probed.Probed:
        """What a line's probes found."""
        return of_probed.probed(self.source.layout, (start, end), location, self.source.zone, self._probe_days)

    def probes_heard(self) -> list[probes.Heard]:
        """Each probe that was heard of lately."""
        return probes.heard(self.source.layout, time.time())

    def system(self) -> list[Part]:
        """How the archive is, what is wrong first; since when at least, where nothing else tells."""
        return self._parts.get().answer

    def _parts_now(self) -> list[Part]:
        now = time.time()
        found = system.parts(self.source, now)
        wrong = {part.name for part in found if not part.ok}
        self._noticed = {name: self._noticed.get(name, int(now)) for name in wrong}
        return [replace(part, since=part.since or self._noticed.get(part.name)) for part in found]

    def troubles(self) -> list[Part]:
        """What makes figures doubtful that are shown just now."""
        return [part for part in self.system() if not part.ok and part.name in DOUBTFUL]
