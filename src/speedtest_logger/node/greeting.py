"""What a node says of itself with each delivery, to an archive that has said that it knows such a line."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from speedtest_logger import __version__, wire
from speedtest_logger.node import outbox
from speedtest_logger.node.config import Settings
from speedtest_logger.node.spool import Spool
from speedtest_logger.wire import Receipt

STATE = "archive"


@dataclass
class Greeting:
    """The hello of one push. The outbox is looked at once: what was sent meanwhile is taken off."""

    settings: Settings
    spool: Spool
    wanted: bool
    records: int
    disk_bytes: int

    @classmethod
    def of(cls, settings: Settings, spool: Spool) -> Greeting:
        """That of a push which begins now."""
        known = (spool.read_state(STATE) or {}).get("knows")
        wanted = isinstance(known, list) and wire.HELLO in known
        waiting = outbox.listed(spool.outbox) if wanted else []
        return cls(settings, spool, wanted, len(waiting), sum(entry.disk_bytes for entry in waiting))

    def line(self, sent: int = 0) -> bytes:
        """The line that goes before records, where it is wanted; `sent` of those that waited do so no more."""
        if not self.wanted:
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
            }
        )

    def hear(self, receipt: Receipt) -> None:
        """Remember whether the archive knows a hello; one that went back to an earlier version does not."""
        knows = wire.HELLO in receipt.knows
        if knows == self.wanted:
            return
        self.wanted = knows
        self.spool.write_hint(STATE, {"knows": [wire.HELLO] if knows else []})
