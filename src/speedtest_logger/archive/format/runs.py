"""One run of one node, in tables and row groups: (node, run_id) tells runs apart, never the run_id alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from speedtest_logger.archive.format import parquet

Places = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Pairs:
    """Rows of runs that are stored already, and beside each the stored row; both with their locations."""

    fresh: pa.Table
    stored: pa.Table


@dataclass(frozen=True)
class Split:
    """A batch's first row of each run, the rows that came again, and the place of the first one for each of these."""

    firsts: pa.Table
    repeats: pa.Table
    of: Places = field(default_factory=lambda: np.zeros(0, "i8"))


def keys(table: pa.Table) -> list[tuple[str, str]]:
    """What tells runs apart."""
    return list(zip(table["node"].to_pylist(), table["run_id"].to_pylist(), strict=True))


def split(batch: pa.Table) -> Split:
    """The batch's rows by whether their run came further up."""
    if pc.count_distinct(batch["run_id"]).as_py() == batch.num_rows:
        return Split(batch, batch.slice(0, 0))
    firsts: dict[tuple[str, str], int] = {}
    again, of = [], []
    for place, key in enumerate(keys(batch)):
        if key in firsts:
            again.append(place)
            of.append(firsts[key])
        else:
            firsts[key] = place - len(again)
    if not again:  # two nodes with one run_id
        return Split(batch, batch.slice(0, 0))
    kept = np.delete(np.arange(batch.num_rows), again)
    return Split(batch.take(pa.array(kept)), batch.take(pa.array(again)), np.array(of))


def first_of_each_run(batch: pa.Table) -> pa.Table:
    """The batch without rows whose run came further up."""
    return split(batch).firsts


def matches(fresh: pa.Table, stored: pa.Table) -> tuple[Places, Places]:
    """Places in both tables of rows that are of one run, each row of `fresh` at most once."""
    known: dict[tuple[str, str], int] = {}
    for place, key in enumerate(keys(stored)):
        known.setdefault(key, place)
    found = [(place, known[key]) for place, key in enumerate(keys(fresh)) if key in known]
    both = np.array(found, "i8").reshape(-1, 2)
    return both[:, 0], both[:, 1]


def there(runs: pa.Array, stored: pa.ChunkedArray) -> pa.Array:
    """Which of some run_ids are among others, whoever's they are."""
    if len(runs) * 10 < len(stored):  # a small table to look things up in is made sooner than a large one
        stored = stored.filter(pc.is_in(stored, value_set=runs))
    return pc.is_in(runs, value_set=stored)


def look(
    source: parquet.ParquetFile, fresh: pa.Table, groups: Mapping[int, pa.Table | None], pairs: list[Pairs] | None
) -> Places:
    """Which of the fresh rows (a mask) are of runs in a file's row groups, by number: as read already, or None.

    With a list of pairs, each such row is put there beside the stored one.
    """
    runs = fresh["run_id"].combine_chunks()
    known = np.zeros(len(runs), bool)
    for number, group in groups.items():
        ids = source.read_row_group(number, ["run_id"], use_threads=False) if group is None else group
        hits = there(runs, ids["run_id"])
        if not pc.any(hits, min_count=0).as_py():
            continue
        columns = ["node", "run_id"] if pairs is None else None
        rows = source.read_row_group(number, columns, use_threads=False) if group is None else group
        rows = rows.filter(pc.is_in(rows["run_id"], value_set=runs))
        ours = np.flatnonzero(hits.to_numpy(zero_copy_only=False))
        places, stored = matches(fresh.take(pa.array(ours)), rows)
        known[ours[places]] = True
        if pairs is not None and len(places):
            pairs.append(Pairs(fresh.take(pa.array(ours[places])), rows.take(pa.array(stored))))
    return known


def located(pairs: list[Pairs], location: str) -> list[Pairs]:
    """The pairs of a month's own rows, which do not say their location."""
    return [Pairs(at(found.fresh, location), at(found.stored, location)) for found in pairs]


def at(rows: pa.Table, location: str) -> pa.Table:
    """A month's rows with their location."""
    return rows.append_column("location", pa.array([location] * rows.num_rows, pa.string()))
