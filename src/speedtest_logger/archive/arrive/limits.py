"""What one delivery and one node may cost. Root's file `<archive>/fleet/limits.env` sets what shall differ from here.

Standard library only: receive reads it at every delivery.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

from speedtest_logger import env_file
from speedtest_logger.archive.format.layout import Layout

FILE = "limits.env"
PREFIX = "SPEEDTEST_LIMIT_"


def _between(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isascii() or not text.isdigit() or len(text) > 12 or not least <= int(text) <= most:
            raise ValueError(f"a whole number from {least} to {most} is wanted")
        return int(text)

    return parse


def _limit(default: int, least: int, most: int, text: str) -> Any:
    """A limit: its default, the least and the most that it can be set to, what it bounds."""
    metadata = {"parse": _between(least, most), "text": text, "least": least, "most": most}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Limits:
    """All limits. The variable of `rows` is SPEEDTEST_LIMIT_ROWS, and so on. MB are 10^6 bytes."""

    payload_mb: int = _limit(64, 1, 1_000, "most bytes of a delivery (MB)")
    line_bytes: int = _limit(32_000, 4_000, 1_000_000, "longest line of a delivery")
    rows: int = _limit(10_000, 1, 100_000, "most records of a delivery")
    seconds: int = _limit(300, 10, 3_600, "longest time that a delivery may take, and most CPU time")
    rows_burst: int = _limit(120_000, 100, 10_000_000, "most records that a node may deliver at once after a long rest")
    rows_per_hour: int = _limit(6_000, 60, 1_000_000, "records that a node may deliver an hour from then on")
    bytes_burst_mb: int = _limit(
        256, 1, 100_000, "most bytes that a node may send at once after a long rest (MB); what is refused counts"
    )
    bytes_per_hour_mb: int = _limit(4, 1, 10_000, "bytes that a node may send an hour from then on (MB)")
    raw_burst_mb: int = _limit(
        2_000, 1, 100_000, "most raw output, unpacked, that a node may deliver at once after a long rest (MB)"
    )
    raw_per_hour_mb: int = _limit(128, 1, 10_000, "raw output, unpacked, that a node may deliver an hour then (MB)")
    inbox_mb: int = _limit(256, 1, 100_000, "most of a node's records that wait for ingest (MB)")
    raw_inbox_mb: int = _limit(256, 1, 100_000, "most of a node's raw output that waits for ingest (MB)")
    quarantine_mb: int = _limit(5, 1, 10_000, "most that is kept of what was refused to a node (MB)")
    quarantine_days: int = _limit(90, 1, 3_650, "how long that is kept")
    raw_day_mb: int = _limit(64, 1, 10_000, "most raw output, unpacked, of a node and day (MB)")
    raw_mb: int = _limit(2_000, 1, 1_000_000, "most raw output of a node in the archive (MB)")
    oldest_days: int = _limit(420, 1, 36_500, "older records are refused: too_old")
    ahead_seconds: int = _limit(
        300, 1, 86_400, "records that are further ahead of the archive's clock stay on the node: from_the_future"
    )
    free_mb: int = _limit(200, 1, 1_000_000, "with less free disk (MB) nobody can deliver: disk_full")
    low_disk_mb: int = _limit(
        2_000, 1, 10_000_000, "with less free disk (MB) nodes that sent much lately cannot deliver: low_disk"
    )
    receive_memory_mb: int = _limit(256, 64, 100_000, "most memory of a receive (MB)")
    ingest_memory_mb: int = _limit(
        1_500, 256, 1_000_000, "most memory of the ingest service (MB), where systemd can bound memory"
    )


def load(layout: Layout) -> tuple[Limits, list[str]]:
    """The limits in force, and what is wrong with the file: a value that is none leaves its default in force."""
    file = layout.fleet / FILE
    if not os.path.lexists(file):
        return Limits(), []
    try:
        values = env_file.read(file)
    except (OSError, ValueError) as error:
        return Limits(), [f"{file} cannot be read ({error}): the defaults are in force: run site.yml"]
    found: dict[str, int] = {}
    problems = []
    for limit in fields(Limits):
        variable = PREFIX + limit.name.upper()
        if (text := values.pop(variable, "")) == "":
            continue
        try:
            found[limit.name] = limit.metadata["parse"](text)
        except ValueError as error:
            problems.append(f"{file}: {variable}={text!r:.80}: {error}; {limit.default} is in force")
    problems += [f"{file}: {name!r:.80}: there is no such limit" for name in values]
    return Limits(**found), problems
