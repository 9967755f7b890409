"""SHA-256 of files, and of rows whatever file they lie in."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from speedtest_logger.files import open_regular


def sha256_of(file: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with open_regular(file) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def is_of(file: Path, sha256: str, size: int | None = None) -> bool:
    """Whether a file can be read, has this size (bytes) where it is known, and this SHA-256 (hexadecimal)."""
    try:
        return size in (None, file.lstat().st_size) and sha256_of(file) == sha256
    except OSError:
        return False


class Canonical:
    """A table's values as bytes that do not depend on what wrote them, for the digest of some of its rows.

    Of each column: a byte per row, 1 where there is a value; then 8-byte little-endian integers (times in ms, dates in
    days), doubles, or 4-byte lengths and the texts' UTF-8. Columns of other types count as text. NULL is 0 or empty.
    """

    def __init__(self, table: pa.Table) -> None:
        self.columns = {
            name: _canonical(table[name].combine_chunks())
            for name in sorted(table.column_names)
            if table[name].null_count < table.num_rows
        }


@dataclass
class _Values:
    """A column: validity, fixed-width values or lengths, and for texts where each begins and all of them."""

    valid: memoryview
    known: np.ndarray[Any, Any] | None  # how many values there are before each row; None where no row lacks one
    values: memoryview
    width: int
    offsets: np.ndarray[Any, Any] | None = None
    texts: memoryview | None = None

    def has_any(self, first: int, last: int) -> bool:
        """Whether one of the rows has a value."""
        return first < last if self.known is None else bool(self.known[first] < self.known[last])

    def update(self, digest: Any, part: int, first: int, last: int) -> None:
        """Add one of the three parts of some rows to a digest."""
        if part == 0:
            digest.update(self.valid[first:last])
        elif part == 1:
            digest.update(self.values[first * self.width : last * self.width])
        elif self.offsets is not None and self.texts is not None:
            digest.update(self.texts[self.offsets[first] : self.offsets[last]])


def _canonical(column: pa.ChunkedArray | pa.Array) -> _Values:
    column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    valid, known, mask = memoryview(b"\1" * len(column)), None, None
    if column.null_count:
        mask = column.is_valid().to_numpy(zero_copy_only=False)
        valid, known = mask.view("u1").data, np.concatenate([[0], np.cumsum(mask, dtype="i8")])
    kind = column.type
    if pa.types.is_floating(kind):
        return _Values(valid, known, _fixed(_as(column, pa.float64()), "<f8", mask), 8)
    if pa.types.is_timestamp(kind):
        return _Values(valid, known, _fixed(column.view(pa.int64()), "<i8", mask), 8)
    if pa.types.is_integer(kind):
        return _Values(valid, known, _fixed(_as(column, pa.int64()), "<i8", mask), 8)
    if pa.types.is_date32(kind):
        return _Values(valid, known, _fixed(column, "<i4", mask), 8)
    text = _as(column, pa.string())
    text = pc.fill_null(text, pa.scalar("")) if text.null_count else text
    offsets = np.frombuffer(text.buffers()[1], "<i4")[text.offset : text.offset + len(text) + 1]
    lengths = memoryview(np.diff(offsets).astype("<i4").data).cast("B")
    return _Values(valid, known, lengths, 4, offsets, memoryview(text.buffers()[2] or b""))


def _as(column: pa.Array, kind: pa.DataType) -> pa.Array:
    return column if column.type == kind else column.cast(kind)


def _fixed(column: pa.Array, form: str, mask: np.ndarray[Any, Any] | None) -> memoryview:
    """Values as they lie in memory, 8 bytes each, and 0 where there is none."""
    values = np.frombuffer(column.buffers()[1], form)[column.offset : column.offset + len(column)]
    values = values if mask is None else np.where(mask, values, values.dtype.type(0))
    return memoryview(np.ascontiguousarray(values, f"{form[:2]}8").data).cast("B")


Part = tuple[_Values | None, int, int]  # a column's values, None where it has none, and which rows of them


def digest_of_rows(parts: list[tuple[Canonical, int, int]]) -> str:
    """SHA-256 of rows first to last (exclusive) of each part, column by column; one without values does not count."""
    names = {name for canonical, _, _ in parts for name in canonical.columns}
    return _digest(names, lambda name: [(part.columns.get(name), first, last) for part, first, last in parts])


def digest_of_columns(names: Iterable[str], read: Callable[[str], Iterable[pa.ChunkedArray]]) -> str:
    """The same of rows of which `read` gives a column's pieces: no more than one column is in memory at once."""
    return _digest(names, lambda name: [(_canonical(piece.combine_chunks()), 0, len(piece)) for piece in read(name)])


def _digest(names: Iterable[str], column: Callable[[str], list[Part]]) -> str:
    digest = hashlib.sha256()
    for name in sorted(names):
        parts = column(name)
        like = next((values for values, _, _ in parts if values), None)
        if like is None or not any(values.has_any(first, last) for values, first, last in parts if values):
            continue
        digest.update(name.encode() + b"\0")
        filled = [(values or _nothing(like, last), first, last) for values, first, last in parts]
        for part in range(3):
            for values, first, last in filled:
                values.update(digest, part, first, last)
    return digest.hexdigest()


def _nothing(like: _Values, rows: int) -> _Values:
    """A column of NULL, as wide as another one."""
    zeros = memoryview(bytes(rows * 8))
    nothing = np.zeros(rows + 1, "i8")
    return _Values(zeros, nothing, zeros, like.width, None if like.offsets is None else nothing, memoryview(b""))
