"""CSV out of text in which other programs may have written too; and whether a text is that, or JSON (json_text)."""

from __future__ import annotations

import csv
import io
import re
import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from speedtest_logger.archive.write.importing import catalogue
from speedtest_logger.archive.write.importing.formats import Header, recognise
from speedtest_logger.archive.write.importing.values import NOTHING, TIME
from speedtest_logger.errors import RecordError

FEWEST_FIELDS = 3  # of a CSV with speed tests
LONGEST_LINE = 1 << 20
READ_AT_ONCE = 2 << 20
NOT_UTF8 = re.compile("[\udc80-\udcff]")
FIRST_WORDS = {"id", "isp", "type", "date", "time"}.union(
    *(form.base | set(form.columns) for form in catalogue.FORMATS)
)
UNREADABLE = (OSError, EOFError, ValueError, RecursionError, csv.Error, zlib.error, pa.ArrowException)
PIECE = 65_536
DELIMITERS = (",", ";", "\t", "|")
NUMBER = re.compile(r"\d+(?:[.,]\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
NUMERIC = {"distance", "ping", "jitter", "download", "upload", "latency", "download bytes", "upload bytes"}


@dataclass
class Problem:
    """What is wrong with a line that should have been a row."""

    text: str


@dataclass
class Names:
    """What a line of CSV says of those that follow: their columns; `is_header` where it is no row itself."""

    names: list[str]
    is_header: bool


def is_json(start: str) -> bool:
    """Whether a text holds JSON: an object or array begins a line, and no line before is a header of CSV."""
    for line in start.splitlines():
        if re.match(r"\ufeff?\s*(?:\[\s*)*(?:\{|\[\s*$)", line) or re.search(r'\s\{"[^"]+"\s*:', line):
            return True
        if any(header_of(next(csv.reader([line], delimiter=d), [])) for d in _delimiters(line)):
            return False
    return False


def _delimiters(line: str) -> list[str]:
    others = sorted(
        {c for c in line if not c.isalnum() and c.isprintable() and c not in " \"'_.-:/()" + "".join(DELIMITERS)}
    )
    return [d for d in (*DELIMITERS, *others) if d in line]


def delimiter_of(start: str) -> str:
    """What stands between the fields of a CSV: the one with which a line is a known header or row."""
    lines = start.splitlines()[:50]
    if lines and (said := re.fullmatch(r"\ufeff?sep=(.)", lines[0], re.IGNORECASE)):
        return said[1]
    for line in lines:
        for delimiter in _delimiters(line):
            if header_of(next(csv.reader([line], delimiter=delimiter), [])):
                return delimiter
    counts = {delimiter: lines[0].count(delimiter) for delimiter in DELIMITERS} if lines else {}
    return max(counts, key=lambda delimiter: counts[delimiter], default=",")


def header_of(row: list[str]) -> Names | None:
    """What a line's fields say of the columns; None where it is a row like others, or none."""
    if len(row) < FEWEST_FIELDS:
        return None
    cells = [cell.strip().lstrip("\ufeff") for cell in row]
    if not any(NUMBER.fullmatch(cell) for cell in cells) and all(len(cell) < 80 for cell in cells):
        try:
            recognise(Header(tuple(cells)), catalogue.FORMATS)
        except RecordError as error:
            return Names(cells, True) if error.reason == "ambiguous_format" or _is_like_a_header(cells) else None
        return Names(cells, True)
    return _headerless(cells)


def _is_like_a_header(cells: list[str]) -> bool:
    """Columns that nobody knows, but columns: among them at least two words that formats use."""
    known = {name for form in catalogue.FORMATS for name in (*form.columns, *form.base, *form.marks)}
    return len(known.intersection(Header(tuple(cells)).names)) >= 2


def _headerless(cells: list[str]) -> Names | None:
    """The columns of a row of a program that writes no header, by what kind each field is; a time may come before."""
    for names in catalogue.HEADERLESS:
        for before in ((), ("timestamp",)):
            if len(cells) == len(before) + len(names) and all(map(_may_be, (*before, *names), cells)):
                return Names([*before, *names], False)
    return None


def _may_be(name: str, cell: str) -> bool:
    name = name.lower()
    if name == "timestamp":
        return TIME.fullmatch(cell) is not None
    if name in ("share", "share url"):
        return cell == "" or "://" in cell
    if name == "server id":
        return cell.isdigit()
    if name == "address":
        return "://" in cell
    numeric = (
        name in NUMERIC or "latency" in name or "jitter" in name or name in ("packet loss", "download server count")
    )
    return not numeric or NUMBER.fullmatch(cell) is not None or (name == "packet loss" and cell.lower() in NOTHING)


@dataclass
class Block:
    """Rows of as many lines, all with as many fields as the header: columns of text, named by their places."""

    table: pa.Table


class Table:
    """The rows of a CSV with their lines: in blocks where nothing is unusual, else one by one or what is wrong.

    A quote that is never closed costs its line only: the lines that it swallowed are read again.
    """

    def __init__(self, stream: io.TextIOWrapper, delimiter: str) -> None:
        self._stream, self._delimiter = stream, delimiter
        self._waiting: deque[str] = deque()
        self._taken: list[str] = []
        self._rest = ""
        self._width = 0
        self._ended_by: Exception | None = None
        self.torn = False

    def rows(self) -> Iterator[tuple[int, Block | list[str] | Problem]]:
        """Each row's first line and fields, or what is wrong."""
        place = 1
        while self._waiting or self._fill():
            if self._width and (rows := self._plain_rows()) is not None:
                yield place, Block(rows)
                place += rows.num_rows
                continue
            width = self._width
            while self._waiting and width == self._width:  # with another width the rest may be plain
                found = self._next()
                if found:
                    yield place, found
                place += len(self._taken)

    def _fill(self) -> bool:
        """Read on: more lines wait then, each with its end."""
        while not self._waiting:
            more = self._read()
            content = self._rest + more
            if "\r" in content and "\n" not in content:
                content = content.replace("\r", "\n")
            *lines, self._rest = content.split("\n")
            self._waiting.extend(line + "\n" for line in lines)
            if not more:
                if self._rest:
                    self.torn = True
                    self._waiting.append(self._rest)
                self._rest = ""
                return bool(self._waiting)
            if len(self._rest) > LONGEST_LINE:
                raise ValueError(f"a line is longer than {LONGEST_LINE} characters: it is not a CSV of speed tests")
        return True

    def _read(self) -> str:
        """The next characters. What ends the reading is raised when all before it has been given."""
        if self._ended_by:
            raise self._ended_by
        pieces: list[str] = []
        try:
            while len(pieces) * PIECE < READ_AT_ONCE and (piece := self._stream.read(PIECE)):
                pieces.append(piece)
        except UNREADABLE as error:
            if not pieces:
                raise
            self._ended_by = error
        return "".join(pieces)

    def _plain_rows(self) -> pa.Table | None:
        """All that waits, where each line is a row like the others; else None."""
        content = "".join(self._waiting)
        if not _is_plainly_quoted(content, self._delimiter) or not _is_utf8(content):
            return None
        names = [str(place) for place in range(self._width)]
        try:
            table = pa_csv.read_csv(
                pa.BufferReader(content.encode()),
                pa_csv.ReadOptions(column_names=names, use_threads=False, block_size=len(content) * 4 + 1),
                pa_csv.ParseOptions(delimiter=self._delimiter, ignore_empty_lines=False),
                pa_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False),
            )
        except (pa.ArrowException, ValueError):  # another number of fields; a delimiter that it does not know
            return None
        if table.num_rows != len(self._waiting) or _may_hold_a_header(table):
            return None
        self._waiting.clear()
        return table

    def _lines(self) -> Iterator[str]:
        while self._waiting or self._fill():
            self._taken.append(self._waiting.popleft())
            yield self._taken[-1]

    def _is_one(self, row: list[str]) -> bool:
        """Whether a row of several lines is one: none of those after the first is a row by itself."""
        inside = (next(csv.reader([line], delimiter=self._delimiter), []) for line in self._taken[1:])
        return len(row) == self._width and all(len(each) != self._width for each in inside)

    def _next(self) -> list[str] | Problem | None:
        """One row; None for an empty line."""
        self._taken = []
        problem = ""
        try:
            row = next(csv.reader(self._lines(), delimiter=self._delimiter), [])
        except csv.Error as error:
            row, problem = [], str(error)
        if len(self._taken) > 1 and (problem or (self._width and not self._is_one(row))):
            self._waiting.extendleft(reversed(self._taken[1:]))
            self._taken = self._taken[:1]
            return Problem(problem or f"a quote is not closed: {self._taken[0][:80]!r}")
        if problem or any(map(NOT_UTF8.search, self._taken)):
            return Problem(problem or "it is not UTF-8: save the file as UTF-8")
        if not row or (len(row) == 1 and row[0][:4].lower() in ("sep=", "")):
            return None
        if len(row) >= FEWEST_FIELDS and (self._width == 0 or header_of(row)):
            self._width = len(row)
        return row


def _is_utf8(content: str) -> bool:
    return content.isascii() or not NOT_UTF8.search(content)


def _is_plainly_quoted(content: str, delimiter: str) -> bool:
    """Whether each quote begins or ends a field, as programs write them."""
    if '"' not in content:
        return True
    begun = content.startswith('"') + content.count(f'{delimiter}"') + content.count('\n"')
    ended = content.endswith('"') + content.count(f'"{delimiter}') + content.count('"\n') + content.count('"\r')
    return begun == ended and begun + ended == content.count('"')


def _may_hold_a_header(table: pa.Table) -> bool:
    """Whether a row needs a closer look: one without any digit, or that begins as a header does."""
    first = pc.utf8_lower(pc.utf8_trim_whitespace(table[0]))
    if pc.any(pc.is_in(first, value_set=pa.array(sorted(FIRST_WORDS)))).as_py():
        return True
    digits = np.zeros(table.num_rows, bool)
    for column in table.columns:
        digits |= pc.match_substring_regex(column, "[0-9]").to_numpy()
        if digits.all():
            return False
    return True
