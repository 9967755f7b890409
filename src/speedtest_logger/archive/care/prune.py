"""prune: whole months leave the dataset by age or by size, oldest first. The manifest stays and says so.

Raw output, lines of logs and results of probes go by the day; the manifest does not name them.
"""

from __future__ import annotations

import calendar
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from speedtest_logger.archive.format import parquet
from speedtest_logger.archive.format.layout import Layout, month_of
from speedtest_logger.archive.ledger import index, manifest
from speedtest_logger.archive.ledger.entry import Entry, Pruned
from speedtest_logger.archive.read import gathered
from speedtest_logger.archive.write import store
from speedtest_logger.archive.write.by_day import SET_ASIDE
from speedtest_logger.errors import DamagedFileError
from speedtest_logger.record import utc_text

BY_DAY: dict[str, Callable[..., list[Path]]] = {
    "raw_older_than": Layout.raw_files,
    "logs_older_than": Layout.log_files,
    "probes_older_than": Layout.probe_files,
}


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


def plan_days(layout: Layout, now: float, **older_than: float | None) -> list[Old]:
    """The days to remove of what BY_DAY names: over for longer than that (s); None: none."""
    found = [
        file
        for name, seconds in older_than.items()
        if seconds is not None
        for file in BY_DAY[name](layout, last=_last_day(now, seconds))
    ]
    return [Old(file.relative_to(layout.root).as_posix(), file.lstat().st_size, _rows(file), "age") for file in found]


def _last_day(now: float, older_than: float) -> str:
    return utc_text(now - older_than - 86_400)[:10]


def _rows(file: Path) -> int:
    try:
        return int(parquet.ParquetFile(file).metadata.num_rows)
    except DamagedFileError:  # it goes all the same
        return 0


def prune(
    layout: Layout,
    now: float,
    older_than: float | None = None,
    max_bytes: int | None = None,
    **older_days: float | None,
) -> list[Old]:
    """Carry both plans out; returns what went. Raises StorageError while another change of the archive goes on."""
    with store.single_writer(layout, "prune", wait=300):
        months = plan(layout, now, older_than, max_bytes)
        if months:
            files: manifest.Files = {old.file: Entry(None, (Pruned(),)) for old in months}
            manifest.append(layout, "prune", files)
            store.keep_promises(layout, files)
            store.remove_empty_folders(layout.archive, list(files))
            index.rebuild(layout)
            gathered.remove_stale(layout)
        days = plan_days(layout, now, **older_days)
        for old in days:
            place = layout.root / old.file
            for file in (place, *place.parent.glob(f"{SET_ASIDE}*")):
                file.unlink()
        store.remove_empty_folders(layout.root, [old.file for old in days])
    return months + days
