"""push: deliver the outbox over one connection and release exactly what the archive receipted.

What goes up and comes down is in `wire`. What is put off (later) stays in the outbox: its time comes.
"""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, BinaryIO

from speedtest_logger import files, wire
from speedtest_logger.errors import DeliveryError, RecordError
from speedtest_logger.log import Log
from speedtest_logger.node import beside, cap, outbox
from speedtest_logger.node.archive_hosts import send
from speedtest_logger.node.beside import Piece
from speedtest_logger.node.config import Settings
from speedtest_logger.node.connection import read_receipt
from speedtest_logger.node.greeting import Greeting
from speedtest_logger.node.spool import Spool, read_record
from speedtest_logger.record import Record, utc_text
from speedtest_logger.wire import Receipt

TRIES = 3
FIRST_WAIT_SECONDS = 2
BATCH_BYTES = 16_000_000  # with raw output; the archive takes four times as much
RAW_LINE_BYTES = 30_000  # a longer line would be refused, and all that came with it


@dataclass
class Delivery:
    """How many records the archive took, refused, and put off, and how many still wait."""

    accepted: int = 0
    rejected: int = 0
    waiting: int = 0
    deferred: int = 0


@dataclass
class Course:
    """One push: what it has sent already, what it keeps for the end, and why records were put off."""

    settings: Settings
    spool: Spool
    log: Log
    delivery: Delivery = field(default_factory=Delivery)
    tried: set[str] = field(default_factory=set)
    counts: dict[str, Record] = field(default_factory=dict)
    put_off: dict[str, str] = field(default_factory=dict)
    besides_are_sent: bool = False

    @cached_property
    def greeting(self) -> Greeting:
        """What the node says of itself, made when there is something to send."""
        return Greeting.of(self.settings, self.spool)

    def besides(self, batch: dict[str, bytes]) -> list[Piece]:
        """What goes up besides records, with what seems to be the last batch; once in a push."""
        if self.besides_are_sent or len(batch) >= self.settings.push_batch_records:
            return []
        self.besides_are_sent = True
        return beside.pieces(self.settings, self.spool)


def push(settings: Settings, log: Log, *, force: bool = False, rejected: bool = False) -> Delivery:
    """Deliver what waits; silent and cheap when nothing does.

    `force` ignores the rest after earlier failures and waits for another push to end; otherwise that push has it.
    `rejected`: what the archive refused earlier is delivered again.

    Raises DeliveryError where the archive gave no receipt after three tries; nothing is released then.
    """
    spool = Spool(settings.state_dir)
    spool.prepare()
    course = Course(settings, spool, log)
    delivery = course.delivery
    if not settings.archive_host:
        return delivery
    alone = outbox.is_empty(spool.outbox) and not rejected
    if alone and not beside.due_alone(settings, spool, force=force):
        return delivery
    with files.open_lock(spool.directory / "state" / "push.lock") as lock:
        if not locked(lock, log, wait=force) or (resting(spool) and not force):
            delivery.waiting = waiting(spool)
            return delivery
        if alone:
            beside.deliver_alone(settings, spool, course.greeting, log)
            return delivery
        if rejected:
            take_back(spool, log)
        cap.finish(spool)
        set_strange_aside(spool, log)
        deliver_all(course, force=force)
    delivery.waiting = waiting(spool)
    if course.tried or course.counts:
        log.event("info", "delivered", accepted=delivery.accepted, rejected=delivery.rejected, waiting=delivery.waiting)
    return delivery


def hello(settings: Settings, log: Log) -> str:
    """Deliver nothing, to see that a delivery would succeed; returns a sentence that says so. Raises DeliveryError."""
    if not settings.archive_host:
        raise DeliveryError("no archive host is set: records stay on this node")
    spool = Spool(settings.state_dir)
    spool.prepare()
    with files.open_lock(spool.directory / "state" / "push.lock") as lock:
        locked(lock, log, wait=True)
        greeting = Greeting.of(settings, spool)
        for attempt in range(1, TRIES + 1):
            try:
                receipt = read_receipt(settings, send(settings, greeting.line()), ())
                greeting.hear(receipt)
                return f"{settings.archive_host} answers node '{settings.node}': receipt {receipt.name}"
            except DeliveryError:
                if attempt == TRIES:
                    raise
                time.sleep(FIRST_WAIT_SECONDS**attempt)
    raise AssertionError("unreachable")


def locked(lock: BinaryIO, log: Log, *, wait: bool) -> bool:
    """Whether this process is now the only one that delivers; `wait` for the other one to end."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.event("info", "another_push_is_running", waiting_for_it=wait)
        if not wait:
            return False
        fcntl.flock(lock, fcntl.LOCK_EX)
    return True


def waiting(spool: Spool) -> int:
    """How many records wait."""
    return sum(1 for _ in outbox.names(spool.outbox))


def resting(spool: Spool, name: str = "push") -> bool:
    """Whether an earlier failure, or a putting off, asks to wait still; a clock that was set back ends the wait."""
    state = spool.read_state(name) or {}
    left = float(state.get("not_before", 0)) - time.time()
    return 0 < left <= outbox.LONGEST_REST_SECONDS


def pause(settings: Settings, times: int) -> float:
    """How long to rest (s): a minute, then twice as long each time up to an hour, less an offset."""
    return float(min(60 * 2 ** min(times - 1, 10), outbox.LONGEST_REST_SECONDS) - settings.offset_seconds % 30)


def take_back(spool: Spool, log: Log) -> None:
    """Put refused records back into the outbox; what is no record stays where it is."""
    count = 0
    for name in sorted(outbox.names(spool.rejected)):
        file = spool.rejected / name
        try:
            known = read_record(file).run_id == file.stem
        except (RecordError, FileNotFoundError):
            continue
        if known:
            spool.take_back(file)
            count += 1
    spool.clear_state("outbox")  # it holds more than it did
    log.event("info", "refused_records_requeued", records=count)


def set_strange_aside(spool: Spool, log: Log) -> None:
    """Move what has a record's name and can be none, a link or a pipe, out of the outbox, without opening it."""
    for name in outbox.strange(spool.outbox):
        if name.endswith(outbox.ENDING):
            log.event("error", "unreadable_record", file=name, message="this is not a file")
            spool.reject(spool.outbox / name, "bad_file: this is not a file")


def deliver_all(course: Course, *, force: bool) -> None:
    """Send batch by batch, then the counts of what was dropped, which nothing can be added to from then on."""
    held = {} if force or not resting(course.spool, "deferred") else course.spool.read_state("deferred") or {}
    for batch in batches(course, held.get("since_ns")):
        receipt = deliver(course, batch)
        settle(course, receipt)
        if len(receipt.later) == len(batch):
            break  # what is younger would be put off as well
    deliver_counts(course)
    if course.put_off:
        remember_put_off(course, held)
    elif not held:
        course.spool.clear_state("deferred")


def batches(course: Course, since_ns: int | None) -> Iterator[dict[str, bytes]]:
    """What waits as JSON lines by run_id, oldest first, each once; what was put off earlier (`since_ns`) not at all."""
    batch: dict[str, bytes] = {}
    size = 0
    while names := fresh(course, since_ns):
        for name in names:
            course.tried.add(name)
            record = read_or_reject(course, name)
            if record is None:
                continue
            if record.reason == cap.DROPPED:
                course.counts[record.run_id] = record
                continue
            batch[record.run_id] = as_lines(course, record)
            size += len(batch[record.run_id])
            if len(batch) == course.settings.push_batch_records or size > BATCH_BYTES:
                yield batch
                batch, size = {}, 0
        if batch:
            yield batch
            batch, size = {}, 0


def fresh(course: Course, since_ns: int | None) -> list[str]:
    """Names in the outbox that this push has not looked at yet."""
    return [
        entry.name
        for entry in outbox.listed(course.spool.outbox)
        if entry.name not in course.tried and (since_ns is None or entry.written_ns < since_ns)
    ]


def read_or_reject(course: Course, name: str) -> Record | None:
    """A waiting record; None for a file that is none, which goes to rejected/, and for one that was dropped."""
    file = course.spool.outbox / name
    try:
        record = read_record(file)
        if file.stem != record.run_id:
            raise RecordError("bad_file", f"holds run {record.run_id}")
    except FileNotFoundError:
        return None
    except RecordError as error:
        course.log.event("error", "unreadable_record", file=name, message=str(error))
        course.spool.reject(file, f"{error.reason}: {error}")
        return None
    return record


def as_lines(course: Course, record: Record) -> bytes:
    """A record's line, and the one with its raw output where that is wanted."""
    lines = [json.dumps(record.to_row(), ensure_ascii=False).encode()]
    if course.settings.archive_raw:
        lines += raw_lines(course.spool, record, course.log)
    return b"\n".join(lines)


def raw_lines(spool: Spool, record: Record, log: Log) -> list[bytes]:
    """The line with the raw output; none where there is none, or too much."""
    words = spool.read_raw(record.run_id, record.engine) if record.raw_sha256 and record.engine else None
    if words is None:
        return []
    line = wire.to_line(record.run_id, words)
    if len(line) > RAW_LINE_BYTES:
        log.event("warning", "raw_output_too_long", run_id=record.run_id, bytes=len(line), most=RAW_LINE_BYTES)
        return []
    return [line]


def deliver(course: Course, batch: dict[str, bytes]) -> Receipt:
    """Send a batch until the archive answers; after three failures rest, longer each time.

    What goes besides goes with the first try only: whatever is in it, records do not wait for its sake.
    """
    settings, spool, log = course.settings, course.spool, course.log
    lines = b"\n".join(batch.values()) + b"\n"
    pieces = course.besides(batch)
    for attempt in range(1, TRIES + 1):
        try:
            content = course.greeting.line(len(course.tried)) + lines + b"".join(piece.content for piece in pieces)
            receipt = read_receipt(settings, send(settings, content), batch)
            if not (receipt.accepted or receipt.rejected or receipt.later):
                raise DeliveryError("the archive's receipt names none of the records that were sent")
        except DeliveryError as error:
            log.event("warning", "delivery_failed", attempt=attempt, message=str(error))
            if attempt == TRIES:
                rest(settings, spool, str(error))
                raise
            time.sleep(FIRST_WAIT_SECONDS**attempt)
            pieces = []
        else:
            spool.clear_state("push")
            course.greeting.hear(receipt)
            for piece in pieces:
                piece.settle(spool, receipt)
            unnamed = len(batch) - len(receipt.accepted) - len(receipt.rejected) - len(receipt.later)
            if unnamed:
                log.event("warning", "receipt_incomplete", records=unnamed)
            return receipt
    raise AssertionError("unreachable")


def rest(settings: Settings, spool: Spool, message: str) -> None:
    """Remember what failed, and when to try again."""
    failures = int((spool.read_state("push") or {}).get("failures", 0)) + 1
    now = time.time()
    state = {"failures": failures, "not_before": now + pause(settings, failures), "at": utc_text(now)}
    spool.write_state("push", {**state, "message": message})


def settle(course: Course, receipt: Receipt) -> None:
    """Release what was accepted, reject what was refused, leave what was put off."""
    spool, delivery = course.spool, course.delivery
    for run_id in receipt.accepted:
        spool.release(run_id)
    for run_id, why in receipt.rejected.items():
        course.log.event("error", "record_refused", run_id=run_id, message=why)
        spool.reject(spool.outbox / f"{run_id}.csv", why)
    if receipt.accepted or receipt.rejected:
        spool.clear_state("outbox")  # it holds less than it did
    spool.write_state("last_receipt", {"receipt": receipt.name, "at": utc_text(time.time())})
    course.put_off.update(receipt.later)
    delivery.accepted += len(receipt.accepted)
    delivery.rejected += len(receipt.rejected)
    delivery.deferred += len(receipt.later)


def deliver_counts(course: Course) -> None:
    """Send the records that count what was dropped; the newest is final from the first attempt on."""
    journal = cap.read(course.spool)
    run_id = journal.record["run_id"] if journal else None
    if isinstance(run_id, str) and run_id not in course.counts:
        record = read_or_reject(course, f"{run_id}.csv")
        if record is not None:
            course.counts[run_id] = record
    if not course.counts:
        return
    first_time = cap.freeze(course.spool)
    receipt = deliver(course, {name: as_lines(course, record) for name, record in course.counts.items()})
    settle(course, receipt)
    if run_id in receipt.later and first_time:
        cap.thaw(course.spool)
    elif run_id in receipt.accepted or run_id in receipt.rejected:
        cap.add_up(course.spool)
        course.spool.clear_state("dropped")


def remember_put_off(course: Course, held: dict[str, Any]) -> None:
    """What the archive put off is offered again after a pause; what is younger waits with it."""
    spool = course.spool
    names = {f"{run_id}.csv" for run_id in course.put_off}
    written = [entry.written_ns for entry in outbox.listed(spool.outbox) if entry.name in names]
    reasons: dict[str, dict[str, Any]] = held.get("reasons", {})
    for why in course.put_off.values():
        told = reasons.setdefault(why.partition(":")[0], {"records": 0})
        told.update(records=told["records"] + 1, text=why)
    times = int((spool.read_state("deferred") or {}).get("times", 0)) + 1
    now = time.time()
    state = {"at": utc_text(now), "times": times, "not_before": now + pause(course.settings, times)}
    since = min([*written, held.get("since_ns", time.time_ns())])
    spool.write_state("deferred", {**state, "since_ns": since, "reasons": reasons})
    course.log.event("warning", "deferred", records=len(course.put_off), reasons=" ".join(sorted(reasons)))
