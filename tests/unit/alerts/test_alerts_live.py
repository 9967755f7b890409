"""Who judges each minute, whatever has arrived by then and in whichever order, finds what who has all of it finds."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from builders import FIRST
from fleets import known, records
from hypothesis import given, settings
from hypothesis import strategies as st
from tries import tries

from speedtest_logger.alerts import progress, reading, watch
from speedtest_logger.alerts.destinations import Destination
from speedtest_logger.alerts.judge import Line
from speedtest_logger.alerts.progress import Progress
from speedtest_logger.alerts.settings import Settings
from speedtest_logger.alerts.state import State
from speedtest_logger.archive.read.changes import Change

HOUR, DAY = 3600, 86_400
GRACE = 300
DAYS = 3
SLOTS = DAYS * 24
TO_ALL = Settings((Destination("all", "json://192.0.2.1", severity="info", reminder_hours=0),), grace_seconds=GRACE)
LINE = known("attic", "porch", "shed", interval=HOUR, below_plan={"tests": 2}, coverage_low={"percent": 90})


def stretches(letters: str, longest: int) -> st.SearchStrategy[str]:
    return st.lists(
        st.tuples(st.sampled_from(letters), st.integers(1, longest)).map(lambda pair: pair[0] * pair[1]), max_size=60
    ).map(lambda parts: ("".join(parts) + "0" * SLOTS)[:SLOTS])


NODE = stretches("000044x-es", 9)
DELAYS = st.lists(st.sampled_from((0, 0, 0, 0, 1, 3, 20, 40)), min_size=SLOTS, max_size=SLOTS)  # hours


class Archive:
    """All records, and when each arrives."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, rows: list[dict], arrivals: list[float]) -> None:
        content = [{name: row[name] for name in reading.COLUMNS} for row in rows]
        for row in content:
            for name in ("scheduled_at", "started_at"):
                row[name] = datetime.fromisoformat(row[name])
        self.table = pa.Table.from_pylist(content, reading.SCHEMA).append_column("arrival", pa.array(arrivals, "f8"))
        self.now = 0.0
        monkeypatch.setattr(progress.reading, "rows", self.rows)

    def rows(self, _layout: object, _location: str, start: float, end: float) -> pa.Table:
        at = self.table["started_at"].cast(pa.int64())
        inside = pc.and_(pc.greater_equal(at, int(start * 1000)), pc.less(at, int(end * 1000)))
        here = pc.less_equal(self.table["arrival"], self.now)
        return self.table.filter(pc.and_(inside, here)).select(list(reading.COLUMNS))

    def changes(self, since: float, location: str) -> list[Change]:
        """What came after a time until now, as the archive's manifest says it."""
        new = self.table.filter(
            pc.and_(pc.greater(self.table["arrival"], since), pc.less_equal(self.table["arrival"], self.now))
        )
        months = defaultdict(set)
        for at in new["started_at"].to_pylist():
            name = f"location={location}/year={at:%Y}/month={at:%m}/speedtest.parquet"
            months[name].add(f"{at:%Y-%m-%d}")
        days = {name: tuple(sorted(found)) for name, found in months.items()}
        return [Change("", "ingest", days, (), "")] if days else []


def live(archive: Archive, end: float) -> tuple[State, list[tuple[str, str]]]:
    """Judge each hour until a time; the book, and each thing that was told, in order: a finding's name and what."""
    state, kept, told = State(), Progress(), []
    before = 0.0
    for now in range(FIRST + 1800, int(end) + 1, HOUR):
        archive.now = now
        for change in archive.changes(before, LINE.location):
            kept.touch(change)
        line, since = kept.judge(None, LINE, now, now - GRACE)
        state.book.take({LINE.location: (line.found, since)}, now)
        for message in watch.tell(state, TO_ALL, now):
            for finding, text in zip(message.findings, message.lines, strict=True):
                both = ["ended"] if "was not so" in text else ["began", "ended"] if " is over: " in text else ["began"]
                known_before = [what for name, what in told if name == finding]
                told += [(finding, what) for what in both if not (what == "began" and known_before[-1:] == ["began"])]
        state.evaluated = before = now
    return state, told


def findings(found) -> Counter:
    return Counter((f.rule, f.node, f.began, f.ended) for f in found)


def rows_of(letters: list[str]) -> list[dict]:
    return [row for node, own in zip(LINE.entries, letters, strict=True) for row in records(LINE, node, own)]


@given(st.lists(NODE, min_size=3, max_size=3), DELAYS)
@settings(max_examples=tries(6))
def test_live_and_replay_find_the_same_whatever_comes_late(letters, delays):
    rows = rows_of(letters)
    started = [datetime.fromisoformat(row["started_at"]).timestamp() for row in rows]
    arrivals = [at + 60 + HOUR * delays[number % SLOTS] for number, at in enumerate(started)]
    end = FIRST + (DAYS + 3) * DAY
    with pytest.MonkeyPatch.context() as patch:
        archive = Archive(patch, rows, arrivals)
        state, told = live(archive, end)
        tests = reading.tests(LINE, archive.rows(None, "", 0, end), FIRST, end, end - GRACE)
    replayed = Line(LINE.location, LINE.limits).take(tests)
    kept = [entry for entry in state.book.entries if not entry.withdrawn]
    assert findings(entry.finding for entry in kept) == findings(replayed.found)
    for entry in state.book.entries:  # what was told to be over is never told again under its name
        own = [what for name, what in told if name == entry.id]
        assert own in ([], ["began"], ["began", "ended"]), (entry, own)
        assert len(own) % 2 == (entry.finding.ended is None and entry.told_begin), (entry, own)


@given(st.lists(NODE, min_size=3, max_size=3))
@settings(max_examples=tries(5))
def test_what_arrives_at_once_is_told_once(letters):
    rows = rows_of(letters)
    arrivals = [datetime.fromisoformat(row["started_at"]).timestamp() + 60 for row in rows]
    with pytest.MonkeyPatch.context() as patch:
        state, told = live(Archive(patch, rows, arrivals), FIRST + (DAYS + 1) * DAY)
    assert not [entry for entry in state.book.entries if entry.withdrawn]
    assert all(count == 1 for count in Counter(told).values()), told


def test_a_line_that_was_judged_for_days_is_read_from_some_hours_ago_on():
    rows = rows_of(["0" * SLOTS] * 3)
    arrivals = [datetime.fromisoformat(row["started_at"]).timestamp() + 60 for row in rows]
    arrivals[-15] = FIRST + 90 * DAY  # of this day, and it never comes
    with pytest.MonkeyPatch.context() as patch:
        archive = Archive(patch, rows, arrivals)
        kept = Progress()
        archive.now = FIRST + 2 * DAY + 20 * HOUR
        kept.judge(None, LINE, archive.now, archive.now - GRACE)
        _, since = kept.judge(None, LINE, archive.now, archive.now - GRACE)
        assert since == FIRST + 2 * DAY + 19 * HOUR
        archive.table = archive.table.set_column(
            archive.table.column_names.index("arrival"), "arrival", pa.array([0.0] * len(rows))
        )
        _, since = kept.judge(None, LINE, archive.now, archive.now - GRACE)
        assert since == FIRST + 2 * DAY, "one of the day came late: the day is judged anew"


def test_what_is_usual_is_known_though_only_hours_are_judged():
    line = known("attic", interval=HOUR, below_usual={"tests": 2, "percent": 60}, below_plan=False)
    days = 34
    rows = records(line, "attic", "0" * (24 * days) + "4" * 6)
    with pytest.MonkeyPatch.context() as patch:
        archive = Archive(patch, rows, [0.0] * len(rows))
        kept = Progress()
        archive.now = FIRST + days * DAY + HOUR / 2
        kept.judge(None, line, archive.now, archive.now - GRACE)
        archive.now += 4 * HOUR
        judged, since = kept.judge(None, line, archive.now, archive.now - GRACE)
    assert since >= FIRST + (days - 1) * DAY
    assert [(finding.rule, finding.count) for finding in judged.found] == [("below_usual", 5)]


def test_other_limits_are_those_of_what_was_judged_before_too_as_replay_has_it():
    """A finding that began before the midnight that is kept never was, where the limits are lower now."""
    line, lower = (known("attic", interval=HOUR, below_plan={"percent": percent}) for percent in (70, 30))
    rows = records(line, "attic", "0" * 20 + "4" * 40)
    with pytest.MonkeyPatch.context() as patch:
        archive = Archive(patch, rows, [0.0] * len(rows))
        kept = Progress()
        archive.now = FIRST + 2 * DAY + 10 * HOUR
        judged, _ = kept.judge(None, line, archive.now, archive.now - GRACE)
        assert [(finding.rule, finding.began) for finding in judged.found] == [("below_plan", FIRST + 20 * HOUR)]
        judged, since = kept.judge(None, lower, archive.now, archive.now - GRACE)
    assert judged.found == []
    assert since < FIRST, "the finding that is known is of that time, and is withdrawn"
