"""Lines of nodes' diagnostics logs, as they come: bounded by day, and never in the way of a record.

    log-inbox/NODE/ULID.jsonl     {"file": ID, "offset": N, "line": TEXT}, or {"left_out": N}: lines beyond the limit

How many are beyond the day's limit is told in a line. Standard library only: receive uses it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from speedtest_logger import wire
from speedtest_logger.archive.arrive import side_lines
from speedtest_logger.archive.arrive.limits import Limits
from speedtest_logger.archive.arrive.side_lines import Refused, SideLines
from speedtest_logger.archive.arrive.standing import Standing
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.errors import RecordError
from speedtest_logger.files import AT_ONCE, Sync
from speedtest_logger.record import utc_text

MB = 1_000_000
PARSED_BYTES = 4 * MB
NOTED_SECONDS = 3_600  # between two lines that say how many were left out
LONGEST_ID = 64
SMALL_BYTES = MB  # a day's file that is written anew at every ingest
PATIENCE = 300  # s that lines wait for a larger one to be worth that


class Lines(SideLines):
    """The lines of one delivery: what was kept of them, and how many were not."""

    kind = "log"
    begins = b'{"' + wire.LOG.encode() + b'"'
    between = b"], ["
    most_line = wire.MOST_LOG_LINE
    noted = False  # whether it ends in a line of how many were left out

    @classmethod
    def of(
        cls,
        folder: Path,
        as_line: Callable[[dict[str, Any]], bytes],
        stands: Standing,
        limits: Limits,
        sync: Sync = AT_ONCE,
    ) -> Lines:
        """Those of a delivery that begins now, into a folder of the inbox."""
        inbox = side_lines.incoming(folder, limits.log_inbox_mb * MB, sync)
        return cls(inbox, as_line, limits.log_day_mb * MB - stands.kept_today(cls.kind), PARSED_BYTES)

    def take(self, row: dict[str, Any]) -> Refused:
        """Keep what a line carries. Raises RecordError for what no node sends."""
        content = row[wire.LOG] if len(row) == 1 else None
        file, lines = (content.get("file"), content.get("lines")) if isinstance(content, dict) else (None, None)
        if not isinstance(file, str) or not 0 < len(file) <= LONGEST_ID or not file.isascii() or not file.isprintable():
            raise RecordError("bad_log", "lines of a log without the id of their file")
        if not isinstance(lines, list) or not all(map(_is_line, lines)):
            raise RecordError("bad_log", "lines of a log must be pairs of a place and a text")
        for offset, text in lines:
            self.keep({"file": file, "offset": offset, "line": encodable(text[: wire.MOST_LOG_TEXT])})
        return []

    def note(self, stands: Standing) -> None:
        """Add, now and then, a line of how many were not kept."""
        counted = stands.log_left_out + self.left_out
        self.noted = counted > 0 and stands.at - stands.log_noted >= NOTED_SECONDS
        if self.noted:
            self.add(self.as_line({"left_out": counted}))

    def seal(self, name: str, stands: Standing) -> bool:
        """Make durable what was written, and remember how many lines no line has told of yet."""
        counted = stands.log_left_out + self.left_out
        if not super().seal(name, stands):
            return False
        stands.log_left_out = counted
        if self.noted:
            stands.log_left_out, stands.log_noted = 0, stands.at
        return True


def _is_line(line: object) -> bool:
    if not isinstance(line, list) or len(line) != 2:
        return False
    offset, text = line
    return isinstance(offset, int) and not isinstance(offset, bool) and 0 <= offset < 2**53 and isinstance(text, str)


def encodable(text: str) -> str:
    """A text without lone surrogates, which JSON can hold and UTF-8 cannot."""
    return text.encode(errors="backslashreplace").decode()


def are_due(layout: Layout, now: float) -> bool:
    """Whether what waits is worth writing the day's file anew: a large file is not, for a few lines, each minute."""
    return side_lines.are_due(layout.log_inbox, layout.log_file(utc_text(now)[:10]), now, SMALL_BYTES, PATIENCE)
