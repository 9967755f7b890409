"""What the tables of tallies say: the days that a question is about, and facts that hold until the tables change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from speedtest_logger.archive.format.schema import numbered
from speedtest_logger.archive.read import tally
from speedtest_logger.archive.read.coverage import GRACE_SECONDS
from speedtest_logger.archive.read.rollup import Rollups
from speedtest_logger.archive.read.slots import DAY, Scope
from speedtest_logger.archive.read.tally import Histories

FACTS = ("node", "day", "location", "mixed", "plain", "first")
FEW_NODES = 8  # that are asked for one by one: so the database passes over all others, which it does with no list


@dataclass(frozen=True)
class Question:
    """What is asked: a period (Unix time, s), of which nodes, by which schedules; a slot after `late` is pending."""

    period: tuple[float, float]
    scope: Scope
    schedules: Histories
    late: float

    @classmethod
    def of(cls, schedules: Histories, period: tuple[float, float], scope: Scope, now: float) -> Question:
        """The question at a time (Unix time, s)."""
        return cls(period, scope, schedules, now - GRACE_SECONDS)

    def days(self) -> tuple[int, int]:
        """The first whole day (since 1970, UTC) of the period, and the one after the last that is over."""
        start, end = self.period
        first = int(-(-start // DAY))
        return first, max(first, int(min(end, self.late) // DAY))

    def edges(self) -> list[tuple[float, float]]:
        """What of the period lies before and after its whole days (Unix time, s)."""
        (start, end), (first, last) = self.period, self.days()
        return [(start, first * DAY), (last * DAY, end)]


@dataclass(frozen=True)
class Facts:
    """What is true of the tables until they change: whether each day is counted, by which schedules, and for what.

    `places`: the nodes that have days of a location; `mixed`: those that have a day of several.
    """

    at: tuple[int, int, str]
    fresh: bool
    reasons: list[str]
    places: dict[str, set[str]]
    mixed: set[str]

    @classmethod
    def of(cls, connection: duckdb.DuckDBPyConnection, at: tuple[int, int, str], *, fresh: bool) -> Facts:
        """What the tables say as a connection has them."""
        reasons = [text for (text,) in connection.execute("SELECT text FROM reason ORDER BY code").fetchall()]
        places: dict[str, set[str]] = {}
        mixed = set()
        for node, place, is_mixed in connection.execute("SELECT DISTINCT node, location, mixed FROM tally").fetchall():
            places.setdefault(place, set()).add(node)
            mixed |= {node} if is_mixed else set()
        return cls(at, fresh, reasons, places, mixed)


def facts_of(
    rollups: Rollups, connection: duckdb.DuckDBPyConnection, version: int, schedules: Histories, now: float
) -> Facts:
    """The facts of what a connection sees, which began to look after `version` was read."""
    at = (version, tally.open_day(now), tally.fingerprint(schedules))
    is_of_version = version % 2 == 0 and rollups.version == version
    known = _known.get(rollups)
    if known and known.at == at and is_of_version:
        return known
    found = Facts.of(connection, at, fresh=tally.is_fresh(connection, schedules, now))
    if is_of_version:
        _known[rollups] = found
    return found


_known: WeakKeyDictionary[Rollups, Facts] = WeakKeyDictionary()


def reasons_of(connection: duckdb.DuckDBPyConnection, question: Question, names: list[str]) -> pa.Table:
    """How often nodes gave which reason on which day."""
    first, last = question.days()
    sql = """SELECT node, day, code, count FROM tally_reason
             WHERE day >= $first AND day < $last AND list_contains($names, node)"""
    return connection.sql(sql, params={"first": first, "last": last, "names": names}).to_arrow_table()


def days_of(
    connection: duckdb.DuckDBPyConnection, question: Question, names: set[str], columns: tuple[str, ...], facts: Facts
) -> pa.Table:
    """The tallies of nodes that are asked about, by node and day."""
    scope, (first, last) = question.scope, question.days()
    given: dict[str, Any] = {"first": first, "last": last}
    some = None
    if scope.node is not None:
        some = [scope.node]
    elif scope.location is not None:
        some = sorted(names | facts.mixed | facts.places.get(scope.location, set()))
    sql = f"SELECT {', '.join(columns)} FROM tally WHERE day >= $first AND day < $last"
    if some is not None and 0 < len(some) <= FEW_NODES:
        given |= {f"node{number}": name for number, name in enumerate(some)}
        sql = " UNION ALL ".join(f"{sql} AND node = $node{number}" for number in range(len(some)))
    elif some is not None:
        given["names"] = some
        sql += " AND list_contains($names, node)"
    found = _by_node_and_day(connection.sql(sql, params=given).to_arrow_table())
    if scope.location is None or names.issuperset(some or ()):
        return found
    here = pc.or_(pc.fill_null(pc.equal(found["location"], scope.location), fill_value=False), found["mixed"])
    return found.filter(pc.or_(here, pc.is_in(found["node"], value_set=pa.array(sorted(names), pa.string()))))


def _by_node_and_day(days: pa.Table) -> pa.Table:
    """Rows in that order; most often they are in it already, and DuckDB would carry all their bytes about."""
    numbers, _ = numbered(days["node"])
    steps = np.diff(numbers)
    in_order = (steps >= 0).all() and (np.diff(days["day"].to_numpy())[steps == 0] > 0).all()
    return days if in_order else days.sort_by([("node", "ascending"), ("day", "ascending")])
