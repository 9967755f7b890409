"""What became of each slot on days that are over: read by node and month or so, and kept for whoever asks next."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from speedtest_logger.archive.format.schema import rows_by_text
from speedtest_logger.archive.read.slots import Numbers

MOST_BYTES = 16_000_000  # that are kept: a year of some fifty nodes at five minutes
OVERHEAD = 1_300  # bytes that a block takes besides its numbers
BLOCK_DAYS = 32  # of a node that are read at once
FEW_NODES = 8  # that are asked for one by one: so the database passes over all others, which it does with no list
BLOBS = {"status": "i1", "reason": "i2", "extra_status": "i1"}  # columns and the numbers in them
Block = tuple[str, int]  # a node, and which so many days since 1970


@dataclass(frozen=True)
class Slots:
    """What became of a node's slots of some days, and of its records without one.

    Reasons are numbers of Tallied.reasons, -1 for none. Of each day, `slots` and `extra` have the places of the first
    one, and after all days that of the end.
    """

    day: Numbers
    slots: Numbers
    status: Numbers
    reason: Numbers
    extra: Numbers
    extra_at: Numbers
    extra_status: Numbers

    @property
    def nbytes(self) -> int:
        """How much memory this takes, in bytes."""
        return OVERHEAD + sum(int(values.nbytes) for values in vars(self).values())

    def of_days(self, first: int, last: int) -> tuple[Numbers, Numbers, Numbers, Numbers]:
        """Statuses and reasons of the slots of some days, moments and statuses of the records without one."""
        begin, end = np.searchsorted(self.day, (first, last)).tolist()
        slots = slice(self.slots[begin], self.slots[end])
        extra = slice(self.extra[begin], self.extra[end])
        return self.status[slots], self.reason[slots], self.extra_at[extra], self.extra_status[extra]


NOTHING, BEGIN = np.zeros(0, "i8"), np.zeros(1, "i8")
NONE = Slots(NOTHING, BEGIN, NOTHING.astype("i1"), NOTHING.astype("i2"), BEGIN, NOTHING, NOTHING.astype("i1"))


class KeptSlots:
    """Slots of days, as long as there is room; what was not asked for the longest goes. Any thread may ask."""

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._most, self._size = most, 0
        self._kept: OrderedDict[Block, Slots] = OrderedDict()
        self._lock = threading.Lock()

    def of(
        self, connection: Callable[[], duckdb.DuckDBPyConnection], days: Mapping[str, tuple[int, int]]
    ) -> dict[str, list[Slots]]:
        """Slots of nodes' days, from one on to before another, as pieces in their order, of which some have more.

        A connection is asked for where something is to be read.
        """
        wanted = {
            node: [(node, block) for block in range(first // BLOCK_DAYS, (last - 1) // BLOCK_DAYS + 1)]
            for node, (first, last) in days.items()
        }
        keys = [key for of_node in wanted.values() for key in of_node]
        with self._lock:
            found = {key: self._kept[key] for key in keys if key in self._kept}
            for key in found:
                self._kept.move_to_end(key)
        missing = [key for key in keys if key not in found]
        if missing:
            read = _read(connection(), missing)
            found |= read
            self._keep(read)
        return {node: [found[key] for key in of_node] for node, of_node in wanted.items()}

    def _keep(self, read: dict[Block, Slots]) -> None:
        with self._lock:
            new = {key: slots for key, slots in read.items() if key not in self._kept}
            self._kept.update(new)
            self._size += sum(slots.nbytes for slots in new.values())
            while self._size > self._most:
                self._size -= self._kept.popitem(last=False)[1].nbytes


def _read(connection: duckdb.DuckDBPyConnection, missing: list[Block]) -> dict[Block, Slots]:
    """Blocks of nodes, by node and number."""
    nodes = sorted({node for node, _ in missing})
    blocks = [block for _, block in missing]
    given = {"first": min(blocks) * BLOCK_DAYS, "last": (max(blocks) + 1) * BLOCK_DAYS}
    sql = f"SELECT node, day, extra_at, {', '.join(BLOBS)} FROM tally WHERE day >= $first AND day < $last AND "
    asked: list[tuple[str, dict[str, object]]] = [(sql + "list_contains($nodes, node)", {"nodes": nodes})]
    if len(nodes) <= FEW_NODES:
        asked = [(sql + "node = $node", {"node": node}) for node in nodes]
    found = dict.fromkeys(missing, NONE)
    for text, names in asked:
        table = connection.sql(text, params={**given, **names}).to_arrow_table()
        table = table.sort_by([("node", "ascending"), ("day", "ascending")])
        for node, (begin, end) in rows_by_text(table["node"]).items():
            found |= {(node, block): slots for block, slots in _blocks(table.slice(begin, end - begin))}
    return {key: found[key] for key in missing}


def _blocks(rows: pa.Table) -> list[tuple[int, Slots]]:
    """A node's days, in order, by blocks."""
    day = rows["day"].to_numpy()
    cuts = np.flatnonzero(np.diff(day // BLOCK_DAYS)) + 1
    return [
        (int(day[begin]) // BLOCK_DAYS, _slots(rows.slice(begin, end - begin)))
        for begin, end in zip([0, *cuts.tolist()], [*cuts.tolist(), len(day)], strict=True)
    ]


def _slots(rows: pa.Table) -> Slots:
    (status, at), (reason, _), (extra, extra_places) = (_values(rows[name], kind) for name, kind in BLOBS.items())
    day, moments = (np.array(values) for values in (rows["day"], pc.list_flatten(rows["extra_at"])))  # no views
    return Slots(day, at, status, reason, extra_places, moments, extra)


def _values(column: pa.ChunkedArray, kind: str) -> tuple[Numbers, Numbers]:
    """All rows' bytes as numbers, and where those of each row begin; of one row more, where they end."""
    blobs = column.to_pylist()
    values: Numbers = np.frombuffer(b"".join(blobs), kind)
    return values, np.cumsum([0, *(len(blob) // np.dtype(kind).itemsize for blob in blobs)])
