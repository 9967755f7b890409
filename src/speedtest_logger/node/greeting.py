"""What a node says of itself with each delivery, to an archive that has said that it knows such a line.

What else besides records the archive knows is kept here too.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speedtest_logger import __version__, wire
from speedtest_logger.files import read_bounded
from speedtest_logger.node import outbox
from speedtest_logger.node.config import Settings
from speedtest_logger.node.spool import Spool
from speedtest_logger.wire import Receipt

STATE = "archive"
CONVERGED, MOST_CONVERGED = Path("/var/lib/speedtest-converge/state.json"), 4_000  # speedtest-converge writes it


@dataclass
class Greeting:
    """The hello of one push. The outbox is looked at once: what was sent meanwhile is taken off."""

    settings: Settings
    spool: Spool
    knows: frozenset[str]
    records: int
    disk_bytes: int

    @classmethod
    def of(cls, settings: Settings, spool: Spool) -> Greeting:
        """That of a push which begins now."""
        knows = known(spool)
        waiting = outbox.listed(spool.outbox) if wire.HELLO in knows else []
        return cls(settings, spool, knows, len(waiting), sum(entry.disk_bytes for entry in waiting))

    def line(self, sent: int = 0) -> bytes:
        """The line that goes before records, where it is wanted; `sent` of those that waited do so no more."""
        if wire.HELLO not in self.knows:
            return b""
        left = max(0, self.records - sent)
        disk = os.statvfs(self.spool.directory)
        return wire.hello_line(
            {
                "version": __version__,
                "runtime": self.settings.runtime,
                "outbox": {"records": left, "bytes": self.disk_bytes * left // max(1, self.records)},
                "clock": round(time.time(), 3),
                "disk_free": disk.f_bavail * disk.f_frsize,
                **converged(),
            }
        )

    def hear(self, receipt: Receipt) -> None:
        """Remember what the archive knows besides records; one that went back to an earlier version knows less."""
        knows = frozenset(name for name in wire.KNOWN if name in receipt.knows)
        if knows == self.knows:
            return
        self.knows = knows
        self.spool.write_hint(STATE, {"knows": sorted(knows)})


def converged() -> dict[str, Any]:
    """How a node that brings itself to its desired state is: {"converged": …}; empty for one that is pushed to."""
    try:
        said = json.loads(read_bounded(CONVERGED, MOST_CONVERGED))
    except (OSError, ValueError, RecursionError):
        return {}
    names = ("applied", "at", "changed", "version", "error", "leaving")
    return {"converged": {name: said[name] for name in names if name in said}} if isinstance(said, dict) else {}


def known(spool: Spool) -> frozenset[str]:
    """What the archive said that it knows besides records."""
    said = (spool.read_state(STATE) or {}).get("knows")
    return frozenset(name for name in wire.KNOWN if isinstance(said, list) and name in said)
