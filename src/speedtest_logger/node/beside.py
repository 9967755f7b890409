"""What goes up besides records: lines of the log, and results of probes.

They go behind the last records of a push, or alone once they have waited for long enough; no delivery counts as failed
for their sake. Each kind is a module that says what is next, what is due alone, and what follows from a receipt.
"""

from __future__ import annotations

from typing import Protocol

from speedtest_logger.errors import DeliveryError
from speedtest_logger.log import Log
from speedtest_logger.node import log_delivery, probe_delivery
from speedtest_logger.node.archive_hosts import send
from speedtest_logger.node.config import Settings
from speedtest_logger.node.connection import read_receipt
from speedtest_logger.node.greeting import Greeting
from speedtest_logger.node.spool import Spool
from speedtest_logger.wire import Receipt

KINDS = (log_delivery, probe_delivery)


class Piece(Protocol):
    """What goes up in one delivery."""

    @property
    def content(self) -> bytes:
        """Its lines."""

    def settle(self, spool: Spool, receipt: Receipt) -> None:
        """What the archive has need not go again."""


def pieces(settings: Settings, spool: Spool) -> list[Piece]:
    """What there is of each kind, as far as the archive and the owner want it."""
    found = [kind.next_piece(settings, spool) for kind in KINDS]
    return [piece for piece in found if piece is not None]


def due_alone(settings: Settings, spool: Spool, *, force: bool) -> bool:
    """Whether something has waited for long enough for a record to go with; cheap when nothing has."""
    return any(kind.due_alone(settings, spool, force=force) for kind in KINDS)


def deliver_alone(settings: Settings, spool: Spool, said: Greeting, events: Log) -> None:
    """Send what there is without a record, once: no delivery counts as failed for its sake."""
    going = pieces(settings, spool)
    if not going:
        return
    for kind in KINDS:
        kind.tried_alone(spool)
    try:
        content = said.line() + b"".join(piece.content for piece in going)
        receipt = read_receipt(settings, send(settings, content), ())
    except DeliveryError as error:
        events.event("debug", "log_not_delivered", message=str(error))
        return
    said.hear(receipt)
    for piece in going:
        piece.settle(spool, receipt)
