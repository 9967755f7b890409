"""loop: the scheduler of a container, with the same slots as a node's systemd timer.

Every slot is measured by a process of its own, so that no state survives between tests. A slot that passed while
nothing ran is missed, never replayed: it could meet another node's slot on the same line.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import speedtest_logger
from speedtest_logger.errors import EXIT_FAILED_MEASUREMENT, EXIT_OK
from speedtest_logger.log import Log
from speedtest_logger.node import probe_lock
from speedtest_logger.node.config import Settings
from speedtest_logger.node.spool import Spool
from speedtest_logger.record import utc_text
from speedtest_logger.schedule import Schedule

STOP = {signal.SIGTERM, signal.SIGINT}
LONGEST_WAIT_SECONDS = 20  # the clock is read at least this often: it may be stepped
STOP_SECONDS = 15
MEASURE = ("measure", "--scheduled")
PUSH = ("push",)
PROBE = ("probe",)


def loop(settings: Settings, log: Log, environment: Mapping[str, str]) -> None:
    """Run measure at every slot, push after it, and probes between slots, until SIGTERM or SIGINT.

    Raises StorageError, OSError.
    """
    children = Children(environment)
    spool = Spool(settings.state_dir)
    spool.prepare()
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {*STOP, signal.SIGCHLD})
    try:
        now = time.time()
        spool.write_state("loop", {"started_at": utc_text(now)})
        plan = Plan(settings, now)
        log.event("info", "loop_started", next_slot=utc_text(plan.next_slot))
        while True:
            received = signal.sigtimedwait({*STOP, signal.SIGCHLD}, plan.wait(time.time()))
            if received is not None and received.si_signo in STOP:
                break
            after_measuring = any(verb is MEASURE for verb in children.reap())
            for verb in plan.due(time.time(), after_measuring=after_measuring):
                children.start(verb)
        log.event("info", "loop_stopping", signal=signal.Signals(received.si_signo).name)
    finally:
        children.stop()
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


class Plan:
    """What is due when; moments are Unix times (s). A first push is due at once: a restart may have left records."""

    def __init__(self, settings: Settings, now: float) -> None:
        self.slots = Schedule(settings.interval_seconds, settings.offset_seconds)
        push_every = settings.push_interval_seconds
        self.pushes = Schedule(push_every, settings.offset_seconds % push_every)
        self.probes = probe_lock.schedule(settings) if settings.probes else None
        self.next_slot: float = self.slots.next_after(now)
        self.next_probe: float = self.probes.next_after(now) if self.probes else math.inf
        self.next_push: float = now

    def wait(self, now: float) -> float:
        """Seconds to the next thing that is due, LONGEST_WAIT_SECONDS at most."""
        return min(max(0.0, min(self.next_slot, self.next_push, self.next_probe) - now), LONGEST_WAIT_SECONDS)

    def due(self, now: float, *, after_measuring: bool) -> list[tuple[str, ...]]:
        """The verbs to start at `now`; a slot that passed long ago is started too, and measure records it as late."""
        verbs: list[tuple[str, ...]] = []
        if now >= self.next_slot:
            verbs.append(MEASURE)
        if after_measuring or now >= self.next_push:
            verbs.append(PUSH)
        if now >= self.next_probe:
            verbs.append(PROBE)
        if self.probes:
            self.next_probe = self.probes.next_after(now)
        self.next_slot = self.slots.next_after(now)  # also right after the clock was set back
        self.next_push = self.pushes.next_after(now)
        return verbs


@dataclass
class Children:
    """The processes that the loop has started and not yet seen end."""

    environment: Mapping[str, str]
    running: list[tuple[tuple[str, ...], subprocess.Popen[bytes]]] = field(default_factory=list)

    def start(self, verb: tuple[str, ...]) -> None:
        """Run a verb of this very program."""
        source = str(Path(speedtest_logger.__file__).parents[1])
        process = subprocess.Popen(
            [sys.executable, "-m", "speedtest_logger", *verb],
            stdin=subprocess.DEVNULL,
            env={**self.environment, "PYTHONPATH": source},
            preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, []),  # noqa: PLW1509  # no threads here
        )
        self.running.append((verb, process))

    def reap(self) -> list[tuple[str, ...]]:
        """The verbs that have ended as they should since the last call."""
        ended = [(verb, process.returncode) for verb, process in self.running if process.poll() is not None]
        self.running = [(verb, process) for verb, process in self.running if process.returncode is None]
        return [verb for verb, code in ended if code in (EXIT_OK, EXIT_FAILED_MEASUREMENT)]

    def stop(self) -> None:
        """Ask all to end: a measurement that is interrupted leaves its record. Who does not listen is killed."""
        deadline = time.monotonic() + STOP_SECONDS
        for _, process in self.running:
            process.terminate()
        for _, process in self.running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
        self.running = []
