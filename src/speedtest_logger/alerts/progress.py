"""How far each line is judged: as it stood at a midnight, so that a minute's evaluation reads a day and not a year.

It can be removed at any time: it is made again from the archive.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
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
SETTLED = HOUR  # after which a day is over for a line, and up to SPREAD later: not for all of them at once
SPREAD = 2 * HOUR
OFTEN = 2 * HOUR  # a line's later time follows so far behind, or up to twice as far: not all of them at once
EVERY = 1800  # s, in which it is written once at most
USUAL = 33 * DAY  # before a test, from which it is known what is usual
SLACK = 120  # s by which a record may have started before its slot


@dataclass
class Kept:
    """A line as it stood at a midnight (Unix time, s), before that day's slots, and at a later time of that day.

    `near` holds as long as the archive has as many `records` of the slots between the two: those that come late for
    them have it judged from midnight on.
    """

    at: int
    line: dict[str, Any]
    near: int
    near_line: dict[str, Any]
    records: int


@dataclass
class Progress:
    """All lines; `written` in Unix time (s)."""

    written: float = 0
    lines: dict[str, Kept] = field(default_factory=dict)
    is_new: bool = False  # something is to be written

    def judge(self, layout: Layout, known: Known, now: float, late: float) -> tuple[Line, int]:
        """A line as it stands now, with all findings that lasted at a time (Unix time, s) or began after it.

        Raises DamagedFileError.
        """
        kept = self.lines.get(known.location)
        start = kept.at if kept else int(now - HORIZON) // DAY * DAY
        needs_usual = any("below_usual" in limits for limits in known.limits.values())
        found = reading.rows(layout, known.location, start - SLACK - (USUAL if needs_usual else 0), now + DAY)
        is_moving = self.wants_to_move(known.location, now, late)
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
            self.lines[known.location] = Kept(midnight, at_midnight, near, at_near, _count(found, midnight, near))
            self.is_new = True
            tests = [test for test in tests if test.at >= max(midnight, near)]
        return line.take(tests), start

    def wants_to_move(self, location: str, now: float, late: float) -> bool:
        """Whether a line is to be judged so that less is read of it from then on."""
        kept = self.lines.get(location)
        if kept is None:
            return True
        is_behind = _near(now, late) - kept.near > OFTEN + stable_hash(location) % OFTEN
        return now - self.written >= EVERY and (_midnight(location, now, late) > kept.at or is_behind)

    def touch(self, change: Change) -> set[str]:
        """The locations that a change touched; those before their midnight are judged anew from the beginning."""
        touched = set()
        for name, days in [*change.months.items(), *((name, ()) for name in change.gone)]:
            place, year, month = (part.partition("=")[2] for part in name.split("/")[:3])
            touched.add(place)
            kept = self.lines.get(place)
            first = min(days) if days else f"{year}-{month}-01"
            if kept and unix_time(f"{first}T00:00:00.000Z") < kept.at:
                del self.lines[place]
                self.is_new = True
        return touched


def _line(known: Known, kept: dict[str, Any] | None) -> Line:
    if kept is None:
        return Line(known.location, known.limits)
    line = Line.of_json(known.location, known.limits, kept)
    for rule, node in list(line.open):  # a rule that was switched off finds nothing any more
        watched = known.limits.values() if node is None else [known.limits.get(node, {})]
        if not any(rule in limits for limits in watched):
            line.found.remove(line.open.pop((rule, node)))
    return line


def _midnight(location: str, now: float, late: float) -> int:
    """The last day's beginning that is settled: of all slots before it is known what became of them."""
    return int(min(now - SETTLED - stable_hash(location) % SPREAD, late)) // DAY * DAY


def _near(now: float, late: float) -> int:
    return int(min(now - HOUR, late)) // HOUR * HOUR


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


def load(layout: Layout) -> Progress:
    """What was kept; nothing where that cannot be read."""
    try:
        content = json.loads(read_bounded(layout.root / FOLDER / "progress.json", MOST_BYTES))
        return Progress(
            float(content["written"]),
            {name: Kept(**kept) for name, kept in content["lines"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Progress()


def save(layout: Layout, progress: Progress, now: float) -> None:
    """Keep it. Raises OSError."""
    lines = {name: vars(kept) for name, kept in progress.lines.items()}
    content = json.dumps({"written": now, "lines": lines}, separators=(",", ":"))
    write_durably(layout.root / FOLDER / "progress.json", content.encode())
