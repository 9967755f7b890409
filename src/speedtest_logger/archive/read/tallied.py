"""What the tables of tallies say, in memory until they change: all counts, and slots of days asked about lately.

A day that is over changes seldom, and whoever looks at a page asks for it anew with each delivery: so the database is
asked for the running day alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import duckdb
import numpy as np
import pyarrow as pa

from speedtest_logger.archive.format.schema import numbered, rows_by_text
from speedtest_logger.archive.read import tally
from speedtest_logger.archive.read.kept_slots import KeptSlots
from speedtest_logger.archive.read.rollup import COUNTS, Rollups
from speedtest_logger.archive.read.slots import Numbers
from speedtest_logger.archive.read.tally import Histories


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


@dataclass(frozen=True)
class Known:
    """What is known of rollups: for which number, running day and schedules all days were counted, and the tallies."""

    fresh: tuple[int, int, str] | None = None
    tallied: Tallied | None = None


_known: WeakKeyDictionary[Rollups, Known] = WeakKeyDictionary()


def is_fresh(
    rollups: Rollups, connection: duckdb.DuckDBPyConnection, version: int, schedules: Histories, now: float
) -> bool:
    """As `tally.is_fresh` of what a connection sees, which began to look after `version` was read."""
    at = (version, tally.open_day(now), tally.fingerprint(schedules))
    known = _known.get(rollups, Known())
    is_of_version = version % 2 == 0 and rollups.version == version
    if is_of_version and known.fresh == at:
        return True
    fresh = tally.is_fresh(connection, schedules, now)
    if fresh and is_of_version:
        _known[rollups] = Known(at, known.tallied)
    return fresh


def tallied(rollups: Rollups, connection: duckdb.DuckDBPyConnection, number: int) -> Tallied:
    """The tallies of what a connection sees, which began to look after `number` (Rollups.tallied) was read."""
    known = _known.get(rollups, Known())
    is_of_number = number % 2 == 0 and rollups.tallied == number
    if is_of_number and known.tallied and known.tallied.number == number:
        return known.tallied
    found = Tallied.of(connection, number)
    if is_of_number:
        _known[rollups] = Known(known.fresh, found)
    return found
