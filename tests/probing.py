"""Results of probes as tests want them."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pyarrow as pa

from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.format.schema import PROBE_SCHEMA
from speedtest_logger.archive.write.probes import Taking


def at(moment: float) -> datetime:
    """A Unix time (s) as Arrow takes it."""
    return datetime.fromtimestamp(moment, timezone.utc)


def result(
    start: float,
    probe: str,
    target: str,
    node: str = "attic",
    *,
    failed: tuple[float, float] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A result of five runs, as the archive has it; `failed`: from when to when none had an answer."""
    row: dict[str, Any] = dict.fromkeys(PROBE_SCHEMA.names)
    row |= {
        "schema_version": 1, "node": node, "location": "home", "probe": probe, "target": target, "runs": 5, "sent": 15,
        "left_out": 0, "started_at": at(start), "finished_at": at(start + 240), "lost": 0,
    }  # fmt: skip
    if failed:
        first, last = max(start, failed[0]), min(start + 240, failed[1])
        row |= {"failed_from": at(first), "failed_until": at(last), "reason": "no_answer", "lost": 15}
    else:
        median = more.pop("median", 9.0)
        row |= {"min_ms": median / 2, "median_ms": median, "p90_ms": median + 3, "max_ms": median * 2}
    return row | more


def store(archive: Layout, rows: list[dict[str, Any]]) -> None:
    """Make results the archive's only ones of their days."""
    by_day: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_day.setdefault(f"{row['started_at']:%Y-%m-%d}", []).append(row)
    for day, theirs in by_day.items():
        Taking(archive).write_file(archive.probe_file(day), pa.Table.from_pylist(theirs, PROBE_SCHEMA))
