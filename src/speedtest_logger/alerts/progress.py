"""How far each line is judged: as it stood at a midnight, so that a minute's evaluation reads a day and not a year.

It can be removed at any time: it is made again from the archive.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from speedtest_logger.alerts import reading
from speedtest_logger.alerts.judge import Line, copy
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
EVERY = 1800  # s, in which it is written once at most
SLACK = 120  # s by which a record may have started before its slot


@dataclass
class Kept:
    """A line as it stood at a midnight (Unix time, s), before that day's slots."""

    at: int
    line: dict[str, Any]


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
        line = self._line(known, kept)
        tests = reading.tests(known, self._rows(layout, known, start, now), start, now, late)
        midnight = self._midnight(known.location, now)
        if kept is None or (midnight > kept.at and now - self.written >= EVERY):
            line.take(test for test in tests if test.at < midnight)
            found = [finding for finding in line.found if finding.ended is not None]
            self.lines[known.location] = Kept(midnight, line.to_json())
            self.is_new = True
            line = copy(line).take(test for test in tests if test.at >= midnight)
            line.found += found
        else:
            line.take(tests)
        return line, start

    @staticmethod
    def _rows(layout: Layout, known: Known, start: int, now: float) -> Any:
        return reading.rows(layout, known.location, start - SLACK, now + DAY)

    @staticmethod
    def _line(known: Known, kept: Kept | None) -> Line:
        if kept is None:
            return Line(known.location, known.limits)
        line = Line.of_json(known.location, known.limits, kept.line)
        for rule, node in list(line.open):  # a rule that was switched off finds nothing any more
            watched = known.limits.values() if node is None else [known.limits.get(node, {})]
            if not any(rule in limits for limits in watched):
                line.found.remove(line.open.pop((rule, node)))
        return line

    @staticmethod
    def _midnight(location: str, now: float) -> int:
        """The last day's beginning that is settled."""
        return int(now - SETTLED - stable_hash(location) % SPREAD) // DAY * DAY

    def wants_to_move(self, location: str, now: float) -> bool:
        """Whether a line is to be judged so that less is read of it from then on."""
        kept = self.lines.get(location)
        return kept is None or (now - self.written >= EVERY and self._midnight(location, now) > kept.at)

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
            {name: Kept(int(kept["at"]), kept["line"]) for name, kept in content["lines"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Progress()


def save(layout: Layout, progress: Progress, now: float) -> None:
    """Keep it. Raises OSError."""
    lines = {name: {"at": kept.at, "line": kept.line} for name, kept in progress.lines.items()}
    content = json.dumps({"written": now, "lines": lines}, separators=(",", ":"))
    write_durably(layout.root / FOLDER / "progress.json", content.encode())
