"""What the tables of tallies say, in memory until they change: all counts, and slots of days asked about lately.

A day that is over changes seldom, and whoever looks at a page asks for it anew with each delivery: so the database is
asked for the running day alone.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import duckdb
import numpy as np
import pyarrow as pa

from speedtest_logger.archive.format.schema import numbered, rows_by_text
from speedtest_logger.archive.read import tally
from speedtest_logger.archive.read.kept_slots import KeptSlots, Slots
from speedtest_logger.archive.read.rollup import COUNTS, Rollups
from speedtest_logger.archive.read.slots import DAY, Numbers, Scope, rows_of
from speedtest_logger.archive.read.tally import Histories

EVER = (0, 2**40)  # Unix times (s) that every record lies between
MOST_SCOPES, MOST_BYTES = 32, 16_000_000  # whose running days are kept, and of these
_lock = threading.Lock()
_reading = threading.Lock()  # all tallies of a large fleet are read by one thread at a time


@dataclass(frozen=True)
class Days:
    """A table by node and day (since 1970): each node's rows, and the columns."""

    rows: dict[str, tuple[int, int]]
    columns: dict[str, Numbers]

    @classmethod
    def of(cls, table: pa.Table) -> Days:
        """The same from a table in this order."""
        names = [name for name in table.column_names if name != "node"]
        return cls(rows_by_text(table["node"]), {name: table[name].to_numpy() for name in names})

    def __getitem__(self, name: str) -> Numbers:
        """A column."""
        return self.columns[name]

    def within(self, node: str, first: int, last: int) -> slice:
        """A node's rows from a day on to before another one."""
        begin, end = self.rows.get(node, (0, 0))
        start, stop = np.searchsorted(self["day"][begin:end], (first, last)).tolist()
        return slice(begin + start, begin + stop)


@dataclass(frozen=True)
class Tallied:
    """All tallies, as they were when Rollups.tallied was a number.

    `days` has place (numbers of `places`, -1 where the day has no record), mixed and plain; `counts` a row for each of
    its rows and a column for each of COUNTS. `given`: day, code (numbers of `reasons`) and count of the reasons that
    were given. `nodes_at`: nodes with days of a location; `mixed`: those with a day of several.
    """

    number: int
    days: Days
    counts: Numbers
    places: list[str]
    given: Days
    reasons: list[str]
    nodes_at: dict[str, set[str]]
    mixed: set[str]
    slots: KeptSlots = field(default_factory=KeptSlots)

    @classmethod
    def of(cls, connection: duckdb.DuckDBPyConnection, number: int) -> Tallied:
        """What the tables say as a connection has them."""
        reasons = [text for (text,) in connection.execute("SELECT text FROM reason ORDER BY code").fetchall()]
        given = connection.sql("FROM tally_reason ORDER BY node, day").to_arrow_table()
        sql = f"SELECT node, day, location, mixed, plain, {', '.join(COUNTS)} FROM tally ORDER BY node, day"
        rows = connection.sql(sql).to_arrow_table()
        place, places = numbered(rows["location"])
        place = np.where(np.array([text is None for text in places], bool)[place], -1, place)
        days = Days.of(rows.select(["node", "day", "mixed", "plain"]))
        days.columns["place"] = place
        nodes_at: dict[str, set[str]] = {}
        for node, (begin, end) in days.rows.items():
            for text in {places[each] for each in np.unique(place[begin:end]).tolist() if each >= 0}:
                nodes_at.setdefault(text, set()).add(node)
        mixed = {node for node, (begin, end) in days.rows.items() if days["mixed"][begin:end].any()}
        counts = np.stack([rows[name].to_numpy() for name in COUNTS], axis=1)
        return cls(number, days, counts, places, Days.of(given), reasons, nodes_at, mixed)

    def slots_of(
        self, connection: Callable[[], duckdb.DuckDBPyConnection], nodes: Iterable[str], first: int, last: int
    ) -> dict[str, list[Slots]]:
        """As KeptSlots.of: of the days in a period that nodes have, of those that have some."""
        day, rows = self.days["day"], {node: self.days.within(node, first, last) for node in nodes}
        there = {node: own for node, own in rows.items() if own.start < own.stop}
        return self.slots.of(connection, {n: (int(day[r.start]), int(day[r.stop - 1]) + 1) for n, r in there.items()})


@dataclass
class Known:
    """What is in memory of rollups: of one version the running day's records by scope, and the tallies.

    `fresh`: for which running day and schedules all days before were counted then.
    """

    version: int = -1
    fresh: tuple[int, str] | None = None
    running: OrderedDict[tuple[Scope, int], pa.Table] = field(default_factory=OrderedDict)
    tallied: Tallied | None = None


_known: WeakKeyDictionary[Rollups, Known] = WeakKeyDictionary()


class ChangedError(Exception):
    """The tables are others than those of which something was taken from memory."""


class View:
    """The tables as they are at one moment: from memory, and by a connection to which nothing changes."""

    def __init__(self, rollups: Rollups, *, remembers: bool = True) -> None:
        """Begin to look; `remembers`: what is in memory may be taken from there."""
        self._rollups, self._remembers, self._took = rollups, remembers, False
        self._version, self._number = rollups.version, rollups.tallied
        self._connection: duckdb.DuckDBPyConnection | None = None
        known = _known.get(rollups)
        if known is None or known.version != self._version:
            known = Known(self._version, tallied=known.tallied if known else None)
        self._known = known

    def __enter__(self) -> View:
        """The same."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the connection."""
        if self._connection:
            self._connection.close()

    def connection(self) -> duckdb.DuckDBPyConnection:
        """The connection. Raises ChangedError."""
        if self._connection is None:
            self._connection = self._rollups.reading()
            self._connection.execute("BEGIN")
            self._connection.execute("SELECT 1 FROM about LIMIT 1").fetchall()  # nothing changes from here on
            if self._took and not self._is_current():
                raise ChangedError
        return self._connection

    def _is_current(self) -> bool:
        return self._version % 2 == 0 and self._rollups.version == self._version

    def _take(self, kept: object) -> bool:
        """Whether something that is in memory is to be taken."""
        taken = kept is not None and self._remembers and self._is_current()
        self._took |= taken
        return taken

    def _keep(self) -> bool:
        """Whether what was read by the connection is to be kept."""
        if self._is_current():
            _known[self._rollups] = self._known
            return True
        return False

    def is_fresh(self, schedules: Histories, now: float) -> bool:
        """As `tally.is_fresh`."""
        at = (tally.open_day(now), tally.fingerprint(schedules))
        if self._known.fresh == at and self._take(at):
            return True
        fresh = tally.is_fresh(self.connection(), schedules, now)
        if fresh and self._keep():
            self._known.fresh = at
        return fresh

    def running(self, scope: Scope, day: int) -> pa.Table:
        """Rows of `slot` that are of a day or a later one."""
        rows = self._known.running.get((scope, day))
        if rows is not None and self._take(rows):
            return rows
        rows = rows_of(self.connection(), EVER, (day * DAY, EVER[1]), scope)
        if rows.nbytes <= MOST_BYTES and self._keep():
            with _lock:
                kept = self._known.running
                kept[scope, day] = rows
                while len(kept) > MOST_SCOPES or sum(each.nbytes for each in kept.values()) > MOST_BYTES:
                    kept.popitem(last=False)
        return rows

    def tallied(self) -> Tallied:
        """The tallies."""
        known = self._known.tallied
        if known and known.number == self._number and self._take(known):
            return known
        with _reading:
            connection, kept = self.connection(), _known.get(self._rollups)
            lasts = self._number % 2 == 0 and self._rollups.tallied == self._number  # so these are what it sees
            if lasts and kept and kept.tallied and kept.tallied.number == self._number:
                return kept.tallied
            found = Tallied.of(connection, self._number)
            if lasts:
                self._known.tallied = found
                _known[self._rollups] = self._known
            return found
