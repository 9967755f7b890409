"""What one question may cost, whoever asks it: how many slots it is about, and how many read the archive at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore

from speedtest_logger.dashboard.figures import Figures
from speedtest_logger.dashboard.period import Period
from speedtest_logger.errors import NotReadyError, UsageError

MOST_SLOTS = 9_000_000  # that one question may be about: 31 days of 1,000 nodes at 5 minutes, or a year of 85
AT_ONCE = 2  # questions that read the archive's own files, with a database of their own each
MOST_WAITING = 6  # others that wait for them: each holds a thread that pages need as well
PATIENCE = 10.0  # s
_asking, _reading = BoundedSemaphore(AT_ONCE + MOST_WAITING), BoundedSemaphore(AT_ONCE)


def check_slots(
    figures: Figures, asked: Period, location: str | None, node: str | None, most: int = MOST_SLOTS
) -> None:
    """Raise UsageError for a question about more slots than can be answered at once."""
    seconds = asked.end - asked.start
    slots = sum(
        seconds / max(1, entry.get("interval_seconds") or 1)
        for name, entry in figures.source.known().current.items()
        if node in (None, name) and location in (None, entry.get("location"))
    )
    if slots > most:
        raise UsageError(
            f"this is about {slots:,.0f} slots, {most:,} can be looked at at once: "
            "name a node or a location, or ask for a shorter period"
        )


@contextmanager
def in_turn(*, needed: bool = True) -> Iterator[None]:
    """For what reads the archive's own files: few at once. Raises NotReadyError where many wait, or for too long."""
    if not needed:  # the rollups have it
        yield
        return
    busy = NotReadyError("others are reading the archive just now: ask again")
    if not _asking.acquire(blocking=False):
        raise busy
    try:
        if not _reading.acquire(timeout=PATIENCE):
            raise busy
        try:
            yield
        finally:
            _reading.release()
    finally:
        _asking.release()
