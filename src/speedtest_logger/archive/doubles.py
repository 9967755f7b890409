"""One run of one node counts once: (node, run_id) tells, in whatever month or location of the node the run lies.

The record that came first stands. A later one of the same run is either its repetition, or another record; then
`differences` says in what.

Where a run can lie is bounded. A slot's record starts within a day of its slot, so beside its own month that is a
neighbour's near a month's end, in each location where the node has rows then. A run without a slot can lie in any
month of its node: the nearest are looked through, up to MOST_ROWS rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from speedtest_logger.archive import index, parquet
from speedtest_logger.archive.layout import Layout, month_of
from speedtest_logger.archive.schema import milliseconds, numbered
from speedtest_logger.errors import DamagedFileError
from speedtest_logger.record import COLUMNS, unix_time, utc_text

NEAR_MS = 86_400_000  # how far from its slot a record starts at most
MOST_ROWS = 1_000_000  # of a node's other months that are looked through for runs without a slot
SHOWN = 60  # characters of a value
Places = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Pairs:
    """Rows of runs that are stored already, and beside each the stored row; both with their locations."""

    fresh: pa.Table
    stored: pa.Table


@dataclass(frozen=True)
class Different:
    """A record whose run is there with another content.

    `words` is the SHA-256 of its own raw output, where that is not the stored record's too.
    """

    node: str
    run_id: str
    message: str
    row: dict[str, Any]
    words: str | None = None


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
    return [Pairs(_at(found.fresh, location), _at(found.stored, location)) for found in pairs]


def _at(rows: pa.Table, location: str) -> pa.Table:
    return rows.append_column("location", pa.array([location] * rows.num_rows, pa.string()))


def elsewhere(layout: Layout, batch: pa.Table, known: index.Index, pairs: list[Pairs] | None = None) -> pa.Table:
    """The batch without rows whose run lies in another month or location of its node than the row's own.

    A month that cannot be read any more is passed over: `verify` names it. Raises OSError.
    """
    taken = np.zeros(batch.num_rows, bool)
    left: dict[str, int] = {}
    for file, places in candidates(layout, batch, known).items():
        rows = places[~taken[places]]
        if not len(rows) or not file.exists():
            continue
        with suppress(DamagedFileError):
            taken[rows] = _in_other_file(layout, file, batch.take(pa.array(rows)), left, pairs)
    if not taken.any():
        return batch
    if pairs is not None:
        _in_own_files(layout, batch.filter(pa.array(taken)), pairs)
    return batch.filter(pa.array(~taken))


def _in_own_files(layout: Layout, batch: pa.Table, pairs: list[Pairs]) -> None:
    """Add what is stored in the rows' own months too: an earlier version may have let a run in twice."""
    own, locations = months(milliseconds(batch["started_at"])), batch["location"].to_pylist()
    places: dict[tuple[str, int], list[int]] = {}
    for place, key in enumerate(zip(locations, own.tolist(), strict=True)):
        places.setdefault(key, []).append(place)
    for (location, month), rows in places.items():
        file = layout.month_file(location, 1970 + month // 12, month % 12 + 1)
        if file.exists():
            with suppress(DamagedFileError):
                _in_other_file(layout, file, batch.take(pa.array(rows)), {}, pairs)


def _in_other_file(
    layout: Layout, file: Path, rows: pa.Table, left: dict[str, int], pairs: list[Pairs] | None
) -> Places:
    """Which rows' runs are in a file; `left` is how many rows may still be looked through for each node."""
    source = parquet.ParquetFile(file)
    slots = slots_of(rows) >= 0
    asked = np.ones(rows.num_rows, bool)
    if not slots.all():
        node = rows["node"][int(np.argmin(slots))].as_py()
        left[node] = left.get(node, MOST_ROWS) - source.metadata.num_rows
        if left[node] < 0:
            asked = slots
    known = np.zeros(rows.num_rows, bool)
    rows = rows.filter(pa.array(asked))
    found: list[Pairs] | None = None if pairs is None else []
    if rows.num_rows:
        known[asked] = look(source, rows, dict.fromkeys(_near(source, rows)), found)
    if pairs is not None and found:
        location, *_ = month_of(layout.name(file))
        pairs += [Pairs(pair.fresh, _at(pair.stored, location)) for pair in found]
    return known


def _near(source: parquet.ParquetFile, rows: pa.Table) -> Iterator[int]:
    """The row groups of a file that can hold the rows' runs."""
    slots = slots_of(rows)
    if (slots < 0).any():
        yield from range(source.num_row_groups)
        return
    first, last = (float(end) / 1000 for end in _span(slots))
    for number in range(source.num_row_groups):
        ends = parquet.ends(source.metadata, "started_at", number, number + 1)
        if ends is None or (ends[0].timestamp() <= last and ends[1].timestamp() >= first):
            yield number


def slots_of(rows: pa.Table) -> Places:
    """Near what time (ms) a row's run lies: its slot; -1 where it has none and can lie anywhere.

    What was imported has its start: that is what its run is named for.
    """
    starts = pc.if_else(pc.equal(rows["runtime"], "imported"), rows["started_at"], None)
    return milliseconds(pc.fill_null(pc.coalesce(rows["scheduled_at"], starts).cast(pa.int64()), -1))


def _span(slots: Places) -> tuple[int, int]:
    return slots.min() - NEAR_MS, slots.max() + NEAR_MS


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


def months(times: Places) -> Places:
    """Months since January 1970 of times in ms."""
    found: Places = times.astype("i8").astype("M8[ms]").astype("M8[M]").astype("i8")
    return found


def different(pairs: list[Pairs], batch: Split) -> list[Different]:
    """The records that are not what is stored of their run.

    One that came twice in the batch is compared with its first row only where nothing was stored before.
    """
    found: dict[tuple[str, str], Different] = {}
    same: set[tuple[str, str]] = set()
    for pair in pairs:
        other = differences(pair)
        for place, key in enumerate(keys(pair.fresh)):
            if place in other:
                found.setdefault(key, other[place])
            else:
                same.add(key)
    return [record for key, record in found.items() if key not in same] + _repeated(pairs, batch)


def _repeated(pairs: list[Pairs], batch: Split) -> list[Different]:
    """Those among the rows whose run came further up in the batch."""
    rows = batch.repeats
    if not rows.num_rows:
        return []
    found: dict[int, Different] = {}
    judged, same = np.zeros(rows.num_rows, bool), np.zeros(rows.num_rows, bool)
    for pair in pairs:
        places, stored = matches(rows, pair.stored)
        other = differences(Pairs(rows.take(pa.array(places)), pair.stored.take(pa.array(stored))))
        judged[places] = True
        same[np.delete(places, list(other))] = True
        for place, record in other.items():
            found.setdefault(int(places[place]), record)
    rest = np.flatnonzero(~judged)
    firsts = differences(Pairs(rows.take(pa.array(rest)), batch.firsts.take(pa.array(batch.of[rest]))))
    return [*(record for place, record in found.items() if not same[place]), *firsts.values()]


def differences(pairs: Pairs) -> dict[int, Different]:
    """The pairs of two different records, by their places. A column that one of them does not have is NULL there."""
    known = set(pairs.fresh.column_names) | set(pairs.stored.column_names)
    names = [*(name for name in COLUMNS if name in known), *sorted(known - set(COLUMNS) - {"day"})]
    other = {name: mask for name in names if (mask := _differs(pairs, name)).any()}
    found: dict[int, Different] = {}
    for place in np.flatnonzero(np.any(list(other.values()), axis=0)).tolist() if other else []:
        row, stands = (table.slice(place, 1).to_pylist()[0] for table in (pairs.fresh, pairs.stored))
        first, *others = [name for name, mask in other.items() if mask[place]]
        message = f"{first} is {_shown(row.get(first))}, in the record that stands {_shown(stands.get(first))}"
        if others:
            message += f"; {', '.join(others)} differ{'s' * (len(others) == 1)} too"
        words = row.get("raw_sha256") if row.get("raw_sha256") != stands.get("raw_sha256") else None
        found[place] = Different(row["node"], row["run_id"], message, _as_line(row), words)
    return found


def _differs(pairs: Pairs, name: str) -> Places:
    """Which pairs have different values in a column."""
    if name not in pairs.fresh.column_names or name not in pairs.stored.column_names:
        only = pairs.fresh if name in pairs.fresh.column_names else pairs.stored
        filled: Places = only[name].is_valid().to_numpy().astype(bool)
        return filled
    one = pairs.fresh[name]
    two = pairs.stored[name].cast(one.type)
    unlike = pc.fill_null(pc.not_equal(one, two), False)
    if pa.types.is_floating(one.type):  # what is no number is like itself
        unlike = pc.and_(unlike, pc.invert(pc.fill_null(pc.and_(pc.is_nan(one), pc.is_nan(two)), False)))
    mask: Places = pc.or_(unlike, pc.not_equal(one.is_valid(), two.is_valid())).to_numpy().astype(bool)
    return mask


def _as_line(row: dict[str, Any]) -> dict[str, Any]:
    """A row as nodes deliver it."""
    texts = {name: utc_text(row[name].timestamp()) for name, kind in COLUMNS.items() if kind == "time" and row[name]}
    return {name: value for name, value in {**row, **texts}.items() if value is not None and name != "day"}


def _shown(value: Any) -> str:
    text = utc_text(value.timestamp()) if hasattr(value, "timestamp") else "empty" if value is None else str(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
