"""Lines beside a delivery's records, as they come: bounded by day and in the inbox, and never in the way of a record.

What is beyond the day's limit is not kept but counted; what finds no room in the inbox, or comes while the disk is low,
stays on the node. Standard library only: receive uses it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from speedtest_logger.archive.arrive.incoming import Incoming
from speedtest_logger.archive.arrive.standing import Standing
from speedtest_logger.archive.format.layout import BLOCK
from speedtest_logger.errors import RecordError, RefusedError
from speedtest_logger.files import AT_ONCE, Sync, identities, identity

Refused = list[tuple[bytes, RecordError]]


@dataclass
class SideLines(ABC):
    """What one delivery carries of a kind: what was kept of it, and how much was not."""

    kind: ClassVar[str]  # as columns of Standing begin
    begins: ClassVar[bytes]  # a line that carries such
    between: ClassVar[bytes]  # what one line carries
    most_line: ClassVar[int]  # bytes

    inbox: Incoming | None  # None: none are taken just now
    as_line: Callable[[dict[str, Any]], bytes]
    room: float  # bytes that may still be kept today
    parsed_bytes: int  # of a delivery: of more it is only counted what they carry, without a look at it
    carriers: int = 0
    size: int = 0
    kept: int = 0
    left_out: int = 0

    @abstractmethod
    def take(self, row: dict[str, Any]) -> Refused:
        """Keep what a line carries; returns what of it no node sends. Raises RecordError where that is all of it."""

    def count(self, line: bytes) -> bool:
        """Count a line of the kind; returns whether that was all: no more of such are looked at."""
        self.carriers += 1
        self.size += len(line)
        if self.size > self.parsed_bytes:
            self.left_out += line.count(self.between) + 1
            return True
        return self.inbox is None

    def keep(self, row: dict[str, Any]) -> None:
        """Keep a row, as far as there is room."""
        content = self.as_line(row)
        if len(content) > self.room:
            self.room = 0  # or shorter ones would come in behind it
            self.left_out += 1
        elif self.add(content):
            self.room -= len(content)
            self.kept += len(content)

    def add(self, content: bytes) -> bool:
        """Put a line into the inbox; False where it is full or the disk is: all of the delivery's stay on the node."""
        try:
            if self.inbox:
                self.inbox.add(content)
        except (RefusedError, OSError):
            self.close()
        return self.inbox is not None

    def close(self) -> None:
        """Take nothing: the node keeps what it has, and sends it again."""
        self.kept = self.left_out = 0
        self.discard()
        self.inbox = None

    def discard(self) -> None:
        """Remove what was not sealed."""
        if self.inbox:
            self.inbox.discard()

    def finish(self) -> None:
        """Take no more: what was kept is written."""
        try:
            if self.inbox:
                self.inbox.finish()
        except OSError:
            self.close()

    def seal(self, name: str, stands: Standing) -> bool:
        """Make durable what was kept; returns whether the node may forget what it sent."""
        if self.inbox is None:
            return False
        try:
            self.inbox.seal(name, with_digest=False)
        except OSError:
            self.close()
            return False
        stands.keep(self.kind, self.kept)
        stands.leave_out(self.kind, self.left_out)
        return True


def incoming(folder: Path, most: float, sync: Sync = AT_ONCE) -> Incoming | None:
    """A new file of a node's inbox; None where its folder cannot be looked into."""
    with suppress(OSError):
        return Incoming(folder, most, sync)
    return None


def are_due(inbox: Path, file: Path, now: float, small: int, patience: float) -> bool:
    """Whether what waits is worth writing the day's file anew: one of more than `small` bytes is not for a little.

    Unless that has waited for `patience` seconds.
    """
    found = identities(inbox.glob("*/*.jsonl"))
    if not found:
        return False
    written = identity(file)
    if written is None or written.size <= max(small, sum(max(BLOCK, each.size) for each in found.values())):
        return True
    oldest = min(each.mtime_ns for each in found.values()) / 1e9
    return abs(now - oldest) > patience
