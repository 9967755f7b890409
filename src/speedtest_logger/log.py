"""The diagnostics log: JSON lines, rotated by size; the same events in words on standard error for the journal.

The standard library's logging is left out: importing it costs a third of this program's start.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from speedtest_logger import files
from speedtest_logger.record import utc_text

MAX_BYTES = 5_000_000
KEEP = 10
PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3}


class Log:
    """Writes events. A log that cannot be written must not stop a measurement: it says so on standard error once."""

    def __init__(self, file: Path | None) -> None:
        self.file = file
        self.journal = "JOURNAL_STREAM" in os.environ

    def event(self, level: str, event: str, **values: Any) -> None:
        """Write one event; values must be JSON."""
        words = " ".join(f"{name}={value}" for name, value in values.items() if value is not None)
        prefix = f"<{PRIORITIES[level]}>" if self.journal else ""
        if level != "debug":
            print(f"{prefix}{event} {words}".rstrip(), file=sys.stderr, flush=True)
        if self.file is not None:
            line = json.dumps({"time": utc_text(time.time()), "level": level, "event": event, **values})
            try:
                self._append(self.file, line)
            except OSError as error:
                print(f"{prefix}the log {self.file} cannot be written: {error.strerror}", file=sys.stderr)
                self.file = None

    def _append(self, file: Path, line: str) -> None:
        with files.open_to_append(file) as stream:
            if os.fstat(stream.fileno()).st_size + len(line) <= MAX_BYTES:
                stream.write(line.encode() + b"\n")
                return
        self._rotate(file)
        with files.open_to_append(file) as stream:
            stream.write(line.encode() + b"\n")

    def _rotate(self, file: Path) -> None:
        """Shift name.log to name.log.1 and so on up to name.log.9."""
        for number in range(KEEP - 1, 0, -1):
            newer = rotated(file, number - 1)
            if files.is_regular(newer):
                newer.replace(rotated(file, number))


def rotated(file: Path, number: int) -> Path:
    """The name of a log's file after so many rotations."""
    return file.with_name(f"{file.name}.{number}") if number else file
