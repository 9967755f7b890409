"""One run of one node counts once: (node, run_id) tells, in whatever month or location of the node the run lies.

The record that came first stands. A later one of the same run is either its repetition, or another record; then
`differences` says in what.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from speedtest_logger.archive.arrive.aside import Different
from speedtest_logger.archive.format import parquet, runs
from speedtest_logger.archive.format.layout import Layout, month_of
from speedtest_logger.archive.format.runs import Pairs, Places, Split, at, keys, matches
from speedtest_logger.archive.format.schema import milliseconds, months
from speedtest_logger.archive.ledger import index
from speedtest_logger.archive.ledger.places import NEAR_MS, candidates, slots_of
from speedtest_logger.errors import DamagedFileError
from speedtest_logger.record import COLUMNS, utc_text

MOST_ROWS = 1_000_000  # of a node's other months that are looked through for runs without a slot
SHOWN = 60  # characters of a value


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
        known[asked] = runs.look(source, rows, dict.fromkeys(_near(source, rows)), found)
    if pairs is not None and found:
        location, *_ = month_of(layout.name(file))
        pairs += [Pairs(pair.fresh, at(pair.stored, location)) for pair in found]
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


def _span(slots: Places) -> tuple[int, int]:
    return slots.min() - NEAR_MS, slots.max() + NEAR_MS


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
        message = f"{first} is {_shown(row.get(first))}, in the stored record {_shown(stands.get(first))}"
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
