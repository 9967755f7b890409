"""Where a run can lie beside its record's own month.

A slot's record starts within a day of its slot, so beside its own month that is a neighbour's near a month's end, in
each location where the node has rows then. A run without a slot can lie in any month of its node.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.format.runs import Places
from speedtest_logger.archive.format.schema import milliseconds, months, numbered
from speedtest_logger.archive.ledger import index
from speedtest_logger.record import unix_time

NEAR_MS = 86_400_000  # how far from its slot a record starts at most


def slots_of(rows: pa.Table) -> Places:
    """Near what time (ms) a row's run lies: its slot; -1 where it has none and can lie anywhere.

    What was imported has its start: that is what its run is named for.
    """
    starts = pc.if_else(pc.equal(rows["runtime"], "imported"), rows["started_at"], None)
    return milliseconds(pc.fill_null(pc.coalesce(rows["scheduled_at"], starts).cast(pa.int64()), -1))


def candidates(layout: Layout, batch: pa.Table, known: index.Index) -> dict[Path, Places]:
    """The files that can hold runs of the batch beside the rows' own, and the places of the rows in question.

    Mostly there are none: a node has one location, and it is not a month's first or last day.
    """
    numbers, nodes = numbered(batch["node"])
    stored = [known.nodes.get(node, {}) for node in nodes]
    if not any(stored):
        return {}
    places, names = numbered(batch["location"])
    own = months(milliseconds(batch["started_at"]))
    slots = slots_of(batch)
    around = np.stack([own, months(slots - NEAR_MS), months(slots + NEAR_MS)])
    only = [names.index(next(iter(at))) if len(at) == 1 and next(iter(at)) in names else -1 for at in stored]
    at_home = (np.array(only)[numbers] == places) & (around == own).all(axis=0) & (slots >= 0)
    asked = ~at_home & np.array([bool(at) for at in stored])[numbers]
    found: dict[Path, list[Places]] = {}
    for number in np.unique(numbers[asked]):
        rows = np.flatnonzero(asked & (numbers == number))
        for location, ends in stored[number].items():
            here = names.index(location) if location in names else -1
            of_node = _OfNode(own[rows], around[:, rows], places[rows] == here, slots[rows])
            for month, of in _rows_by_month(ends, of_node):
                file = layout.month_file(location, 1970 + month // 12, month % 12 + 1)
                found.setdefault(file, []).append(rows[of])
    return {file: np.unique(np.concatenate(rows)) for file, rows in found.items()}


@dataclass(frozen=True)
class _OfNode:
    """A node's rows: own months, those that a run can lie in, whether of the location in question, slots (ms or -1)."""

    own: Places
    around: Places
    at_home: Places
    slots: Places


def _rows_by_month(ends: list[str], rows: _OfNode) -> Iterator[tuple[int, Places]]:
    """Months of a location (from its first to its last start) and which rows' runs they can hold; nearest first."""
    times = np.array([unix_time(end) * 1000 for end in ends])
    first, last = (int(month) for month in months(times))
    without_slot = rows.slots < 0
    near = (rows.slots + NEAR_MS >= times[0]) & (rows.slots - NEAR_MS <= times[1]) & ~without_slot
    wanted = {int(month) for month in np.unique(rows.around[:, near])}
    if without_slot.any():
        wanted |= set(range(first, last + 1))
    middle = int(np.median(rows.own))
    for month in sorted(wanted, key=lambda month: abs(month - middle)):
        can = without_slot | (near & (rows.around == month).any(axis=0))
        found = np.flatnonzero(can & ~(rows.at_home & (rows.own == month)))
        if first <= month <= last and len(found):
            yield month, found
