"""A file's bytes as rows: whatever its compression, encoding and form. What it is, its content says and not its name.

Nothing is held whole: compressed files are unpacked as they are read, and no more than MOST_UNPACKED of them.
"""

from __future__ import annotations

import codecs
import gzip
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from speedtest_logger import accounts
from speedtest_logger.archive.write.importing import json_text, text
from speedtest_logger.archive.write.importing.formats import Header, flattened
from speedtest_logger.errors import UsageError

ENDINGS = (".csv", ".tsv", ".txt", ".log", ".json", ".jsonl", ".ndjson", ".parquet")
PACKED = (".gz", ".zst", ".zstd")
MOST_UNPACKED = 64 * 2**30
LOOKED_AT = 65_536  # bytes of a file's beginning
ROWS = 20_000  # that are in memory as texts at once
MAGICS = {
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"PK\x03\x04": "zip (or a spreadsheet)",
    b"SQLite format 3": "a SQLite database",
    b"\xd0\xcf\x11\xe0": "a spreadsheet",
    b"%PDF": "a PDF",
}
MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


@dataclass
class Rows:
    """Rows with the same columns: their values in the header's order, or as nested objects, and their lines.

    `torn`: the last one ends where the file ends, without an end of line.
    """

    header: Header
    cells: list[list[Any]]
    places: list[int]
    objects: list[Any] | None = None
    torn: bool = False
    texts: pa.Table | None = None  # instead of cells

    def __len__(self) -> int:
        """How many."""
        return len(self.cells) if self.texts is None else int(self.texts.num_rows)

    def row(self, place: int) -> list[Any]:
        """One row's values."""
        return self.cells[place] if self.texts is None else [column[place].as_py() for column in self.texts.columns]

    def column(self, place: int) -> pa.Array:
        """One column's texts."""
        if self.texts is not None:
            return self.texts[place].combine_chunks()
        return pa.array([row[place] for row in self.cells], pa.string())


@dataclass
class Aside:
    """What is no row: lines of other programs (`other`), or a line that should have been one (`problem`)."""

    place: int
    problem: str = ""
    other: str = ""
    count: int = 1


def find(paths: list[Path]) -> list[Path]:
    """The files to read, those of folders too. Raises UsageError for a path that is not there, or a folder of none."""
    found: list[Path] = []
    with accounts.as_caller():
        for path in paths:
            if not path.exists():
                raise UsageError(f"{path} does not exist")
            inside = sorted(f for f in path.rglob("*") if _is_wanted(f)) if path.is_dir() else [path]
            if not inside:
                raise UsageError(f"{path} has no file that can be read: none ends in {', '.join(ENDINGS)}")
            found += inside
    return found


def _is_wanted(file: Path) -> bool:
    endings = [ending.lower() for ending in file.suffixes[-2:]]
    if endings and endings[-1] in PACKED:
        endings.pop()
    return bool(endings) and endings[-1] in ENDINGS and not file.name.startswith(".") and file.is_file()


class _Counted(io.RawIOBase):
    """A file that says how many of its bytes have been read."""

    def __init__(self, file: BinaryIO, advance: Callable[[int], None] | None) -> None:
        self._file, self._advance = file, advance

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._file.read(len(buffer))
        buffer[: len(content)] = content
        if self._advance:
            self._advance(len(content))
        return len(content)


class _Bounded(io.RawIOBase):
    """What a reader unpacks, up to a bound."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read, self._left = read, MOST_UNPACKED

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._read(len(buffer))
        self._left -= len(content)
        if self._left < 0:
            raise ValueError(f"it is longer than {MOST_UNPACKED >> 30} GiB unpacked: split it")
        buffer[: len(content)] = content
        return len(content)


def read(file: Path, advance: Callable[[int], None] | None = None) -> Iterator[Rows | Aside]:
    """A file's rows, in portions. Raises one of text.UNREADABLE where it cannot be read any further."""
    with accounts.as_caller():
        opened = file.open("rb")
    with opened:
        beginning = opened.read(LOOKED_AT)
        opened.seek(0)
        if beginning.startswith(b"PAR1"):
            yield from _parquet(opened)
            if advance:
                advance(opened.tell())
            return
        stream: io.BufferedReader[Any] = io.BufferedReader(_Counted(opened, advance), 1 << 20)
        if beginning.startswith(b"\x1f\x8b"):
            stream = io.BufferedReader(_Bounded(gzip.GzipFile(fileobj=stream).read1), LOOKED_AT)
        elif beginning.startswith(b"\x28\xb5\x2f\xfd"):
            stream = io.BufferedReader(
                _Bounded(pa.CompressedInputStream(pa.PythonFile(stream, "r"), "zstd").read), LOOKED_AT
            )
        yield from _text(stream)


def _text(stream: io.BufferedReader[Any]) -> Iterator[Rows | Aside]:
    beginning = stream.peek(LOOKED_AT)[:LOOKED_AT]
    for magic, what in MAGICS.items():
        if beginning.startswith(magic):
            raise ValueError(f"it is {what}: unpack or export it as CSV or JSON first")
    encoding = encoding_of(beginning)
    start = codecs.getincrementaldecoder(encoding)("surrogateescape" if "8" in encoding else "replace").decode(
        beginning
    )
    lines = io.TextIOWrapper(stream, encoding, "surrogateescape" if "8" in encoding else "strict", newline="")
    if text.is_json(start):
        yield from grouped(json_text.objects(lines))
    else:
        yield from _csv(lines, start)


def encoding_of(beginning: bytes) -> str:
    """UTF-8 or UTF-16, by its mark or by its zeros. Raises ValueError for what is no text."""
    for mark, encoding in MARKS:
        if beginning.startswith(mark):
            return encoding
    if b"\0" in beginning[:4_000]:
        even, odd = beginning[:4_000:2].count(0), beginning[1:4_000:2].count(0)
        if max(even, odd) < 4 * min(even, odd) + 2 or max(even, odd) * 4 < len(beginning[:4_000:2]):
            raise ValueError("it is neither text nor Parquet")
        return "utf-16-le" if odd > even else "utf-16-be"
    return "utf-8"


def _csv(lines: io.TextIOWrapper, start: str) -> Iterator[Rows | Aside]:
    table = text.Table(lines, text.delimiter_of(start))
    rows: Rows | None = None
    for place, row in until_unreadable(table.rows()):
        names = text.header_of(row) if isinstance(row, list) else None
        ends = names or isinstance(row, (Exception, text.Block))
        if rows and (ends or rows.texts is not None or len(rows) >= ROWS):
            yield rows
            rows = Rows(rows.header, [], [])
        if names:
            rows = Rows(Header(tuple(names.names)), [], [])
            if names.is_header:
                continue
        if rows is not None and isinstance(row, text.Block):
            assert len(rows.header.written) == row.table.num_columns
            rows.texts, rows.places = row.table, list(range(place, place + row.table.num_rows))
        elif rows is None or not isinstance(row, list) or (wrong := _wrong_with(row, rows.header)):
            yield _aside(place, row if rows is None or not isinstance(row, list) else text.Problem(wrong))
        else:
            rows.cells.append(row)
            rows.places.append(place)
    if rows:
        rows.torn = table.torn
        yield rows


def until_unreadable(found: Iterator[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
    """The same; where an error ended it, the error last: what was read before it counts."""
    try:
        yield from found
    except text.UNREADABLE as error:
        yield 0, error


def _aside(place: int, value: Any) -> Aside:
    """What is no row. Raises the error that ended the reading."""
    if isinstance(value, Exception):
        raise value
    if isinstance(value, text.Problem):
        return Aside(place, problem=value.text)
    if isinstance(value, text.Block):
        first = ", ".join(column[0].as_py() for column in value.table.columns)
        return Aside(place, problem=f"no known format: {first[:160]}", count=value.table.num_rows)
    if isinstance(value, list) and len(value) >= text.FEWEST_FIELDS:
        return Aside(place, problem=f"no known format: {', '.join(value)[:160]}")
    return Aside(place, other="line of text" if isinstance(value, list) else str(value))


def _wrong_with(row: list[str], header: Header) -> str:
    if len(row) != len(header.written):
        return f"{len(row)} fields under {len(header.written)} columns"
    return ""


def grouped(found: Iterator[tuple[int, Any]]) -> Iterator[Rows | Aside]:
    """Objects with the same names together."""
    group: Rows | None = None
    for place, value in until_unreadable(found):
        flat = flattened(value) if isinstance(value, dict) else {}
        names = tuple(flat)
        if group and (group.header.written != names or len(group.cells) >= ROWS):
            yield group
            group = None
        if not isinstance(value, dict):
            yield _aside(place, value)
            continue
        group = group or Rows(Header(names), [], [], [])
        group.cells.append(list(flat.values()))
        group.places.append(place)
        assert group.objects is not None
        group.objects.append(value)
    if group:
        yield group


def _parquet(opened: BinaryIO) -> Iterator[Rows | Aside]:
    place = 0
    for batch in pq.ParquetFile(opened).iter_batches(batch_size=5_000):
        rows = batch.to_pylist()
        yield from grouped(iter([(place + number, row) for number, row in enumerate(rows, 1)]))
        place += len(rows)
