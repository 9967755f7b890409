"""New lines of the diagnostics log on their way to the archive, which keeps those of the whole fleet.

They go up behind records, MOST_BYTES of them in a push. How far they have got is kept once the archive has them: a
push that is killed, or whose receipt is lost, sends lines again, which the archive knows by file and place. A file is
known by its inode and its first line wherever it is rotated to, so no line is passed over while its file is there.
"""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from speedtest_logger import files, log, wire
from speedtest_logger.node import greeting
from speedtest_logger.node.config import Settings
from speedtest_logger.node.spool import Spool
from speedtest_logger.wire import Receipt

STATE, TRIED = "log", "log_alone"
MOST_BYTES = 256_000  # of lines in one push
FIRST_BYTES = 1_000_000  # of a log none of which was delivered yet: what is older stays on the node
ALONE_SECONDS = 3_600  # that lines wait for a record to go with, before they go alone
FIRST_LINE = 64_000  # bytes of a file that are searched for its first line's end


@dataclass(frozen=True)
class Place:
    """How far the log was delivered: up to a byte of a file."""

    file: str
    offset: int


@dataclass(frozen=True)
class Piece:
    """See beside.Piece: lines, and how far they reach."""

    content: bytes
    end: Place

    def settle(self, spool: Spool, receipt: Receipt) -> None:
        """Where the archive has them, they need not go again."""
        if receipt.log:
            spool.write_state(STATE, {**asdict(self.end), "at": round(time.time())})


@dataclass(frozen=True)
class _Opened:
    name: str
    inode: int
    size: int
    stream: BinaryIO


def next_piece(settings: Settings, spool: Spool) -> Piece | None:
    """What is new in the log, the oldest first; None where nothing is, or the archive or the owner wants none."""
    if not settings.log_delivery_enabled or wire.LOG not in greeting.known(spool):
        return None
    with suppress(OSError), ExitStack() as stack:
        return _piece(settings.log_file, _place(spool), stack)
    return None


def _piece(file: Path, place: Place | None, stack: ExitStack) -> Piece | None:
    opened = _opened(file, place, stack)
    start = _start(opened, place)
    content, room, end = [], MOST_BYTES, None
    for number, each in enumerate(opened):
        lines: list[tuple[int, str]] = []
        for offset, line in _lines(each, start if number == 0 else 0, whole=number == len(opened) - 1):
            if (lines and len(line) > room) or room <= 0:
                room = 0
                break
            room -= len(line)
            end = Place(each.name, offset + len(line))
            if text := line.rstrip(b"\n").decode(errors="backslashreplace")[: wire.MOST_LOG_TEXT]:
                lines.append((offset, text))
        content.append(wire.log_lines(each.name, lines))
        if room <= 0:
            break
    return Piece(b"".join(content), end) if end else None


def _opened(file: Path, place: Place | None, stack: ExitStack) -> list[_Opened]:
    """The log's files from the one on that was delivered last, the oldest first; without it, all of them.

    The newest is opened first: one that is rotated meanwhile is met again, and not missed.
    """
    found: dict[int, _Opened] = {}
    for number in range(log.KEEP):
        try:
            stream = stack.enter_context(files.open_regular(log.rotated(file, number)))
        except OSError:
            continue
        first = stream.readline(FIRST_LINE)
        known = os.fstat(stream.fileno())
        if not first.endswith(b"\n") and len(first) < FIRST_LINE:  # being written
            continue
        name = f"{known.st_ino:x}-{zlib.crc32(first):08x}"
        found.setdefault(known.st_ino, _Opened(name, known.st_ino, known.st_size, stream))
        if place and name == place.file:
            break
    return list(reversed(found.values()))


def _start(opened: list[_Opened], place: Place | None) -> int:
    """Where to begin in the first file; files of a log that was never delivered are left out as far as it is long."""
    if place:
        return place.offset if opened and opened[0].name == place.file else 0
    while opened and sum(each.size for each in opened[1:]) >= FIRST_BYTES:
        opened.pop(0)
    over = sum(each.size for each in opened) - FIRST_BYTES
    if not opened or over <= 0:
        return 0
    opened[0].stream.seek(over)
    return over + len(opened[0].stream.readline(FIRST_LINE))


def _lines(of: _Opened, start: int, *, whole: bool) -> Iterator[tuple[int, bytes]]:
    """Lines with where they begin; `whole`: none that has no end yet. One without end is taken in pieces."""
    of.stream.seek(start)
    while line := of.stream.readline(MOST_BYTES):
        if whole and not line.endswith(b"\n") and len(line) < MOST_BYTES:
            return
        yield start, line
        start += len(line)


def _place(spool: Spool) -> Place | None:
    state = spool.read_state(STATE) or {}
    file, offset = state.get("file"), state.get("offset")
    if isinstance(file, str) and isinstance(offset, int) and offset >= 0:
        return Place(file, offset)
    return None


def tried_alone(spool: Spool) -> None:
    """They go without a record now: not again for a while, whatever becomes of it."""
    spool.write_hint(TRIED, {"at": round(time.time())})


def due_alone(settings: Settings, spool: Spool, *, force: bool) -> bool:
    """Whether lines of the log have waited for long enough for a record to go with: seen without opening the log."""
    if not settings.log_delivery_enabled or wire.LOG not in greeting.known(spool):
        return False
    place = _place(spool)
    found = files.identity(settings.log_file)
    if found is None or (place and place.file.startswith(f"{found.inode:x}-") and place.offset >= found.size):
        return False
    moments = [(spool.read_state(name) or {}).get("at") for name in (STATE, TRIED)]
    tried = max((at for at in moments if isinstance(at, (int, float))), default=0)
    return force or abs(time.time() - tried) >= ALONE_SECONDS
