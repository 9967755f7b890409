"""What the archive host's own units say in its journal, on the way into the fleet's log lines.

    log-inbox/@archive/ULID.jsonl     as those of nodes; no node can have that name

How far the journal was read is its cursor, kept once the lines are durable: a run that is killed reads some again,
which are known by unit, boot and moment. A day's lines have the limit that a node's have; what is beyond is counted.
`journalctl --output=json`: https://systemd.io/JOURNAL_EXPORT_FORMATS/
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from speedtest_logger import wire
from speedtest_logger.archive.arrive.incoming import Incoming
from speedtest_logger.archive.arrive.limits import Limits
from speedtest_logger.archive.format.layout import Layout, ulid
from speedtest_logger.errors import RefusedError, StorageError
from speedtest_logger.files import read_bounded, write_durably
from speedtest_logger.record import utc_text

HOST = "@archive"
# The archive host's part of the project; what runs for a node there has a log of its own.
UNITS = tuple(
    f"speedtest-{name}.service"
    for name in ("ingest", "upkeep", "backup*", "alerts", "publish*", "database*", "dashboard", "workbench", "front")
)
STATE = "journal.json"
MB = 1_000_000
DAY = 86_400
FIRST_SINCE = "-1h"  # where nothing was read yet
MOST_LINES = 20_000  # of one run
LINE_BYTES = 1 << 20
SECONDS = 60
LEVELS = ("error", "error", "error", "error", "warning", "info", "info", "debug")  # of priorities 0 to 7 (syslog)


@dataclass
class Reached:
    """How far the journal was read, and what that day (since 1970, UTC) has cost so far."""

    cursor: str | None = None
    day: int = 0
    bytes: int = 0
    left_out: int = 0


def collect(layout: Layout, limits: Limits, now: float | None = None) -> int:
    """Put what the units said since the last time into the inbox; returns how many lines were new.

    Raises StorageError where the journal cannot be read, RefusedError where the inbox is full: nothing is lost then.
    """
    now = time.time() if now is None else now
    reached = _reached(layout)
    if (today := int(now // DAY)) != reached.day:
        reached.day, reached.bytes = today, 0
    inbox = Incoming(layout.log_inbox / HOST, limits.log_inbox_mb * MB)
    count, last = 0, dict[str, int]()
    try:
        for entry in _entries(reached.cursor):
            row = row_of(entry)
            row["offset"] = last[row["file"]] = max(row["offset"], last.get(row["file"], -1) + 1)
            reached.cursor = str(entry["__CURSOR"])
            count += _take(_line(row), inbox, reached, limits.log_day_mb * MB)
        if reached.left_out and reached.bytes < limits.log_day_mb * MB:
            inbox.add(_line({"left_out": reached.left_out}))
            reached.left_out = 0
        inbox.seal(ulid(), with_digest=False)
    except (OSError, RefusedError):
        inbox.discard()
        raise
    write_durably(layout.state / STATE, json.dumps(asdict(reached)).encode())
    return count


def _take(content: bytes, inbox: Incoming, reached: Reached, most: int) -> int:
    """Put a line into the inbox, where the day has room; returns whether it had."""
    if reached.bytes + len(content) > most:
        reached.left_out += 1
        return 0
    inbox.add(content)
    reached.bytes += len(content)
    return 1


def _reached(layout: Layout) -> Reached:
    with suppress(OSError, ValueError, TypeError, RecursionError):
        found = Reached(**json.loads(read_bounded(layout.state / STATE)))
        if isinstance(found.cursor, str) and all(isinstance(n, int) for n in (found.day, found.bytes, found.left_out)):
            return found
    return Reached()


def _entries(cursor: str | None) -> Iterator[dict[str, Any]]:
    """What the journal has after a cursor, the oldest first, MOST_LINES of it."""
    begin = [f"--after-cursor={cursor}"] if cursor else [f"--since={FIRST_SINCE}"]
    command = ["journalctl", "--quiet", "--no-pager", "--output=json", "--all", *begin]
    command += [f"--unit={unit}" for unit in UNITS]
    try:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout
            assert process.stderr
            for _ in range(MOST_LINES):
                if not (line := process.stdout.readline(LINE_BYTES)):
                    break
                with suppress(ValueError, RecursionError):
                    entry = json.loads(line)
                    if isinstance(entry, dict) and "__CURSOR" in entry and "MESSAGE" in entry:
                        yield entry
            else:
                process.kill()
                return
            said = process.stderr.read(LINE_BYTES).decode(errors="replace").strip()
    except OSError as error:
        raise StorageError(f"journalctl: {error.strerror or error}") from error
    if process.returncode:
        raise StorageError(f"journalctl: {said[:300] or f'exit code {process.returncode}'}")


def row_of(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry of the journal as a line of the fleet's logs: `event` is the unit, its place the time since the boot."""
    at = int(entry.get("__REALTIME_TIMESTAMP", 0))
    unit = str(entry.get("_SYSTEMD_UNIT") or entry.get("UNIT") or "").removesuffix(".service")
    if not unit.startswith("speedtest-"):  # systemd's own words about a unit
        unit = str(entry.get("UNIT", unit)).removesuffix(".service")
    said = entry["MESSAGE"]
    if isinstance(said, list):  # bytes that are no text
        said = bytes(each for each in said if isinstance(each, int) and 0 <= each < 256).decode(errors="replace")
    line = {"time": utc_text(at / 1e6), "level": _level(entry.get("PRIORITY")), "event": unit, "message": str(said)}
    text = json.dumps(line)
    if len(text) > wire.MOST_LOG_TEXT:
        text = json.dumps({**line, "message": str(said)[: wire.MOST_LOG_TEXT // 8]})
    boot = str(entry.get("_BOOT_ID", ""))[:8]
    return {"file": f"{unit[:50]}-{boot}", "offset": int(entry.get("__MONOTONIC_TIMESTAMP", at)), "line": text}


def _level(priority: object) -> str:
    return LEVELS[int(priority)] if isinstance(priority, str) and priority in "01234567" and priority else "info"


def _line(row: dict[str, Any]) -> bytes:
    return (json.dumps(row, separators=(",", ":")) + "\n").encode()
