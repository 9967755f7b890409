"""How far each line is judged: as it stood at a midnight and some hours ago, so that an evaluation reads a day of it.

A small file a line, which is read when the line is judged and written when it has moved. All of them can be removed at
any time: they are made again from the archive.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from speedtest_logger.alerts import reading
from speedtest_logger.alerts.judge import Line
from speedtest_logger.alerts.reading import Known
from speedtest_logger.alerts.state import FOLDER, MOST_BYTES
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.read.changes import Change
from speedtest_logger.files import read_bounded, write_durably
from speedtest_logger.record import unix_time
from speedtest_logger.schedule import Schedule, stable_hash

DAY, HOUR = 86_400, 3600
HORIZON = 35 * DAY  # how much is read of a line that is judged anew
SETTLED = HOUR  # after which a day is over for a line, and up to SPREAD later: until then a day more is read of it
SPREAD = HOUR // 2
OFTEN = 2 * HOUR  # a line's later time follows so far behind, or up to twice as far: not all of them at once
USUAL = 33 * DAY  # before a test, from which it is known what is usual


@dataclass(frozen=True)
class Kept:
    """A line as it stood at a midnight (Unix time, s), before that day's slots, and at a later time of that day.

    `near` holds as long as the archive has as many `records` of the slots between the two: those that come late for
    them have it judged from midnight on. Both hold as long as schedules and rules up to then are the same (`basis`).
    """

    at: int
    line: dict[str, Any]
    near: int
    near_line: dict[str, Any]
    records: int
    basis: str


@dataclass
class Progress:
    """All lines, each in a file of its own in `folder`; in memory only where there is none."""

    folder: Path | None = None
    lines: dict[str, Kept | None] = field(default_factory=dict)  # that were looked at
    moved: set[str] = field(default_factory=set)  # that are to be written

    def judge(self, layout: Layout, known: Known, now: float, late: float) -> tuple[Line, int]:
        """A line as it stands now, with all findings that lasted at a time (Unix time, s) or began after it.

        Raises DamagedFileError.
        """
        kept = self.of(known)
        start = kept.at if kept else _first(now)
        needs_usual = any("below_usual" in limits for limits in known.limits.values())
        found = reading.rows(layout, known.location, start - (USUAL if needs_usual else 0), now + DAY)
        is_moving = not kept or _is_behind(known.location, kept, now, late)
        if kept and not is_moving and kept.near > kept.at and _count(found, kept.at, kept.near) == kept.records:
            found = found if needs_usual else found.filter(pc.greater_equal(found["scheduled_at"], _moment(kept.near)))
            tests = reading.tests(known, found, kept.near, now, late)
            return _line(known, kept.near_line).take(tests), kept.near
        line = _line(known, kept.line if kept else None)
        tests = reading.tests(known, found, start, now, late)
        if is_moving:
            midnight, near = _midnight(known.location, now, late), _near(now, late)
            at_midnight = line.take(test for test in tests if test.at < midnight).to_json()
            at_near = line.take(test for test in tests if midnight <= test.at < near).to_json()
            records = _count(found, midnight, near)
            self.lines[known.location] = Kept(midnight, at_midnight, near, at_near, records, _basis(known, near))
            self.moved.add(known.location)
            tests = [test for test in tests if test.at >= max(midnight, near)]
        return line.take(tests), start

    def of(self, known: Known) -> Kept | None:
        """What is kept of a line, None where that is nothing, or no longer true of it."""
        kept = self._load(known.location)
        if kept and kept.basis != _basis(known, kept.near):
            self.drop(known.location)
            return None
        return kept

    def slots_anew(self, known: Known, now: float) -> int:
        """How many slots of a line are judged from the beginning; 0 where it is known how it stood lately."""
        if self.of(known):
            return 0
        periods = [
            (max(_first(now), unix_time(entry["valid_from"])), entry.get("valid_to"), entry["interval_seconds"])
            for history in known.entries.values()
            for entry in history
        ]
        spans = ((((unix_time(until) if until else now) - since) / interval) for since, until, interval in periods)
        return int(sum(max(0, span) for span in spans)) + 1

    def touch(self, change: Change) -> set[str]:
        """The locations that a change touched; those before their midnight are judged anew from the beginning."""
        touched = set()
        for name, days in [*change.months.items(), *((name, ()) for name in change.gone)]:
            place, year, month = (part.partition("=")[2] for part in name.split("/")[:3])
            touched.add(place)
            kept = self._load(place)
            first = min(days) if days else f"{year}-{month}-01"
            if kept and unix_time(f"{first}T00:00:00.000Z") < kept.at:
                self.drop(place)
        return touched

    # files

    def drop(self, location: str) -> None:
        """Forget how a line stood, at once: what is put down of it later may rest on that."""
        self.lines[location] = None
        self.moved.discard(location)
        if self.folder:
            self._file(self.folder, location).unlink(missing_ok=True)

    def drop_all(self) -> None:
        """Forget how each line stood."""
        self.lines.clear()
        self.moved.clear()
        for file in self.folder.glob("*.json") if self.folder else ():
            file.unlink(missing_ok=True)

    def save(self) -> None:
        """Keep the lines that have moved. Raises OSError."""
        if not self.folder or not self.moved:
            return
        self.folder.mkdir(mode=0o750, exist_ok=True)
        for location in sorted(self.moved):
            content = json.dumps(vars(self.lines[location]), separators=(",", ":"))
            write_durably(self._file(self.folder, location), content.encode())
        self.moved.clear()

    def _load(self, location: str) -> Kept | None:
        if location not in self.lines:
            self.lines[location] = None
            if self.folder:
                with suppress(OSError, ValueError, TypeError, RecursionError):
                    content = read_bounded(self._file(self.folder, location), MOST_BYTES)
                    self.lines[location] = Kept(**json.loads(content))
        return self.lines[location]

    @staticmethod
    def _file(folder: Path, location: str) -> Path:
        return folder / f"{location}.json"


def of_archive(layout: Layout) -> Progress:
    """What is kept of an archive's lines."""
    (layout.root / FOLDER / "progress.json").unlink(missing_ok=True)  # the version before kept all in one file
    return Progress(layout.root / FOLDER / "lines")


def _line(known: Known, kept: dict[str, Any] | None) -> Line:
    return Line.of_json(known.location, known.limits, kept) if kept else Line(known.location, known.limits)


def _basis(known: Known, until: int) -> str:
    """Another one where schedules, plans, rules or budgets say something else of the time before a moment."""
    content = []
    for node, history in known.entries.items():
        entries = []
        for entry in history:
            if unix_time(entry["valid_from"]) < until:
                end = entry.get("valid_to")
                entries.append({**entry, "valid_to": end if end and unix_time(end) < until else None})
        if entries:
            content.append([node, entries, known.limits[node], known.budgets[node]])
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _first(now: float) -> int:
    """From when on a line is judged of which nothing is known."""
    return int(now - HORIZON) // DAY * DAY


def _is_behind(location: str, kept: Kept, now: float, late: float) -> bool:
    """Whether a line is to be judged so that less is read of it from then on; for each line at another time."""
    is_old = _near(now, late) - kept.near > OFTEN + stable_hash(location) % OFTEN
    return is_old or _midnight(location, now, late) > kept.at


def _midnight(location: str, now: float, late: float) -> int:
    """The last day's beginning that is settled: of all slots before it is known what became of them."""
    return int(min(now - SETTLED - stable_hash(location) % SPREAD, late)) // DAY * DAY


def _near(now: float, late: float) -> int:
    return int(min(now - HOUR, late))


def _moment(at: int) -> pa.Scalar:
    return pa.scalar(at * 1000, pa.timestamp("ms", "UTC"))


def _count(found: pa.Table, start: int, end: int) -> int:
    """How many records there are of the slots of a period (Unix time, s)."""
    slot = found["scheduled_at"]
    inside = pc.and_(pc.greater_equal(slot, _moment(start)), pc.less(slot, _moment(end)))
    return int(pc.sum(inside).as_py() or 0)


def next_slots(known: Known, last: dict[str, int], late: float) -> list[int]:
    """Each node's first slot of which nothing is known yet; `last`: the last one of which something is."""
    found = []
    for node, history in known.entries.items():
        entry = history[-1]
        if not entry.get("valid_to"):
            schedule = Schedule(entry["interval_seconds"], entry["offset_seconds"])
            found.append(schedule.next_after(max(last.get(node, 0), late - 1, unix_time(entry["valid_from"]) - 1)))
    return found
