"""Results of probes on their way to the archive: file by file, the oldest first, MOST_BYTES of them in a push.

A file goes once the archive has it. A push that is killed, or whose receipt is lost, sends it again: the archive knows
a result by its node, its probe, its target and its beginning.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from speedtest_logger import files, wire
from speedtest_logger.node import greeting
from speedtest_logger.node.config import Settings
from speedtest_logger.node.probe_results import read_results, waiting_results
from speedtest_logger.node.spool import Spool
from speedtest_logger.wire import Receipt

TRIED = "probes_alone"
MOST_BYTES = 256_000  # of files in one push
ALONE_SECONDS = 900  # that results wait for a record to go with, before they go alone


@dataclass(frozen=True)
class Piece:
    """See beside.Piece: results, and the files that they are from."""

    content: bytes
    files: tuple[Path, ...]

    def settle(self, spool: Spool, receipt: Receipt) -> None:
        """Where the archive has them, their files go."""
        if receipt.probes:
            for file in self.files:
                file.unlink(missing_ok=True)
            files.sync_directory(spool.probes)


def next_piece(settings: Settings, spool: Spool) -> Piece | None:
    """The oldest results; None where there are none, or the archive does not know such."""
    if not settings.archive_host or wire.PROBES not in greeting.known(spool):
        return None
    taken: list[Path] = []
    rows, room = [], MOST_BYTES
    for file, size in waiting_results(spool):
        if taken and size > room:
            break
        room -= size
        found = read_results(file)
        if not found:  # nothing in it is a result
            file.unlink(missing_ok=True)
            continue
        rows += found
        taken.append(file)
    return Piece(wire.probe_lines(rows), tuple(taken)) if taken else None


def tried_alone(spool: Spool) -> None:
    """They go without a record now: not again for a while, whatever becomes of it."""
    if waiting_results(spool):
        spool.write_hint(TRIED, {"at": round(time.time())})


def due_alone(settings: Settings, spool: Spool, *, force: bool) -> bool:
    """Whether the oldest results have waited for long enough for a record to go with."""
    if not settings.archive_host or wire.PROBES not in greeting.known(spool):
        return False
    waiting = waiting_results(spool)
    oldest = files.identity(waiting[0][0]) if waiting else None
    if oldest is None:
        return False
    tried = (spool.read_state(TRIED) or {}).get("at")
    rested = not isinstance(tried, (int, float)) or abs(time.time() - tried) >= ALONE_SECONDS
    return force or (rested and abs(time.time() - oldest.mtime_ns / 1e9) >= ALONE_SECONDS)
