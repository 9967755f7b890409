"""When not to measure: each of these skips the slot and leaves a record that says why."""

from __future__ import annotations

import shutil
import time
from datetime import datetime, timezone

from speedtest_logger.node import network
from speedtest_logger.node.config import Settings
from speedtest_logger.node.spool import Spool
from speedtest_logger.record import Record, utc_text

GB = 1e9
MB = 1e6


def reason_to_skip(settings: Settings, spool: Spool, now: float) -> tuple[str, str] | None:
    """The first reason (word, text) not to measure at `now` (Unix time, s), None where there is none."""
    if settings.paused:
        return "paused", "SPEEDTEST_PAUSED is true"
    if window := quiet_window(settings, now):
        return "quiet_hours", f"{window} {settings.timezone}"
    used = used_bytes(spool, now)
    if settings.data_budget_gb and used >= settings.data_budget_gb * GB:
        return "data_budget", f"{used / GB:.2f} of {settings.data_budget_gb:g} GB used this month"
    free = shutil.disk_usage(spool.directory).free
    if free < settings.disk_min_free_mb * MB:
        return "disk_full", f"{free / MB:.0f} MB free, {settings.disk_min_free_mb:g} MB wanted"
    return busy(settings) if settings.busy_mbps else None


def quiet_window(settings: Settings, now: float) -> str | None:
    """The quiet window that `now` lies in, in the owner's time zone."""
    if not settings.quiet_hours:
        return None
    local = datetime.fromtimestamp(now, tz=timezone.utc)
    if settings.timezone != "UTC":
        from zoneinfo import ZoneInfo

        local = local.astimezone(ZoneInfo(settings.timezone))
    minute = local.hour * 60 + local.minute
    for start, end in settings.quiet_hours:
        inside = start <= minute < end if start < end else minute >= start or minute < end
        if inside:
            return f"{start // 60:02d}:{start % 60:02d}-{end // 60:02d}:{end % 60:02d}"
    return None


def busy(settings: Settings) -> tuple[str, str] | None:
    """line_busy where the interface already carries the threshold."""
    interface = settings.source_interface or network.default_interface()
    before, began = network.counters(interface), time.monotonic()
    time.sleep(settings.busy_window_seconds)
    after, seconds = network.counters(interface), time.monotonic() - began
    if before is None or after is None:
        return None  # no interface: the measurement itself will say so
    mbps = max(after[0] - before[0], after[1] - before[1]) * 8 / seconds / MB
    if mbps >= settings.busy_mbps:
        return "line_busy", f"{interface} carried {mbps:.1f} Mbit/s"
    return None


def used_bytes(spool: Spool, now: float) -> int:
    """Bytes that this calendar month's (UTC) measurements have cost so far."""
    usage = spool.read_state("usage") or {}
    return int(usage.get("bytes", 0)) if usage.get("month") == utc_text(now)[:7] else 0


def count_bytes(spool: Spool, record: Record) -> None:
    """Add a measurement's bytes to its month."""
    used = (record.bytes_received or 0) + (record.bytes_sent or 0)
    if used:
        now = time.time()
        spool.write_state("usage", {"month": utc_text(now)[:7], "bytes": used_bytes(spool, now) + used})
