"""Tests and probes keep out of each other's way: a probe's answer beside a test would tell of the test."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager

from speedtest_logger import files
from speedtest_logger.node.config import Settings
from speedtest_logger.node.spool import Spool
from speedtest_logger.schedule import Schedule

LONGEST_RUN_SECONDS = 10  # of all probes together
PATIENCE_SECONDS = 15  # of a test, for a run that is under way
NEAR_SECONDS = 20  # to the next slot: no run begins any more
NAME = "probe.lock"


def schedule(settings: Settings) -> Schedule:
    """When probes run: as far from the slots as their interval allows."""
    every = settings.probe_interval_seconds
    return Schedule(every, (settings.offset_seconds + every // 2) % every)


def is_near_slot(settings: Settings, now: float) -> bool:
    """Whether the next slot comes too soon for a run."""
    return Schedule(settings.interval_seconds, settings.offset_seconds).next_after(now) - now < NEAR_SECONDS


@contextmanager
def without_probes(settings: Settings, spool: Spool) -> Iterator[None]:
    """For a test: a run that is under way ends first, no other begins. The kernel frees the lock on any death.

    Nothing keeps a test waiting for longer than PATIENCE_SECONDS.
    """
    if not settings.probes:
        yield
        return
    deadline = time.monotonic() + PATIENCE_SECONDS
    with files.open_lock(spool.directory / "state" / NAME) as file:
        while time.monotonic() < deadline:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.05)
        yield


@contextmanager
def probing(spool: Spool) -> Iterator[bool]:
    """For a run of probes: whether neither a test nor another run is under way."""
    with files.open_lock(spool.directory / "state" / NAME) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
