"""probe: one run of all probes against all their targets, at once and within ten seconds; its answers are kept.

Where a target of ping does not answer, traceroute shows how far the way goes.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from speedtest_logger import probes
from speedtest_logger.engines.contract import Command, Output
from speedtest_logger.errors import EngineError, ProbeError, SpeedtestError
from speedtest_logger.log import Log
from speedtest_logger.node import network, probe_lock, process
from speedtest_logger.node.config import Settings
from speedtest_logger.node.probe_buffer import Buffer, Entry, result
from speedtest_logger.node.spool import Spool
from speedtest_logger.probe_result import BROKEN, ProbeResult
from speedtest_logger.probes.catalogue import GATEWAY
from speedtest_logger.probes.contract import Answer, Job, said
from speedtest_logger.text import as_table

TRACEROUTE = "traceroute"
TARGET_SECONDS = 4.0  # for one target, and for the way to one afterwards: with a second each, LONGEST_RUN_SECONDS
TRACE_AGAIN_SECONDS = 15 * 60  # during an outage
TRACE_ANEW_SECONDS = 5 * 60  # for one that begins soon after the last


@dataclass(frozen=True)
class Line:
    """See probes.contract.Means: the line that the settings name."""

    settings: Settings
    environment: Mapping[str, str]

    def run(self, argv: Sequence[str], seconds: float) -> Output:
        """Run a program within so many seconds."""
        path = {"PATH": self.environment.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "HOME": "/"}
        try:
            return process.run(Command(list(argv)), seconds, path)
        except EngineError as error:
            reason = "program_missing" if error.reason == "engine_missing" else "program_failed"
            raise ProbeError(reason, str(error)) from error

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A socket from the interface and the address that the settings name."""
        made = socket.socket(family, kind, protocol)
        try:
            if self.settings.source_interface:
                name = self.settings.source_interface.encode()
                made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name)
            source = self.settings.source_address
            if source and (":" in source) == (family == socket.AF_INET6):
                made.bind((source, 0))
        except OSError:
            made.close()
            raise
        return made


def probe(settings: Settings, log: Log, environment: Mapping[str, str]) -> bool:
    """A run, unless the line is being measured or soon will be; whether results were written.

    Raises StorageError or OSError where nothing can be written.
    """
    if not settings.probes or settings.paused:
        return False
    spool = Spool(settings.state_dir)
    spool.prepare()
    buffer = Buffer.of(settings, spool)
    with probe_lock.probing(spool) as free:
        began = time.time()
        if not free or probe_lock.is_near_slot(settings, began):
            buffer.leave_out(began)
            return False
        found = ask(settings, environment)
        if TRACEROUTE in settings.probes:
            found += trace(settings, environment, buffer, found)
        buffer.add(found)
        return buffer.write_when_due(time.time(), log)


def now(settings: Settings, environment: Mapping[str, str]) -> list[ProbeResult]:
    """What a run finds now, traceroutes to what does not answer included; nothing is kept.

    Raises SpeedtestError where there are no probes, and while the line is being measured.
    """
    if not settings.probes:
        raise SpeedtestError("no probe is set: SPEEDTEST_PROBES names those to run")
    spool = Spool(settings.state_dir)
    spool.prepare()
    with probe_lock.probing(spool) as free:
        if not free:
            raise SpeedtestError("the line is being measured, or probed: try again in a minute")
        found = ask(settings, environment)
        if TRACEROUTE in settings.probes and (silent := failing(found)):
            found.append(_traced(settings, environment, silent[0]))
    return [result(settings, [entry]) for entry in found]


def as_text(found: Sequence[ProbeResult]) -> str:
    """Results as a table."""
    rows = [(r.probe, r.target, r.sent, r.lost, r.median_ms, r.path or r.message) for r in found]
    return as_table(["probe", "target", "sent", "lost", "median_ms", "message"], rows)


def jobs(settings: Settings) -> list[tuple[str, str, Job | Answer]]:
    """Each probe with each of its targets, and what to ask; where there is no route at all, the answer."""
    made: list[tuple[str, str, Job | Answer]] = []
    for name in settings.probes:
        for target in settings.probe[name].targets:
            job = Job(target, TARGET_SECONDS, settings.source_address, settings.ip_family)
            if target != GATEWAY:
                made.append((name, target, job))
                continue
            gateway = network.default_gateway(settings.source_interface)
            if gateway:  # a route may name none, as on point-to-point links
                made.append((name, target, replace(job, target=gateway, ip_family="auto")))
            elif gateway is None:
                made.append((name, target, Answer(1, reason="no_route", message="there is no default route")))
    return made


def ask(settings: Settings, environment: Mapping[str, str]) -> list[Entry]:
    """All targets at once. What has not answered when the time is over did not answer."""
    line, deadline = Line(settings, environment), time.monotonic() + TARGET_SECONDS + 1
    entries: list[Entry] = []
    threads = []
    for name, target, job in jobs(settings):
        entry = Entry(name, target, time.time(), Answer(1, reason="no_answer", message="it did not end in time"))
        entries.append(entry)
        if isinstance(job, Answer):
            entry.answer = job
            continue
        threads.append(threading.Thread(target=_ask, args=(entry, name, job, line), daemon=True))
        threads[-1].start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return [replace(entry, until=entry.until or time.time()) for entry in entries]


def _ask(entry: Entry, name: str, job: Job, line: Line) -> None:
    try:
        answer = probes.get(name).run(job, line)
    except ProbeError as error:
        answer = Answer(int(error.reason not in BROKEN), reason=error.reason, message=said(error))
    except OSError as error:
        answer = Answer(0, reason="program_failed", message=said(error.strerror or error))
    entry.answer, entry.until = answer, time.time()


def failing(found: Sequence[Entry]) -> list[Entry]:
    """Pings that nothing came back from; the gateway's last, for the way leads over it to the others."""
    silent = [entry for entry in found if entry.probe == "ping" and entry.answer.failed]
    return sorted(silent, key=lambda entry: entry.target == GATEWAY)


def trace(settings: Settings, environment: Mapping[str, str], buffer: Buffer, found: Sequence[Entry]) -> list[Entry]:
    """The way to a ping target that does not answer, when that begins, and then now and again."""
    silent = failing(found)
    before, at = buffer.outage()
    since = time.time() - at
    again = TRACE_ANEW_SECONDS if any(entry.target not in before for entry in silent) else TRACE_AGAIN_SECONDS
    due = bool(silent) and not 0 <= since < again
    if due or before != {entry.target for entry in silent}:
        buffer.remember_outage({entry.target for entry in silent}, time.time() if due else at)
    return [_traced(settings, environment, silent[0])] if due else []


def _traced(settings: Settings, environment: Mapping[str, str], silent: Entry) -> Entry:
    target = (network.default_gateway(settings.source_interface) or "") if silent.target == GATEWAY else silent.target
    entry = Entry(TRACEROUTE, silent.target, time.time(), Answer(1, reason="no_route", message="no default route"))
    if target:
        line = Line(settings, environment)
        job = Job(target, TARGET_SECONDS, settings.source_address, settings.ip_family)
        _ask(entry, TRACEROUTE, job, line)
    return replace(entry, until=entry.until or time.time())
