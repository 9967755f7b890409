"""Whose turn it is, on a clock that may be stepped: no slot has two records of one run_id, and no measurement vanishes.

The state `last_slot` says which slot had its turn last, which is the newest that ever had one, and what the clock
and the machine's uptime were then: what the clock gained or lost beside the uptime since is its step.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from speedtest_logger.errors import RecordError
from speedtest_logger.log import Log
from speedtest_logger.node.config import Settings
from speedtest_logger.node.spool import DAY_SECONDS, Spool, read_record
from speedtest_logger.record import run_id_of_slot, utc_text
from speedtest_logger.schedule import Schedule

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Due(NamedTuple):
    """Which slot's turn it is (Unix time, s; None: a run by hand), how late it is (s), and whether it had one before.

    `again`: the clock was set back over a slot that has its record: what is measured now stands beside it, unscheduled.
    """

    turn: int | None = None
    late: float = 0.0
    again: bool = False


def due_slot(settings: Settings, spool: Spool, log: Log, now: float, *, timer: bool) -> Due | None:
    """What this run is for; None where a timer comes twice for one turn."""
    slot = Schedule(settings.interval_seconds, settings.offset_seconds).slot_at(now)
    late = now - slot
    if not accounted(settings, spool, slot):
        return Due(slot, late) if timer or late <= settings.start_tolerance_seconds else Due()
    if not timer:
        return Due()
    last = spool.read_state("last_slot") or {}
    lost = set_back(last, now)
    run_id = run_id_of_slot(settings.node, utc_text(slot))
    if lost <= settings.start_tolerance_seconds and last.get("run_id") == run_id:  # the turn is over already
        log.event("info", "slot_already_accounted_for")
        return None
    log.event("warning", "clock_was_set_back", slot=utc_text(slot), seconds=round(max(0.0, lost)))
    return Due(slot, late, again=True)


def accounted(settings: Settings, spool: Spool, slot: int) -> bool:
    """Whether a slot has its record: on a clock that only goes on, a glance at the state says so."""
    run_id = run_id_of_slot(settings.node, utc_text(slot))
    last = spool.read_state("last_slot") or {}
    if last.get("run_id") == run_id:
        return True
    newest = last.get("newest")
    if isinstance(newest, int) and slot > newest:
        return False
    if any(os.path.lexists(folder / f"{run_id}.csv") for folder in (spool.outbox, spool.rejected)):
        return True
    return any(run_id == found for found in measured_between(spool, slot, slot + settings.interval_seconds))


def measured_between(spool: Spool, start: int, end: int) -> Iterator[str]:
    """The run_ids of the local history whose measurements began from `start` to before `end` (Unix time, s)."""
    first, beyond = utc_text(start)[:19], utc_text(end)[:19]
    for day in range(start // DAY_SECONDS, end // DAY_SECONDS + 1):
        date = utc_text(day * DAY_SECONDS)[:10]
        year, month, number = date.split("-")
        folder = spool.directory / f"results/year={year}/month={month}/day={number}"
        names = os.listdir(folder) if folder.is_dir() else []
        for name in names:  # speedtest_HH-MM-SS.csv
            if first <= f"{date}T{name[10:18].replace('-', ':')}" < beyond:
                try:
                    yield read_record(folder / name).run_id
                except (OSError, RecordError):
                    continue


def remember(settings: Settings, spool: Spool, slot: int) -> None:
    """A slot had its turn."""
    newest = (spool.read_state("last_slot") or {}).get("newest")
    spool.write_state(
        "last_slot",
        {
            "run_id": run_id_of_slot(settings.node, utc_text(slot)),
            "newest": max(slot, newest) if isinstance(newest, int) else slot,
            "at": time.time(),
            "up": time.clock_gettime(time.CLOCK_BOOTTIME),
            "boot": boot_id(),
        },
    )


def set_back(last: dict[str, Any], now: float) -> float:
    """By how much the clock was set back since the last turn (s), below 0 where it was set ahead.

    Over a reboot, whose length nobody knows, it is the least that it can have been.
    """
    try:
        passed = time.clock_gettime(time.CLOCK_BOOTTIME) - last["up"] if last["boot"] == boot_id() else 0.0
        return float(last["at"] + passed - now)
    except (KeyError, TypeError):
        return 0.0


def boot_id() -> str:
    """What the kernel calls this boot."""
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""
