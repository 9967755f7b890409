"""state/index.json: where each node's rows lie and which columns the files have.

With it a question about one node opens that node's files only, and a dataset whose files all have the same columns is
opened without looking into each. It says nothing that the dataset does not say: `build` makes it anew.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from speedtest_logger.archive.format import parquet
from speedtest_logger.archive.format.layout import Layout, month_of
from speedtest_logger.archive.format.schema import milliseconds, numbered
from speedtest_logger.files import read_bounded, write_durably
from speedtest_logger.record import utc_text

MOST_BYTES = 256_000_000


@dataclass
class Index:
    """Lists of columns that files have; by node and location the first and the last start (ISO 8601, UTC)."""

    columns: list[list[str]] = field(default_factory=list)
    nodes: dict[str, dict[str, list[str]]] = field(default_factory=dict)

    def take(self, rows: pa.Table) -> None:
        """Take nodes and their times in; the same rows twice change nothing."""
        if not rows.num_rows:
            return
        node_numbers, nodes = numbered(rows["node"])
        place_numbers, places = numbered(rows["location"])
        times = milliseconds(rows["started_at"])
        pairs, pair_of_row = np.unique(node_numbers * len(places) + place_numbers, return_inverse=True)
        earliest, latest = np.full(len(pairs), times.max()), np.full(len(pairs), times.min())
        np.minimum.at(earliest, pair_of_row, times)
        np.maximum.at(latest, pair_of_row, times)
        for pair, *ends in zip(pairs.tolist(), earliest.tolist(), latest.tolist(), strict=True):
            known = self.nodes.setdefault(nodes[pair // len(places)], {})
            texts = [utc_text(end / 1000) for end in ends]
            first, last = known.get(places[pair % len(places)], texts)
            known[places[pair % len(places)]] = [min(first, texts[0]), max(last, texts[1])]

    def take_columns(self, names: list[str]) -> None:
        """Take a file's columns in."""
        if names not in self.columns:
            self.columns.append(names)

    def to_json(self) -> str:
        """As it lies on disk."""
        return json.dumps(vars(self), indent=0)


def note(layout: Layout, rows: pa.Table, columns: list[list[str]], index: Index) -> None:
    """Take a batch in that is in the dataset now; `index` is what was known before."""
    index.take(rows)
    for names in columns:
        index.take_columns(names)
    try:
        as_it_was = read_bounded(_file(layout), MOST_BYTES).decode() == index.to_json()
    except (OSError, ValueError):
        as_it_was = False
    if not as_it_was:
        write(layout, index)


def note_file(layout: Layout, file: Path) -> None:
    """Take a file in that came by another way than a batch."""
    index = read(layout)
    _take_file(index, layout, file)
    write(layout, index)


def read(layout: Layout) -> Index:
    """What is known, made from the dataset where it is missing or damaged."""
    try:
        content: dict[str, Any] = json.loads(read_bounded(_file(layout), MOST_BYTES))
        return Index(content["columns"], content["nodes"])
    except (OSError, ValueError, KeyError, TypeError):
        return build(layout)


def build(layout: Layout) -> Index:
    """The index of what the dataset holds."""
    index = Index()
    for file in layout.month_files():
        _take_file(index, layout, file)
    return index


def _take_file(index: Index, layout: Layout, file: Path) -> None:
    source = parquet.ParquetFile(file)
    index.take_columns(source.schema_arrow.names)
    location, _, _ = month_of(layout.name(file))
    for batch in source.iter_batches(columns=["node", "started_at"]):
        rows = pa.Table.from_batches([batch])
        index.take(rows.append_column("location", pa.array([location] * rows.num_rows)))


def write(layout: Layout, index: Index) -> None:
    """Replace the file."""
    write_durably(_file(layout), index.to_json().encode())


def rebuild(layout: Layout) -> None:
    """Make it anew: many files went or came."""
    write(layout, build(layout))


def _file(layout: Layout) -> Path:
    return layout.state / "index.json"
