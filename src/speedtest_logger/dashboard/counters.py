"""Counts of the archive as counters that never fall, whatever becomes of its records.

The archive's own counts may fall: months are pruned, and a slot that was missed is ok once its record arrives late.
Prometheus would take each fall for a counter that began again at 0, and count all of it anew. So what was lost is
remembered, and added: a counter rises by just what was added to the archive. It is kept in the dashboard's own folder;
without it counters begin again at what the archive has.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path

from speedtest_logger.files import read_bounded, write_durably

MOST_BYTES = 64_000_000
KEEP_SECONDS = 900.0  # that counts are kept at least: a fall that came while nothing looked is told by them
SOON_SECONDS = 30.0  # the same after a fall


class Counters:
    """Counters by name, each with the count that was seen last and all that was lost; used by one thread at a time."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._known = _read(file)
        self._fallen = self._changed = False
        self._kept = time.monotonic()

    def risen(self, counts: Mapping[str, int]) -> dict[str, int]:
        """What the counters say, now that the archive counts so much; those that are not counted any more go."""
        known: dict[str, tuple[int, int]] = {}
        for name, count in counts.items():
            last, lost = self._known.get(name, (count, 0))
            known[name] = count, lost + max(0, last - count)
            self._fallen |= count < last
        self._fallen |= self._known.keys() != known.keys()
        self._changed |= self._known != known
        self._known = known
        return {name: count + lost for name, (count, lost) in known.items()}

    def keep(self, *, now: bool = False) -> bool:
        """Write down what is known, from time to time; whether it was. Raises OSError."""
        due = now or time.monotonic() - self._kept > (SOON_SECONDS if self._fallen else KEEP_SECONDS)
        if not due or not self._changed:
            return False
        write_durably(self.file, json.dumps(self._known).encode())
        self._kept = time.monotonic()
        self._fallen = self._changed = False
        return True


def _read(file: Path) -> dict[str, tuple[int, int]]:
    """What was kept; nothing where there is none, or what makes no sense."""
    try:
        content = json.loads(read_bounded(file, MOST_BYTES))
        return {str(name): (int(last), int(lost)) for name, (last, lost) in content.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}
