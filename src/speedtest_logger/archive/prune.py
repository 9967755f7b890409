"""prune: whole months leave the dataset by age or by size, oldest first. The manifest stays and says so."""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from speedtest_logger.archive import gathered, index, manifest, store
from speedtest_logger.archive.layout import Layout, month_of


@dataclass(frozen=True)
class Old:
    """A month that may go, and why."""

    file: str
    size: int
    rows: int
    reason: str

    def to_row(self) -> dict[str, Any]:
        """As a flat row."""
        return dict(vars(self))


def ends_at(name: str) -> float:
    """Unix time (s) at which a file's month is over."""
    _, year, month = month_of(name)
    days = calendar.monthrange(year, month)[1]
    return datetime(year, month, days, tzinfo=timezone.utc).timestamp() + 86_400


def plan(layout: Layout, now: float, older_than: float | None, max_bytes: int | None) -> list[Old]:
    """The months to remove: over for longer than `older_than` (s), and the oldest beyond `max_bytes`.

    The current month and the one before it always stay: their records may still be on the way.
    """
    state = manifest.state(layout)
    over = sorted((ends_at(name), name) for name in state)
    kept = sum(file.size for file in state.values())
    going = []
    for end, name in over:
        file = state[name]
        reason = None
        if older_than is not None and now - end > older_than:
            reason = "age"
        elif max_bytes is not None and kept > max_bytes:
            reason = "size"
        if reason and now - end > 31 * 86_400:
            going.append(Old(name, file.size, file.rows, reason))
            kept -= file.size
    return going


def prune(layout: Layout, now: float, older_than: float | None, max_bytes: int | None) -> list[Old]:
    """Carry the plan out; returns what went. Raises StorageError while another change of the archive is running."""
    with store.single_writer(layout, "prune"):
        going = plan(layout, now, older_than, max_bytes)
        if going:
            files: manifest.Files = {old.file: None for old in going}
            manifest.append(layout, "prune", files)
            store.settle(layout, files)
            store.remove_empty_folders(layout, list(files))
            index.rebuild(layout)
            gathered.remove_stale(layout)
    return going
