"""push: deliver the outbox over one ssh connection and release exactly what the archive receipted.

JSON lines up, one JSON receipt down:
{"receipt": ID, "node": NAME, "accepted": [run_id …], "rejected": {run_id: reason}}. On request a record's line is
followed by one with the engine's own words (raw_output).
"""

from __future__ import annotations

import fcntl
import json
import subprocess
import time
from dataclasses import dataclass
from typing import Any, BinaryIO

from speedtest_logger import files, raw_output
from speedtest_logger.config import Settings
from speedtest_logger.errors import DeliveryError, RecordError
from speedtest_logger.log import Log
from speedtest_logger.record import Record, utc_text
from speedtest_logger.spool import Spool, read_record

TRIES = 3
FIRST_WAIT_SECONDS = 2
LONGEST_REST_SECONDS = 3600
BATCH_BYTES = 16_000_000  # with raw output; the archive takes four times as much
RAW_LINE_BYTES = 30_000  # a longer line would be refused, and all that came with it


@dataclass
class Delivery:
    """How many records the archive took, refused, and how many still wait."""

    accepted: int = 0
    rejected: int = 0
    waiting: int = 0


def push(settings: Settings, log: Log, *, force: bool = False) -> Delivery:
    """Deliver what waits; silent and cheap when nothing does.

    `force` ignores the rest after earlier failures and waits for another push to end; otherwise that push has it.

    Raises DeliveryError where the archive gave no receipt after three tries; nothing is released then.
    """
    spool = Spool(settings.state_dir)
    spool.prepare()
    delivery = Delivery()
    if not settings.archive_host or not spool.waiting():
        return delivery
    with files.open_lock(spool.directory / "state" / "push.lock") as lock:
        if not locked(lock, log, wait=force) or (resting(spool) and not force):
            delivery.waiting = len(spool.waiting())
            return delivery
        while batch := next_batch(settings, spool, log):
            receipt = deliver(settings, spool, log, batch)
            settle(spool, log, batch, receipt, delivery)
    delivery.waiting = len(spool.waiting())
    log.event("info", "delivered", accepted=delivery.accepted, rejected=delivery.rejected, waiting=delivery.waiting)
    return delivery


def locked(lock: BinaryIO, log: Log, *, wait: bool) -> bool:
    """Whether this process is now the only one that delivers; `wait` for the other one to end."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.event("info", "another_push_is_at_it", waiting_for_it=wait)
        if not wait:
            return False
        fcntl.flock(lock, fcntl.LOCK_EX)
    return True


def resting(spool: Spool) -> bool:
    """Whether an earlier failure asks to wait still; a clock that was set back ends the wait."""
    state = spool.read_state("push") or {}
    left = float(state.get("not_before", 0)) - time.time()
    return 0 < left <= LONGEST_REST_SECONDS


def next_batch(settings: Settings, spool: Spool, log: Log) -> dict[str, bytes]:
    """The oldest waiting records as JSON lines by run_id; a file that is no record goes to rejected/."""
    batch: dict[str, bytes] = {}
    size = 0
    for file in spool.waiting():
        if len(batch) == settings.push_batch_records or size > BATCH_BYTES:
            break
        try:
            record = read_record(file)
            if file.stem != record.run_id:
                raise RecordError("bad_file", f"holds run {record.run_id}")
        except FileNotFoundError:  # dropped meanwhile: the outbox reached its cap
            continue
        except RecordError as error:
            log.event("error", "unreadable_record", file=file.name, message=str(error))
            spool.reject(file, f"{error.reason}: {error}")
            continue
        lines = [json.dumps(record.to_row(), ensure_ascii=False).encode()]
        if settings.archive_raw:
            lines += raw_lines(spool, record, log)
        batch[record.run_id] = b"\n".join(lines)
        size += len(batch[record.run_id])
    return batch


def raw_lines(spool: Spool, record: Record, log: Log) -> list[bytes]:
    """The line with the engine's own words; none where there are none, or too many."""
    words = spool.read_raw(record.run_id, record.engine) if record.raw_sha256 and record.engine else None
    if words is None:
        return []
    line = raw_output.to_line(record.run_id, words)
    if len(line) > RAW_LINE_BYTES:
        log.event("warning", "raw_output_too_long", run_id=record.run_id, bytes=len(line), most=RAW_LINE_BYTES)
        return []
    return [line]


def deliver(settings: Settings, spool: Spool, log: Log, batch: dict[str, bytes]) -> dict[str, Any]:
    """Send a batch until the archive answers; after three failures rest, longer each time."""
    for attempt in range(1, TRIES + 1):
        try:
            receipt = send(settings, b"\n".join(batch.values()) + b"\n")
        except DeliveryError as error:
            log.event("warning", "delivery_failed", attempt=attempt, message=str(error))
            if attempt == TRIES:
                rest(settings, spool)
                raise
            time.sleep(FIRST_WAIT_SECONDS**attempt)
        else:
            spool.clear_state("push")
            return receipt
    raise AssertionError("unreachable")


def rest(settings: Settings, spool: Spool) -> None:
    """Remember when to try again: a minute on, then twice as long each time up to an hour, less an offset."""
    failures = int((spool.read_state("push") or {}).get("failures", 0)) + 1
    seconds = min(60 * 2 ** (failures - 1), LONGEST_REST_SECONDS) - settings.offset_seconds % 30
    spool.write_state("push", {"failures": failures, "not_before": time.time() + seconds})


def ssh_command(settings: Settings) -> list[str]:
    """The connection: the node's own key, the pinned host key, nothing else that ssh might try."""
    options = {
        "BatchMode": "yes",
        "IdentitiesOnly": "yes",
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "UserKnownHostsFile": str(settings.known_hosts_file),
        "GlobalKnownHostsFile": "none",
        "LogLevel": "ERROR",
        "ConnectTimeout": str(min(20, settings.push_timeout_seconds)),
        "ServerAliveInterval": "10",
        "PreferredAuthentications": "publickey",
        "ClearAllForwardings": "yes",
        "Compression": "yes",
    }
    flags = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    return [
        "ssh",
        "-F",
        "none",
        "-T",
        "-i",
        str(settings.key_file),
        "-p",
        str(settings.archive_port),
        *flags,
        f"{settings.archive_user}@{settings.archive_host}",
        "receive",
    ]


def send(settings: Settings, lines: bytes) -> dict[str, Any]:
    """One connection: lines up, one receipt down. Raises DeliveryError with what ssh or the archive said."""
    try:
        done = subprocess.run(
            ssh_command(settings), input=lines, capture_output=True, check=False, timeout=settings.push_timeout_seconds
        )
    except subprocess.TimeoutExpired as error:
        raise DeliveryError(
            f"no answer from {settings.archive_host} within {settings.push_timeout_seconds} s"
        ) from error
    except OSError as error:
        raise DeliveryError(f"ssh cannot be run: {error.strerror}") from error
    said = done.stderr.decode(errors="replace").strip()[-300:]
    try:
        receipt = json.loads(done.stdout)
    except ValueError as error:
        raise DeliveryError(f"no receipt (ssh exit {done.returncode}): {said or done.stdout[:200]!r}") from error
    if not isinstance(receipt, dict) or "receipt" not in receipt:
        raise DeliveryError(f"the archive refused the delivery: {str(receipt)[:300]}")
    if receipt.get("node") != settings.node:
        raise DeliveryError(f"the archive knows this key as node {receipt.get('node')!r}, not {settings.node!r}")
    return receipt


def settle(spool: Spool, log: Log, batch: dict[str, bytes], receipt: dict[str, Any], delivery: Delivery) -> None:
    """Release what was accepted, put aside what was refused. Raises DeliveryError if that is nothing."""
    accepted = [run_id for run_id in receipt.get("accepted", []) if run_id in batch]
    rejected = {run_id: why for run_id, why in dict(receipt.get("rejected", {})).items() if run_id in batch}
    if not accepted and not rejected:
        raise DeliveryError("the archive's receipt names none of the records that were sent")
    for run_id in accepted:
        spool.release(run_id)
    for run_id, why in rejected.items():
        log.event("error", "record_refused", run_id=run_id, message=str(why))
        spool.reject(spool.outbox / f"{run_id}.csv", str(why))
    spool.write_state("last_receipt", {"receipt": receipt["receipt"], "at": utc_text(time.time())})
    delivery.accepted += len(accepted)
    delivery.rejected += len(rejected)
