"""measure: one slot, one record, exit.

The order of writes decides what a crash can cost: a marker first, so that a killed measurement leaves a record behind;
then the outbox, then the history, then the small state files, each of which can be made again.
"""

from __future__ import annotations

import fcntl
import hashlib
import signal
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

from speedtest_logger import __version__, files
from speedtest_logger.engines.contract import Result
from speedtest_logger.engines.reading import text_or_none
from speedtest_logger.errors import EngineError, RecordError
from speedtest_logger.log import Log
from speedtest_logger.node import chain, gates, network, probe_lock, slots
from speedtest_logger.node.config import Settings
from speedtest_logger.node.spool import DAY_SECONDS, Spool
from speedtest_logger.record import MAX_TEXT, Record, run_id_of_slot, shorten, unix_time, utc_text, validate

LEAP_DAYS = 31  # a machine may be off for so long

# what is known of a measurement before it begins
IDENTITY = (
    "run_id",
    "node",
    "location",
    "uplink",
    "runtime",
    "logger_version",
    "scheduled_at",
    "started_at",
    "finished_at",
    "engine_requested",
    "interface",
)


class InterruptedMeasurementError(Exception):
    """The node or its owner asked the measurement to stop."""


def measure(
    settings: Settings, log: Log, environment: Mapping[str, str], *, timer: bool = False, wait: bool = False
) -> Record | None:
    """Account for the current slot, or measure unscheduled where none is due.

    `timer`: a timer started this, so a slot that is due too late is skipped, not measured as if by hand, and nothing is
    done (None) where the slot is accounted for. `wait`: a measurement that is running is waited for; otherwise this one
    is skipped (locked).
    Raises StorageError or OSError where nothing can be written.
    """
    spool = Spool(settings.state_dir)
    spool.prepare()
    with measuring_lock(spool, wait=wait) as locked:
        now = time.time()
        due = slots.due_slot(settings, spool, log, now, timer=timer)
        if due is None:
            return None
        if not locked and not timer:
            due = slots.Due()  # the slot is the running measurement's, or the timer's
        record = begin(settings, None if due.again else due.turn, now)
        if not locked:
            if (spool.read_state("measuring") or {}).get("run_id") == record.run_id:
                log.event("info", "slot_is_being_measured")
                return None
            busy = skipped(record, "locked", "another measurement is still running")
            return finish(settings, spool, log, busy, due.turn)
        recover(settings, spool, log, record)
        spool.write_state("measuring", record.to_row())
        skip = ("late_start", f"{due.late:.0f} s late") if due.late > settings.start_tolerance_seconds else None
        skip = skip or gates.reason_to_skip(settings, spool, now)
        if skip:
            record = skipped(record, *skip)
        else:
            with probe_lock.without_probes(settings, spool):
                record = run_test(settings, spool, log, record, environment)
        record = finish(settings, spool, log, record, due.turn)
        spool.clear_state("measuring")
    tidy(settings, spool, log, now)
    return record


def begin(settings: Settings, slot: int | None, now: float) -> Record:
    """The record of a measurement that was interrupted right away: what is written if nothing else can be."""
    scheduled_at = None if slot is None else utc_text(slot)
    interface = settings.source_interface or network.default_interface()
    return Record(
        run_id=run_id_of_slot(settings.node, scheduled_at) if scheduled_at else str(uuid.uuid4()),
        node=settings.node,
        location=settings.location,
        uplink=settings.uplink,
        runtime=settings.runtime,
        logger_version=__version__,
        scheduled_at=scheduled_at,
        started_at=utc_text(now),
        finished_at=utc_text(now),
        status="failed",
        reason="interrupted",
        message="ended before it was finished",
        engine_requested=settings.engines[0],
        interface=interface,
    )


def skipped(record: Record, reason: str, message: str) -> Record:
    """The record of a slot that was not measured on purpose."""
    return replace(record, status="skipped", reason=reason, message=message)


@contextmanager
def measuring_lock(spool: Spool, *, wait: bool) -> Iterator[bool]:
    """Keeps two measurements on one node apart; yields whether it was free. The kernel frees it on any death."""
    with files.open_lock(spool.directory / "state" / "measure.lock") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True


def recover(settings: Settings, spool: Spool, log: Log, current: Record) -> None:
    """Write the record of a measurement that was killed, unless it is the one that is about to be tried again."""
    marker = spool.read_state("measuring")
    if marker and marker.get("run_id") != current.run_id:
        finish(settings, spool, log, Record(**marker))
    spool.clear_state("measuring")


def run_test(settings: Settings, spool: Spool, log: Log, record: Record, environment: Mapping[str, str]) -> Record:
    """Measure, and count what else went over the line meanwhile.

    Where nothing answered, a line that was out at the beginning or at the end is the reason, whatever engines say.
    """
    outage = network.outage_reason(record.interface)
    before = network.counters(record.interface)
    try:
        with interruptible():
            answer = chain.measure(settings, spool, log, environment)
    except InterruptedMeasurementError:
        return record
    except EngineError as error:
        return replace(
            record,
            status="failed",
            reason=outage or network.outage_reason(record.interface) or error.reason,
            message=text_or_none(str(error), MAX_TEXT),
            attempt=None,
        )
    spool.write_raw(record.run_id, answer.engine, answer.raw)
    record = replace(
        record,
        status="ok",
        reason=None,
        engine=answer.engine,
        engine_version=answer.version,
        attempt=answer.attempt,
        raw_sha256=hashlib.sha256(answer.raw).hexdigest(),
        **measured(settings, answer.result),
    )
    return judge(with_background(record, before, network.counters(record.interface)))


def measured(settings: Settings, result: Result) -> dict[str, Any]:
    """The engine's columns, with as much of address and provider as the owner lets out."""
    columns = asdict(result)
    columns["external_ip"] = {"full": result.external_ip, "none": None}.get(
        settings.external_ip, shorten(result.external_ip)
    )
    columns["isp"] = result.isp if settings.isp_enabled else None
    if settings.ip_family != "auto":
        columns["ip_family"] = int(settings.ip_family)
    return columns


def judge(record: Record) -> Record:
    """Partial where a direction is missing."""
    if record.download_bps and record.upload_bps:
        return record
    missing = "upload" if record.download_bps else "download"
    message = "; ".join(filter(None, (f"the {missing} was not measured", record.message)))
    return replace(record, status="partial", reason="incomplete", message=message)


def with_background(record: Record, before: tuple[int, int] | None, after: tuple[int, int] | None) -> Record:
    """What the interface carried beside the test: its counters' growth less the test's own bytes."""
    if before is None or after is None:
        return record
    received, sent = after[0] - before[0], after[1] - before[1]
    return replace(
        record,
        background_rx_bytes=None if record.bytes_received is None else max(0, received - record.bytes_received),
        background_tx_bytes=None if record.bytes_sent is None else max(0, sent - record.bytes_sent),
    )


def finish(settings: Settings, spool: Spool, log: Log, record: Record, turn: int | None = None) -> Record:
    """Make the record durable, then remember it, and the slot whose turn it was."""
    if record.reason != "interrupted" or record.status != "failed":
        record = replace(record, finished_at=max(utc_text(time.time()), record.started_at))
    record = presentable(record)
    keep(settings, spool, log, record)
    remember(settings, spool, log, record, turn)
    return record


def keep(settings: Settings, spool: Spool, log: Log, record: Record) -> None:
    """Make a record durable; older ones may have to go for it."""
    if not spool.has_room(record, settings.outbox_max_mb * 1e6):
        from speedtest_logger.node import cap  # hardly ever needed, and loading it takes a millisecond

        cap.keep_below_cap(settings, spool, log, record)
    written = spool.write(record)
    if written:
        gates.count_bytes(spool, record)


def remember(settings: Settings, spool: Spool, log: Log, record: Record, turn: int | None) -> None:
    """Remember the slot whose turn it was and the last record, and say what became of it."""
    if turn is None and record.scheduled_at:  # of a measurement that was killed
        turn = round(unix_time(record.scheduled_at))
    if turn is not None:
        slots.remember(settings, spool, turn)
    spool.write_state("last_record", record.to_row())
    level = "info" if record.status in ("ok", "skipped") else "warning"
    log.event(
        level,
        "record",
        **{
            name: value
            for name, value in record.to_row().items()
            if name
            in (
                "run_id",
                "scheduled_at",
                "status",
                "reason",
                "message",
                "engine",
                "download_bps",
                "upload_bps",
                "latency_ms",
            )
        },
    )


def presentable(record: Record) -> Record:
    """The record, or, where an engine's values make it one that the archive would refuse, a failed one that says so."""
    try:
        return validate(record.to_row())
    except RecordError as error:
        return Record(
            **{name: getattr(record, name) for name in IDENTITY},
            status="failed",
            reason="bad_output",
            message=text_or_none(f"the values were impossible: {error}", MAX_TEXT),
        )


def tidy(settings: Settings, spool: Spool, log: Log, now: float) -> None:
    """Once a day, remove what is beyond its age; not on the first day after a leap, for the clock may be wrong."""
    day = int(now // DAY_SECONDS)
    before = (spool.read_state("tidied") or {}).get("day")
    if before == day:
        return
    leapt = isinstance(before, int) and day - before > LEAP_DAYS
    removed = 0 if leapt else spool.prune(settings.history_days, settings.raw_days)
    spool.write_state("tidied", {"day": day})
    log.event("debug", "pruned", files=removed)


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn SIGTERM and SIGINT into InterruptedMeasurementError, so that a shutdown leaves a record instead of a gap."""

    def stop(number: int, _: object) -> None:
        raise InterruptedMeasurementError(signal.Signals(number).name)

    previous = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
