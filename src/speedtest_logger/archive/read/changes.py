"""The manifest as a change feed: what became of which months and days since a cursor.

Who carries rows away keeps the cursor of the last change that it has carried out, and asks for what came since. Each
change names the days that it touched: their rows are to be sent again, and `run_id` tells which are there already. A
month that is named as a whole takes the place of all that was sent of it; one that is gone is to be removed.

A cursor names its line and the last sealed line before it. So it outlives the sealing of its day, of which whole months
are named then, for nothing tells any more which lines had been seen. (Of a manifest's first day nothing tells either
whose cursor it is, once it is sealed: all there is is named then.)
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from speedtest_logger.archive.format import parquet
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.ledger import manifest
from speedtest_logger.archive.ledger.entry import Entry, Rewritten
from speedtest_logger.errors import UsageError

CURSOR = re.compile(r"(\d{1,18})-([0-9a-f]{64})-([0-9a-f]{64})")


@dataclass(frozen=True)
class Change:
    """A change of the archive, or those of a day that is over. `cursor` is where to go on once it is carried out.

    `months` has the days (such as 2026-01-31) that were touched of each file; None is the whole month, whatever it
    held before. What is `gone` is not in it.
    """

    at: str
    verb: str
    months: dict[str, tuple[str, ...] | None]
    gone: tuple[str, ...]
    cursor: str


@dataclass(frozen=True)
class Position:
    """A cursor, read: the number and SHA-256 of a line, and the SHA-256 of the last sealed line up to it."""

    seq: int
    line: str
    sealed: str

    @classmethod
    def of(cls, cursor: str) -> Position:
        """Raises UsageError for a text that is no cursor."""
        found = CURSOR.fullmatch(cursor)
        if not found:
            raise UsageError(f"{cursor!r:.80} is no cursor: begin without one")
        return cls(int(found[1]), found[2], found[3])

    def __str__(self) -> str:
        """As `of` reads it."""
        return f"{self.seq}-{self.line}-{self.sealed}"


def since(layout: Layout, cursor: str | None = None) -> Iterator[Change]:
    """All changes after a cursor, oldest first; from the first one on where there is none.

    Raises UsageError for a cursor of another archive, or of this one before it was restored to an earlier state;
    StorageError for a manifest that cannot be read.
    """
    position = Position.of(cursor) if cursor else None
    sealed = manifest.GENESIS
    last: manifest.Raw | None = None  # sealed line, whose SHA-256 is only needed for what comes next
    for raw in manifest.lines(layout):
        if position and 0 <= raw.seq < position.seq:
            last = raw if raw.is_sealed else last
            continue
        line = manifest.parsed(layout, raw)
        if last:
            sealed, last = last.sha256, None
        partly = False
        if position:
            reached, partly = _reached(position, raw, line)
            if not (reached or partly):
                raise _another(position)
            position = None
            if reached:
                sealed = raw.sha256 if raw.is_sealed else sealed
                continue
        sealed = raw.sha256 if raw.is_sealed else sealed
        months = {
            name: None if partly else days_of(entry) for name, entry in line.files.items() if entry.facts is not None
        }
        gone = tuple(name for name, entry in line.files.items() if entry.facts is None)
        yield Change(line.at, line.verb, months, gone, str(Position(line.seq, raw.sha256, sealed)))
    if position:
        raise _another(position)


def settled(layout: Layout, cursor: str | None = None) -> list[Change]:
    """All changes after a cursor whose files have taken their places. Raises as since."""
    found = list(since(layout, cursor))
    return found[:-1] if found and is_under_way(layout, found[-1]) else found


def _reached(position: Position, raw: manifest.Raw, line: manifest.Line) -> tuple[bool, bool]:
    """Whether all of the first line that is not before a position has been seen, and whether some of it has."""
    if line.seq == position.seq:
        return raw.sha256 == position.line or (line.last == position.line and line.previous == position.sealed), False
    return False, raw.is_sealed and line.previous == position.sealed


def _another(position: Position) -> UsageError:
    return UsageError(
        f"the cursor is of line {position.seq} of another manifest, or of this one before it was restored: "
        "begin without one"
    )


def days_of(entry: Entry) -> tuple[str, ...] | None:
    """The days that a file's change touched; None where that is the whole month."""
    if entry.facts is None or not entry.changes or not all(isinstance(c, Rewritten) for c in entry.changes):
        return None
    return tuple(sorted(entry.facts.days))


def is_under_way(layout: Layout, change: Change) -> bool:
    """Whether files of a change have yet to take their places: a line is written before its files do.

    Only the last change of all can be. Who reads files must not put its cursor behind such a change.
    """
    places = [layout.archive / name for name in change.months]
    gone = [layout.archive / name for name in change.gone]
    return any(map(os.path.lexists, [*map(parquet.beside, places), *gone]))


def touched_by(found: Iterable[Change]) -> dict[str, set[str] | None]:
    """The months that changes touched, and which of their days; None is all of a month."""
    touched: dict[str, set[str] | None] = {}
    for change in found:
        for name, days in [*change.months.items(), *((name, None) for name in change.gone)]:
            known = touched.setdefault(name, set())
            touched[name] = None if days is None or known is None else known | set(days)
    return touched
