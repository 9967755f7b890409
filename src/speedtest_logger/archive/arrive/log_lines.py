"""Lines of nodes' diagnostics logs, as they come: bounded by day, and never in the way of a record.

    log-inbox/NODE/ULID.jsonl     {"file": ID, "offset": N, "line": TEXT}, or {"left_out": N}: lines beyond the limit

What is beyond the day's limit is not kept but counted, and a line says how many these were; what finds no room in the
inbox, or comes while the disk is low, stays on the node. Standard library only: receive uses it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speedtest_logger import wire
from speedtest_logger.archive.arrive.incoming import Incoming
from speedtest_logger.archive.arrive.limits import Limits
from speedtest_logger.archive.arrive.standing import Standing
from speedtest_logger.archive.format.layout import BLOCK, Layout
from speedtest_logger.errors import RecordError, RefusedError
from speedtest_logger.files import identities, identity
from speedtest_logger.record import utc_text

MB = 1_000_000
DAY = 86_400
BEGINS = b'{"' + wire.LOG.encode() + b'"'
BETWEEN = b"], ["  # the lines that one carries
PARSED_BYTES = 4 * MB  # of a delivery: of more the lines are counted, without a look at what is in them
NOTED_SECONDS = 3_600  # between two lines that say how many were left out
LONGEST_ID = 64
SMALL_BYTES = MB  # a day's file that is written anew at every ingest
PATIENCE = 300  # s that lines wait for a larger one to be worth that


@dataclass
class Lines:
    """The lines of one delivery: what was kept of them, and how many were not."""

    inbox: Incoming | None  # None: no lines are taken just now
    as_line: Callable[[dict[str, Any]], bytes]
    room: float  # bytes that may still be kept today
    carriers: int = 0
    size: int = 0
    kept: int = 0
    left_out: int = 0

    @classmethod
    def of(cls, folder: Path, as_line: Callable[[dict[str, Any]], bytes], stands: Standing, limits: Limits) -> Lines:
        """Those of a delivery that begins now, into a folder of the inbox."""
        used = stands.log_bytes if stands.log_day == day_of(stands.at) else 0.0
        inbox = None
        with suppress(OSError):
            inbox = Incoming(folder, limits.log_inbox_mb * MB)
        return cls(inbox, as_line, limits.log_day_mb * MB - used)

    def count(self, line: bytes) -> bool:
        """Whether a line that came in carries lines of a log, and is done with: no more of such are looked at."""
        if not line.startswith(BEGINS):
            return False
        self.carriers += 1
        self.size += len(line)
        if self.size > PARSED_BYTES:
            self.left_out += line.count(BETWEEN) + 1
            return True
        return self.inbox is None

    def take(self, row: dict[str, Any]) -> None:
        """Keep what a line carries. Raises RecordError for what no node sends."""
        content = row[wire.LOG] if len(row) == 1 else None
        file, lines = (content.get("file"), content.get("lines")) if isinstance(content, dict) else (None, None)
        if not isinstance(file, str) or not 0 < len(file) <= LONGEST_ID or not file.isascii() or not file.isprintable():
            raise RecordError("bad_log", "lines of a log without the id of their file")
        if not isinstance(lines, list) or not all(map(_is_line, lines)):
            raise RecordError("bad_log", "lines of a log must be pairs of a place and a text")
        for offset, text in lines:
            self._keep({"file": file, "offset": offset, "line": encodable(text[: wire.MOST_LOG_TEXT])})

    def _keep(self, row: dict[str, Any]) -> None:
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
        """Take nothing: the node keeps its lines, and sends them again."""
        self.kept = self.left_out = 0
        self.discard()
        self.inbox = None

    def discard(self) -> None:
        """Remove what was not sealed."""
        if self.inbox:
            self.inbox.discard()

    def seal(self, name: str, stands: Standing) -> bool:
        """Make durable what was kept; returns whether the node may forget its lines."""
        counted = stands.log_left_out + self.left_out
        noted = counted and stands.at - stands.log_noted >= NOTED_SECONDS
        if noted and not self.add(self.as_line({"left_out": counted})):
            return False
        if self.inbox is None:
            return False
        try:
            self.inbox.seal(name, with_digest=False)
        except OSError:
            self.close()
            return False
        self._charge(stands, noted=bool(noted))
        return True

    def _charge(self, stands: Standing, *, noted: bool) -> None:
        if (today := day_of(stands.at)) != stands.log_day:
            stands.log_day, stands.log_bytes = today, 0.0
        stands.log_bytes += self.kept
        stands.leave_out(self.left_out)
        if noted:
            stands.log_left_out, stands.log_noted = 0, stands.at


def _is_line(line: object) -> bool:
    if not isinstance(line, list) or len(line) != 2:
        return False
    offset, text = line
    return isinstance(offset, int) and not isinstance(offset, bool) and 0 <= offset < 2**53 and isinstance(text, str)


def encodable(text: str) -> str:
    """A text without lone surrogates, which JSON can hold and UTF-8 cannot."""
    return text.encode(errors="backslashreplace").decode()


def day_of(at: float) -> int:
    """The number of a time's day (UTC)."""
    return int(at // DAY)


def are_due(layout: Layout, now: float) -> bool:
    """Whether what waits is worth writing the day's file anew: a large file is not, for a few lines, each minute."""
    found = identities(layout.log_inbox.glob("*/*.jsonl"))
    if not found:
        return False
    file = identity(layout.log_file(utc_text(now)[:10]))
    if file is None or file.size <= max(SMALL_BYTES, sum(max(BLOCK, each.size) for each in found.values())):
        return True
    oldest = min(each.mtime_ns for each in found.values()) / 1e9
    return abs(now - oldest) > PATIENCE
