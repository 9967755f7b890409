"""What became of a node's slots of a whole day (UTC), counted once: for a fleet's year nobody looks at each slot again.

Beside the rollups lies a tally of each node and day that is over: the counts of `coverage`, the slots without a
measurement that begin and end the day (an outage may go on over midnight), and every slot's outcome as a byte. A tally
is made again when a record of its day comes, changes or goes (the rollups mark it), and when the registry says
something else of the node's slots then. The running day and a period's edges are counted from the slots themselves.

All is exactly as `coverage` says. Where a day cannot be counted by itself (a record that started more than a day away
from its slot, a run that the archive has twice) it is not `plain`, and its node is asked slot by slot.
"""

from __future__ import annotations

import hashlib
import json
from itertools import pairwise
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from speedtest_logger import registry
from speedtest_logger.archive.read import slots
from speedtest_logger.archive.read.coverage import GRACE_SECONDS
from speedtest_logger.archive.read.rollup import Rollups
from speedtest_logger.archive.read.slots import CODES, MISSED, Numbers
from speedtest_logger.record import unix_time

DAY = 86_400
MOST_DAYS = 4_000  # of nodes, that are counted at once
COUNTED = ("ok", "partial", "failed", "skipped", "missed")
RULES = ("valid_from", "valid_to", "interval_seconds", "offset_seconds")  # that say when there are slots
Histories = dict[str, registry.History]


def refresh(rollups: Rollups, schedules: Histories, now: float) -> None:
    """Count each day again that has changed since, in the records or in the registry. Raises as Rollups.refresh."""
    rollups.refresh()
    if not is_fresh(rollups.reading(), schedules, now):
        with rollups.changing():
            _note(rollups, schedules, open_day(now))
            _count(rollups, schedules, open_day(now))


def is_fresh(connection: duckdb.DuckDBPyConnection, schedules: Histories, now: float) -> bool:
    """Whether each day that is over is counted, by just these schedules."""
    over = open_day(now)
    sql = "FROM about UNION ALL (SELECT 'stale', node FROM stale WHERE day < ? LIMIT 1)"
    about = dict(connection.execute(sql, [over]).fetchall())
    counted = about.get("schedules") == fingerprint(schedules) and int(about["tallied"]) >= over
    return counted and "stale" not in about


def open_day(now: float) -> int:
    """The first day (since 1970) that is not over: a slot of it may be pending."""
    return int((now - GRACE_SECONDS) // DAY)


class _Printed(NamedTuple):
    schedules: Histories
    text: str


_printed = _Printed({}, "")  # what was asked about last


def fingerprint(schedules: Histories) -> str:
    """A text that is another one where any node has other slots."""
    global _printed  # noqa: PLW0603  # thousands of nodes are not looked through for each question
    last = _printed
    if last.schedules is not schedules or not last.text:
        _printed = last = _Printed(schedules, _fingerprint(schedules))
    return last.text


def _fingerprint(schedules: Histories) -> str:
    rules = {node: _rules(history) for node, history in schedules.items() if history}
    return hashlib.sha256(json.dumps(rules, sort_keys=True).encode()).hexdigest()


def _rules(history: registry.History) -> list[list[Any]]:
    return [[entry.get(name) for name in RULES] for entry in history]


def _note(rollups: Rollups, schedules: Histories, over: int) -> None:
    """Mark the days whose slots are others than they were when they were counted, and those that are new."""
    with rollups.transaction() as connection:
        about = dict(connection.execute("SELECT name, value FROM about").fetchall())
        before = {node: json.loads(text) for node, text in connection.execute("FROM scheduled").fetchall()}
        rules = {node: _rules(history) for node, history in schedules.items() if history}
        counted = int(about.get("tallied", 0))
        marks = []
        for node in {*before, *rules}:
            since = changed_since(before.get(node, []), rules.get(node, []))
            first = max(counted, _begin(rules.get(node, [])))
            first = first if since is None else min(first, int(since // DAY))
            marks += [(node, day) for day in range(max(0, first), max(over, counted))]
        if marks:
            nodes, days = zip(*marks, strict=True)
            connection.register("marks", pa.table({"node": nodes, "day": pa.array(days, pa.int32())}))
            connection.execute("INSERT INTO stale FROM (FROM marks EXCEPT FROM stale)")
            connection.unregister("marks")
        if before != rules:
            connection.execute("DELETE FROM scheduled")
            texts = [json.dumps(rules[node]) for node in rules]
            connection.register("rules", pa.table({"node": list(rules), "history": pa.array(texts, pa.string())}))
            connection.execute("INSERT INTO scheduled FROM rules")
            connection.unregister("rules")
        kept = [("schedules", fingerprint(schedules)), ("tallied", str(max(over, counted)))]
        connection.executemany("INSERT OR REPLACE INTO about VALUES (?, ?)", kept)


def _begin(rules: list[list[Any]]) -> int:
    """The first day of a node's slots."""
    return min((int(unix_time(str(rule[0])) // DAY) for rule in rules), default=2**31)


def changed_since(before: list[list[Any]], after: list[list[Any]]) -> float | None:
    """From when on (Unix time, s) a node's slots may be others; None where they are the same."""
    same = next((n for n, (one, other) in enumerate(zip(before, after, strict=False)) if one != other), None)
    same = min(len(before), len(after)) if same is None else same
    rest = [*before[same:], *after[same:]]
    if not rest:
        return None
    moments = [unix_time(str(rule[0])) for rule in rest]
    if len(before) > same < len(after) and [*before[same][:1], *before[same][2:]] == [
        *after[same][:1],
        *after[same][2:],
    ]:  # the same one, which ends at another time
        ends = [unix_time(str(rule[1])) for rule in (before[same], after[same]) if rule[1]]
        moments = [*ends, *(unix_time(str(rule[0])) for rule in [*before[same + 1 :], *after[same + 1 :]])]
    return min(moments)


def _count(rollups: Rollups, schedules: Histories, over: int) -> None:
    """Make the tallies of all days that are marked and over."""
    sql = "SELECT node, day FROM stale WHERE day < ? ORDER BY node, day"
    marked = rollups.reading().sql(sql, params=[over]).to_arrow_table()
    for first in range(0, marked.num_rows, MOST_DAYS):
        part = marked.slice(first, MOST_DAYS)
        if marked.num_rows > MOST_DAYS:
            rollups.tell(first, marked.num_rows, "days")
        with rollups.transaction(tallies=True) as connection:
            connection.register("todo", part)
            _count_part(connection, part, schedules)
            connection.unregister("todo")


def _count_part(connection: duckdb.DuckDBPyConnection, part: pa.Table, schedules: Histories) -> None:
    first, last = (int(value) * DAY for value in (pc.min(part["day"]).as_py(), _last(part) + 1))
    rows = connection.sql(
        """SELECT s.* FROM slot s JOIN todo t ON s.node = t.node AND s.moment // 86400 = t.day
           WHERE moment >= ? AND moment < ?""",
        params=[first, last],
    ).to_arrow_table()
    records = slots.Records.of(rows)
    codes = _reason_codes(connection, records.reasons)
    names = part["node"].to_pylist()
    days = part["day"].to_numpy()
    tables, reasons = [], []
    edges = np.flatnonzero([True, *(one != other for one, other in pairwise(names)), True])
    for begin, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        node = names[begin]
        made = _tallies_of(node, days[begin:end], schedules.get(node, []), records, codes)
        tables.append(made[0])
        reasons.append(made[1])
    connection.execute("DELETE FROM tally USING todo t WHERE tally.node = t.node AND tally.day = t.day")
    connection.execute("DELETE FROM tally_reason r USING todo t WHERE r.node = t.node AND r.day = t.day")
    for name, made_of in (("tally", tables), ("tally_reason", reasons)):
        connection.register("made", pa.concat_tables(made_of))
        connection.execute(f"INSERT INTO {name} BY NAME FROM made")
        connection.unregister("made")
    if (records.run != 0).any():
        _mark_twice(connection)
    connection.execute("DELETE FROM stale s USING todo t WHERE s.node = t.node AND s.day = t.day")


def _last(part: pa.Table) -> int:
    return int(pc.max(part["day"]).as_py())


def _mark_twice(connection: duckdb.DuckDBPyConnection) -> None:
    """A run that the archive has twice counts once: days that have one of these are not plain."""
    connection.execute(
        """UPDATE tally SET plain = false FROM (
             SELECT DISTINCT s.node, CAST(s.moment // 86400 AS INTEGER) AS day FROM slot s JOIN (
               SELECT node, run FROM slot WHERE run IS NOT NULL AND node IN (SELECT node FROM todo)
               GROUP BY ALL HAVING count(*) > 1) twice ON s.node = twice.node AND s.run = twice.run) found
           WHERE tally.node = found.node AND tally.day = found.day"""
    )


def _reason_codes(connection: duckdb.DuckDBPyConnection, texts: list[str]) -> Numbers:
    """The numbers by which tallies know reasons; new ones are given to new reasons."""
    known = dict(connection.execute("SELECT text, code FROM reason").fetchall())
    new = [(len(known) + place, text) for place, text in enumerate(text for text in texts if text not in known)]
    if new:
        connection.executemany("INSERT INTO reason (code, text) VALUES (?, ?)", new)
    known |= {text: code for code, text in new}
    return np.array([known[text] for text in texts] + [-1], "i2")  # the last one is that of no reason


def _tallies_of(
    node: str, days: Numbers, history: registry.History, records: slots.Records, codes: Numbers
) -> tuple[pa.Table, pa.Table]:
    """The tallies of some days of a node, and how often each reason was given on each."""
    own = records.of_node(node)
    breaks = np.flatnonzero(np.diff(days) != 1) + 1
    runs = [(int(some[0]) * DAY, int(some[-1] + 1) * DAY) for some in np.split(days, breaks)]
    expected = np.concatenate([slots.expected(history, *within) for within in runs])
    strip = slots.strip_of(node, "", expected, own, float("inf"), records)
    of, extra = np.searchsorted(days, strip.at // DAY), np.searchsorted(days, strip.unscheduled_at // DAY)
    count = len(days)
    counts = np.bincount(of * len(CODES) + strip.status, minlength=count * len(CODES)).reshape(count, len(CODES))
    columns: dict[str, Any] = {name: counts[:, CODES[name]] for name in COUNTED}
    columns |= ends_of(strip, of, count)
    by_day = np.argsort(extra, kind="stable")
    failed = strip.unscheduled_status == CODES["failed"]
    columns |= {"expected": counts.sum(axis=1), "unscheduled": np.bincount(extra, minlength=count)}
    columns |= {"unscheduled_failed": np.bincount(extra[failed], minlength=count)}
    offsets = _offsets(columns["unscheduled"])
    reason = codes[np.where(strip.status == MISSED, -1, strip.reason)]
    table = {
        **{name: pa.array(values, pa.int32()) for name, values in columns.items()},
        **_of_records(days, own, records),
        "node": pa.array([node] * count, pa.string()),
        "day": pa.array(days, pa.int32()),
        "status": _bytes(strip.status.astype("i1"), _offsets(columns["expected"])),
        "reason": _bytes(reason, _offsets(columns["expected"])),
        "extra_at": pa.ListArray.from_arrays(
            pa.array(offsets, pa.int32()), pa.array(strip.unscheduled_at[by_day], pa.int64())
        ),
        "extra_status": _bytes(strip.unscheduled_status[by_day].astype("i1"), offsets),
    }
    made = pa.table(table).filter(pa.array(columns["expected"] + columns["unscheduled"] > 0))
    return made, _reasons_of(node, days, of, reason)


def _reasons_of(node: str, days: Numbers, of: Numbers, reason: Numbers) -> pa.Table:
    """How often each reason was given on each day; of each slot `of` is the place of its day, `reason` -1 for none."""
    given = np.flatnonzero(reason >= 0)
    keys, numbers = np.unique(of[given] * 2**15 + reason[given], return_counts=True)
    return pa.table(
        {
            "node": pa.array([node] * len(keys), pa.string()),
            "day": pa.array(days[keys // 2**15], pa.int32()),
            "code": pa.array(keys % 2**15, pa.int16()),
            "count": pa.array(numbers, pa.int32()),
        }
    )


def _offsets(lengths: Numbers) -> Numbers:
    return np.concatenate([[0], np.cumsum(lengths)])


def _bytes(values: Numbers, offsets: Numbers) -> pa.Array:
    """Some of the values in each row, as bytes."""
    places = pa.py_buffer((offsets * values.itemsize).astype("i4").tobytes())
    return pa.Array.from_buffers(pa.binary(), len(offsets) - 1, [None, places, pa.py_buffer(values.tobytes())])


def ends_of(strip: slots.Strip, of: Numbers, count: int) -> dict[str, Numbers]:
    """Of each day: slots in a row without a measurement at its begin and at its end, and its outages between these.

    A day without a measurement has all of them at both. An outage has two slots at least here; what was skipped neither
    makes nor ends one.
    """
    downs = slots.is_down(strip.status)
    tried = np.flatnonzero(downs | slots.is_measured(strip.status))
    day, down = of[tried], downs[tried]
    new_day = np.diff(day, prepend=-1) != 0
    begins = np.flatnonzero(new_day | np.diff(down, prepend=False))
    lengths = np.diff(np.append(begins, len(tried)))
    is_first = new_day[begins]
    is_last = np.append(is_first[1:], True)[: len(begins)]
    is_down = down[begins]
    found = {"down_first": np.zeros(count, "i8"), "down_last": np.zeros(count, "i8")}
    for name, which in (("down_first", is_first & is_down), ("down_last", is_last & is_down)):
        found[name][day[begins[which]]] = lengths[which]
    inner = is_down & ~is_first & ~is_last & (lengths >= slots.FEWEST_SLOTS)
    found["outages"] = np.bincount(day[begins[inner]], minlength=count)
    return found


def _of_records(days: Numbers, own: Numbers, records: slots.Records) -> dict[str, pa.Array]:
    """Of each day: its first record's start (ms) and location, whether there are others, and whether it is plain."""
    day = np.searchsorted(days, records.moment[own] // DAY)
    started, place = records.started[own], records.place[own]
    order = np.lexsort((np.arange(len(own)), day))
    firsts = order[np.flatnonzero(np.diff(day[order], prepend=-1))]  # records are in the order of their start
    first = np.full(len(days), -1, "i8")
    location = np.full(len(days), -1, "i8")
    first[day[firsts]], location[day[firsts]] = started[firsts], place[firsts]
    mixed = np.bincount(day[place != location[day]], minlength=len(days)) > 0
    far = np.abs(started - records.moment[own] * 1000) > DAY * 1000
    return {
        "first": pa.array(first, pa.int64(), mask=first < 0),
        "location": pa.array([records.places[at] if at >= 0 else None for at in location.tolist()], pa.string()),
        "mixed": pa.array(mixed),
        "plain": pa.array(np.bincount(day[far], minlength=len(days)) == 0),
    }
