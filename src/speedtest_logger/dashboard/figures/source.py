"""What all figures are made of: the rollups, the registry's schedules, and what nodes said of themselves."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import duckdb

from speedtest_logger import registry
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.read import days, hellos, slots, tally
from speedtest_logger.archive.read.coverage import Cover, ended, read_schedules
from speedtest_logger.archive.read.dataset import Archive
from speedtest_logger.archive.read.local_time import Zone
from speedtest_logger.archive.read.rollup import RECENT_DAYS, Rollups
from speedtest_logger.dashboard.figures.types import Plan
from speedtest_logger.errors import StorageError
from speedtest_logger.files import Identity, identity
from speedtest_logger.schedule import Schedule

LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Known:
    """What the registry says: each node's schedules, its entry that is in force, and the nodes of each location."""

    schedules: dict[str, registry.History]
    current: dict[str, dict[str, Any]]
    nodes: dict[str, list[str]]

    @classmethod
    def of(cls, schedules: dict[str, registry.History]) -> Known:
        """The same from the schedules."""
        last = {node: history[-1] for node, history in schedules.items() if history}
        current = {node: entry for node, entry in last.items() if not entry.get("valid_to")}
        nodes: dict[str, list[str]] = {}
        for node, entry in current.items():
            nodes.setdefault(str(entry.get("location")), []).append(node)
        return cls(schedules, current, nodes)


@dataclass
class Source:
    """An archive and its rollups. The registry is read again when its file is another one."""

    layout: Layout
    rollups: Rollups
    zone: Zone
    broken: str | None = None  # why the rollups cannot be made just now
    _known: tuple[float, tuple[Identity | None, ...], Known] = field(default=(0.0, (), Known({}, {}, {})))

    @property
    def archive(self) -> Archive:
        """The archive itself, for what rollups do not have."""
        return Archive(self.layout)

    def reopen(self) -> None:
        """Open the rollups anew, after an error of their database; they are made again where they are of no use.

        Raises StorageError.
        """
        with suppress(duckdb.Error):
            self.rollups.close()
        self.rollups = Rollups(self.layout, self.rollups.file, self.zone)

    def known(self) -> Known:
        """The registry, looked at once a second. Raises StorageError for one that cannot be read."""
        at, seen, known = self._known
        if not seen or time.monotonic() - at > LOOK_SECONDS:
            now = tuple(identity(self.layout.root / place) for place in registry.PLACES)
            gone = known.schedules and not any(now)  # as `system` says: what was known is nearer to the truth
            known = known if now == seen or gone else Known.of(read_schedules(self.layout))
            self._known = (time.monotonic(), now, known)
        return known

    def registry_version(self) -> tuple[Identity | None, ...]:
        """Another value once a changed registry has been read."""
        self.known()
        return self._known[1]

    def schedules(self) -> dict[str, registry.History]:
        """Each node's schedules, oldest first."""
        return self.known().schedules

    def current(self, node: str) -> dict[str, Any]:
        """A node's schedule that is in force; empty where none is."""
        return self.known().current.get(node, {})

    def ended(self, node: str, at: float) -> int | None:
        """When nothing was expected of a node any more, where that was before a time (Unix times, s)."""
        return ended(self.schedules().get(node, []), at)

    def nodes_of(self, location: str) -> list[str]:
        """The nodes that measure a location now."""
        return self.known().nodes.get(location, [])

    def plan(self, location: str) -> Plan:
        """A location's plan: the highest of its nodes' where they differ."""
        entries = [self.current(node) for node in self.nodes_of(location)]
        speeds = [
            max((float(entry.get(f"plan_{way}_mbps") or 0) for entry in entries), default=0) * 1e6
            for way in ("download", "upload")
        ]
        return Plan(speeds[0] or None, speeds[1] or None)

    def next_slot(self, node: str, now: float) -> int | None:
        """When a node measures next (Unix time, s); None where the registry does not say."""
        entry = self.current(node)
        if not entry:
            return None
        return Schedule(entry["interval_seconds"], entry["offset_seconds"]).next_after(now)

    def seconds_between(self, location: str | None, node: str | None) -> float:
        """How often there is a slot of a location's nodes, of one, or of all; endless where nobody can say."""
        try:
            names = self.nodes_of(location) if location else self.known().current
            entries = [self.current(name) for name in names if node in (None, name)]
        except StorageError:  # records are shown without a registry too
            return math.inf
        given = [entry.get("interval_seconds") for entry in entries]
        rate = sum(1 / seconds for seconds in given if isinstance(seconds, int) and seconds > 0)
        return 1 / rate if rate else math.inf

    def refresh(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Make again what changed in the archive or the registry, ahead of all questions. Raises as Rollups.renew."""
        self.rollups.renew_ahead(progress)
        tally.refresh(self.rollups, self.schedules(), time.time())

    def oldest_recent(self) -> float:
        """From when on (Unix time, s) `recent` has every record."""
        return time.time() - RECENT_DAYS * 86_400 + 3600  # a week that was asked about just now lies in it

    def strips(self, start: float, end: float, now: float, **scope: str | None) -> list[slots.Strip]:
        """What became of the slots of a period."""
        return days.strips(self.rollups, self.schedules(), (start, end), now=now, **scope)

    def covers(self, period: tuple[float, float], now: float, scope: slots.Scope, *, by_day: bool) -> list[Cover]:
        """The counts of these, by node, or by node and day (UTC)."""
        return days.covers(self.rollups, self.schedules(), period, scope=scope, now=now, by_day=by_day)

    def spans(
        self, period: tuple[float, float], now: float, location: str | None
    ) -> tuple[list[Cover], dict[str, int]]:
        """The counts by node, and how many outages each had."""
        return days.spans(self.rollups, self.schedules(), period, location=location, now=now)

    def hello(self, node: str) -> dict[str, Any]:
        """What a node said of itself with its last delivery, and when; empty where it never did."""
        return hellos.of(self.layout, node)

    def where(self, location: str | None, node: str | None) -> tuple[str, dict[str, str]]:
        """SQL and its values that narrow a table to a location and a node."""
        texts = {"location": location, "node": node}
        given = {name: value for name, value in texts.items() if value is not None}
        return "".join(f" AND {name} = ${name}" for name in given), given

    def of_rollup(self, location: str | None, node: str | None) -> tuple[str, dict[str, str]]:
        """The same for `hour` or `day`, to one row a beginning: of a node, or of all nodes of a location."""
        narrowed, given = self.where(location, node)
        return narrowed if node else f"{narrowed} AND whole", given
