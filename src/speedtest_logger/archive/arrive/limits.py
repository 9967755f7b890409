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
from speedtest_logger.files import Identity, identity

FILE = "limits.env"
PREFIX = "SPEEDTEST_LIMIT_"


def _between(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isascii() or not text.isdigit() or len(text) > 12 or not least <= int(text) <= most:
            raise ValueError(f"a whole number from {least} to {most} is expected")
        return int(text)

    return parse


def _limit(default: int, least: int, most: int, text: str) -> Any:
    """A limit: its default, the least and the most that it can be set to, what it bounds."""
    metadata = {"parse": _between(least, most), "text": text, "least": least, "most": most}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Limits:
    """All limits. The variable of `rows` is SPEEDTEST_LIMIT_ROWS, and so on. MB are 10^6 bytes."""

    payload_mb: int = _limit(
        64, 1, 1_000, "A delivery of more data than this (10^6 bytes) is refused; the node sends it in parts."
    )
    line_bytes: int = _limit(32_000, 4_000, 1_000_000, "A record that takes more bytes than this is refused.")
    rows: int = _limit(
        10_000, 1, 100_000, "A delivery of more records than this is refused; the node sends them in parts."
    )
    seconds: int = _limit(
        300, 10, 3_600, "A delivery that takes longer, or more CPU time, is ended; its records stay on the node."
    )
    rows_burst: int = _limit(
        120_000,
        100,
        10_000_000,
        "Records that a node may deliver at once after a long silence; refused ones count. 120000 are 400 days at 5 "
        "minutes.",
    )
    rows_per_hour: int = _limit(6_000, 60, 1_000_000, "Records that a node may deliver an hour from then on.")
    bytes_burst_mb: int = _limit(
        256, 1, 100_000, "Data that a node may send at once after a long silence (10^6 bytes); what is refused counts."
    )
    bytes_per_hour_mb: int = _limit(4, 1, 10_000, "Data that a node may send an hour from then on (10^6 bytes).")
    raw_burst_mb: int = _limit(
        2_000, 1, 100_000, "Raw output, unpacked, that a node may deliver at once after a long silence (10^6 bytes)."
    )
    raw_per_hour_mb: int = _limit(
        128, 1, 10_000, "Raw output, unpacked, that a node may deliver an hour from then on (10^6 bytes)."
    )
    inbox_mb: int = _limit(
        256, 1, 100_000, "What a node may have waiting for ingest (10^6 bytes); beyond it the rest stays on the node."
    )
    raw_inbox_mb: int = _limit(
        256,
        1,
        100_000,
        "Raw output that a node may have waiting for ingest (10^6 bytes); beyond it the rest stays on the node.",
    )
    log_day_mb: int = _limit(
        5, 1, 10_000, "Lines of a node's log and day that are kept (10^6 bytes); how many were over is told in a line."
    )
    log_inbox_mb: int = _limit(
        16, 1, 100_000, "Lines of its log that a node may have waiting for ingest (10^6 bytes); the rest stays there."
    )
    probe_day_mb: int = _limit(
        16, 1, 10_000, "Results of a node's probes and day that are kept (10^6 bytes); what is over is only counted."
    )
    probe_inbox_mb: int = _limit(
        32,
        1,
        100_000,
        "Results of its probes that a node may have waiting for ingest (10^6 bytes); the rest waits there.",
    )
    probe_oldest_days: int = _limit(35, 1, 420, "A result of a probe of longer ago is refused (too_old).")
    quarantine_mb: int = _limit(
        5, 1, 10_000, "What is kept of a node's refused records (10^6 bytes); beyond it only their number is."
    )
    quarantine_days: int = _limit(90, 1, 3_650, "What lies in quarantine for longer is removed.")
    raw_day_mb: int = _limit(
        64, 1, 10_000, "Raw output of one node and day (10^6 bytes, unpacked); what is over is not kept."
    )
    raw_mb: int = _limit(
        2_000, 1, 1_000_000, "Raw output of one node in the archive (10^6 bytes); what is over is not kept."
    )
    oldest_days: int = _limit(420, 1, 36_500, "A record of longer ago is refused (too_old).")
    ahead_seconds: int = _limit(
        300,
        1,
        86_400,
        "A record from further in the future than this stays on its node until its time has come (from_the_future).",
    )
    free_mb: int = _limit(
        200, 1, 1_000_000, "With less free space than this (10^6 bytes) nothing is received (disk_full)."
    )
    low_disk_mb: int = _limit(
        2_000,
        1,
        10_000_000,
        "With less free space than this (10^6 bytes) a node that sent much lately has to wait (low_disk), so that all "
        "get some.",
    )
    receive_memory_mb: int = _limit(256, 64, 100_000, "Memory that one delivery may take (MB).")
    ingest_memory_mb: int = _limit(
        1_500,
        256,
        1_000_000,
        "Memory that the ingest service may take (MB), where systemd has the kernel's memory controller.",
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


class Reader:
    """The limits, for who asks again and again: their file is read where it is not the one that was read last.

    One with which something is wrong is read each time: what failed may be over. So is what is no file of its own,
    such as a link to the newest version, which a cluster mounts.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._known: tuple[Identity, Limits] | None = None

    def read(self) -> Limits:
        """The limits in force now."""
        now = identity(self.layout.fleet / FILE)
        if now and self._known and self._known[0] == now:
            return self._known[1]
        limits, problems = load(self.layout)
        self._known = (now, limits) if now and not problems else None
        return limits
