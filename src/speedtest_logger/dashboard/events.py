"""The log of a process that never ends: JSON lines on standard error, as the nodes' log has them in a file."""

from __future__ import annotations

import json
import logging
import sys
import time
from contextlib import suppress
from typing import Any

from speedtest_logger.log import PRIORITIES, Log
from speedtest_logger.record import utc_text


class JsonLines(Log):
    """Events of a level and above, each one line, which the journal and Docker keep and rotate."""

    def __init__(self, least: str = "info") -> None:
        super().__init__(None)
        self.least = PRIORITIES[least]

    def event(self, level: str, event: str, **values: Any) -> None:
        """Write one event; values must be JSON."""
        if PRIORITIES[level] > self.least:
            return
        prefix = f"<{PRIORITIES[level]}>" if self.journal else ""
        line = json.dumps({"time": utc_text(time.time()), "level": level, "event": event, **values})
        with suppress(OSError):  # a log that cannot be written must not end what it tells of
            print(f"{prefix}{line}", file=sys.stderr, flush=True)


class ServerLog(logging.Handler):
    """What the web server says, as events."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self.log = log

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        level = record.levelname.lower()
        self.log.event(level if level in PRIORITIES else "error", "server", message=record.getMessage(), **_why(record))


def _why(record: logging.LogRecord) -> dict[str, str]:
    error = record.exc_info[1] if record.exc_info else None
    return {"error": f"{type(error).__name__}: {error}"} if error else {}
