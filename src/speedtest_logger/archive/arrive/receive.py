"""receive: what a node's key runs on the archive host: judge, make durable, answer with a receipt.

It believes the key, not the payload: the node's name comes from the forced command. It only ever adds files, and what
one node can cost is bounded in memory, in bytes, in time and at rest: no other node notices. No pyarrow here: it starts
in tens of milliseconds, for hundreds of nodes at once.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from speedtest_logger import files, registry, wire
from speedtest_logger.archive.arrive import handover, hello, quarantine, standing
from speedtest_logger.archive.arrive import limits as limits_of
from speedtest_logger.archive.arrive.incoming import Incoming
from speedtest_logger.archive.arrive.judge import NotYetError, Rules, judged, parsed, rules_for
from speedtest_logger.archive.arrive.limits import Limits
from speedtest_logger.archive.arrive.log_lines import Lines
from speedtest_logger.archive.arrive.probe_results import Results
from speedtest_logger.archive.arrive.side_lines import SideLines
from speedtest_logger.archive.arrive.standing import MB, Standing
from speedtest_logger.archive.format.layout import Layout, default_root, ulid
from speedtest_logger.errors import EXIT_OK, EXIT_STORAGE, EXIT_USAGE, RecordError, RefusedError
from speedtest_logger.files import AT_ONCE, Sync
from speedtest_logger.record import Record, is_id, without_impossible
from speedtest_logger.usage import Help

NO_OBJECTS = 100  # lines that are no JSON object: a node sends none, so more than that is no node's delivery
RAW_TIMES = 4  # a delivery's raw output may be so many times as large, unpacked, as a delivery may be
KEPT_TEXT = 300  # of the reason for a record
FOR_NOW = (
    "disk_full",
    "low_disk",
    "inbox_full",
    "rate_limited",
    handover.UNREACHABLE,
)  # the same delivery may come in later


class Stream(Protocol):
    """What a delivery is read from."""

    def readline(self, most: int, /) -> bytes:
        """A line, or the first `most` bytes of it; nothing at the end."""


@dataclass(frozen=True)
class Accepted:
    """What must be remembered of a record that came in, to know another one of its run, and its raw output."""

    digest: bytes
    started_at: str
    raw_sha256: str | None


@dataclass
class Delivery:
    """One delivery: what came in so far, what was refused, and what it has cost the node."""

    rules: Rules
    inbox: Incoming
    raw_inbox: Incoming
    log: Lines
    probes: Results
    accepted: dict[str, Accepted] = field(default_factory=dict)
    rejected: dict[str, str] = field(default_factory=dict)
    later: dict[str, str] = field(default_factory=dict)
    refused: int = 0
    last_refusal: tuple[str, str] = ("", "")
    entries: list[dict[str, Any]] = field(default_factory=list)
    with_raw: set[str] = field(default_factory=set)
    lines: int = 0
    no_objects: int = 0
    size: int = 0
    rows: int = 0
    raw_bytes: int = 0
    raw_dropped: int = 0
    hello: dict[str, Any] | None = None
    parcel: handover.Parcel | None = None

    def hand_over(self, parcel: handover.Parcel | None) -> None:
        """Have all that comes in go into the store that several hosts share, where there is one."""
        self.parcel = parcel
        for incoming in (self.inbox, self.raw_inbox, *(side.inbox for side in self.sides)):
            if incoming:
                incoming.parcel = parcel

    def take(self, line: bytes) -> None:
        """Judge a line and keep what may come in. Raises RefusedError where the delivery is none."""
        run_id: object = None
        side = self.side_of(line)
        try:
            if side and side.count(line):
                return
            row = without_impossible(parsed(line))
            if row.keys() == {wire.HELLO} and self.lines == 1:
                self.hello = hello.taken(row, len(line), time.time())
                return
            if side:
                for content, error in side.take(row):
                    self.refuse(content, None, error)
                return
            if "raw_of" in row:
                self.take_raw(row)
                return
            self.rows += 1
            run_id = row.get("run_id")
            self.take_record(row, judged(row, self.rules))
        except NotYetError as error:
            self.later[str(run_id)] = f"{error.reason}: {error}"[:KEPT_TEXT]
        except RecordError as error:
            self.refuse(line, run_id, error)

    @property
    def sides(self) -> tuple[SideLines, ...]:
        """What comes beside records."""
        return (self.log, self.probes)

    def side_of(self, line: bytes) -> SideLines | None:
        """Where a line belongs; None where that is among the records."""
        return next((side for side in self.sides if line.startswith(side.begins)), None)

    def take_record(self, row: dict[str, Any], record: Record) -> None:
        """Keep a record; the first one of a run stands. Raises RecordError for another one of that run."""
        content = as_line(row)
        digest = hashlib.sha256(content).digest()
        known = self.accepted.get(record.run_id)
        if known is None:
            self.inbox.add(content)
            self.accepted[record.run_id] = Accepted(digest, record.started_at, record.raw_sha256)
        elif known.digest != digest:
            raise RecordError("different_record", f"run {record.run_id} was delivered before, with other content")

    def take_raw(self, row: dict[str, Any]) -> None:
        """Keep an engine's raw output of a run of the same delivery. Raises RecordError where it is not its own."""
        if not self.rules.takes_raw:
            self.raw_dropped += 1
            return
        run_id, content = row["raw_of"], row.get("content")
        record = self.accepted.get(run_id) if isinstance(run_id, str) else None
        if record is None:
            if isinstance(run_id, str) and (run_id in self.later or run_id in self.rejected):
                return  # it goes where its record goes
            raise RecordError("bad_raw", "raw output of a run whose record did not come before it")
        self.raw_bytes += wire.MOST_DELIVERED
        words = wire.unpacked(content, wire.MOST_DELIVERED)
        self.raw_bytes -= wire.MOST_DELIVERED - len(words)
        if hashlib.sha256(words).hexdigest() != record.raw_sha256:
            raise RecordError("bad_raw", f"raw output of run {run_id} whose SHA-256 is not what its record says")
        if run_id not in self.with_raw:
            self.with_raw.add(run_id)
            self.raw_inbox.add(as_line({"run_id": run_id, "started_at": record.started_at, "content": content}))

    def refuse(self, line: bytes, run_id: object, error: RecordError) -> None:
        """Count a refused line, and keep some of it with its reason."""
        self.refused += 1
        self.last_refusal = (error.reason, str(error))
        if isinstance(run_id, str):
            self.rejected[run_id[:100]] = f"{error.reason}: {error}"[:KEPT_TEXT]
        if len(self.entries) < quarantine.KEPT_LINES:
            whole = error.reason == "different_record"
            most = quarantine.KEPT_OF_A_RECORD if whole else quarantine.KEPT_BYTES
            self.entries.append(quarantine.entry(error.reason, str(error), line.rstrip(), most))
        self.no_objects += error.reason == "bad_json"
        if self.no_objects > NO_OBJECTS:
            raise RefusedError(
                "no_records", f"more than {NO_OBJECTS} lines that are not JSON objects: no node sends such lines"
            )

    def check(self, limits: Limits, stands: Standing) -> None:
        """Raise RefusedError beyond what a delivery, or what this node, may cost."""
        if self.size > limits.payload_mb * MB:
            raise RefusedError("too_large", f"more than {limits.payload_mb} MB in one delivery")
        if self.raw_bytes > RAW_TIMES * limits.payload_mb * MB:
            most = RAW_TIMES * limits.payload_mb
            raise RefusedError("too_large", f"more than {most} MB of raw output, unpacked, in one delivery")
        lines = self.lines - sum(side.carriers for side in self.sides)
        if self.rows > limits.rows or lines > 2 * limits.rows + 1:  # raw output each, and a hello
            raise RefusedError("too_many_rows", f"more than {limits.rows} rows in one delivery")
        for name, wanted in (("bytes", self.charged), ("rows", self.rows), ("raw", self.raw_bytes)):
            stands.check(limits, name, wanted)

    @property
    def charged(self) -> int:
        """Bytes that count: those of the log and of probes have limits of their own."""
        return self.size - sum(side.size for side in self.sides)

    def seal(self, stands: Standing) -> dict[str, Any]:
        """Make durable what came in; returns the receipt."""
        self.log.note(stands)
        self.raw_inbox.finish()
        self.inbox.finish()
        for side in self.sides:
            side.finish()
        self.inbox.sync.barrier()
        name = ulid()
        self.raw_inbox.seal(name, with_digest=False)
        self.inbox.seal(name, with_digest=True)
        log, probes = (side.seal(name, stands) for side in self.sides)
        if self.parcel:
            self.parcel.send(name)
        return wire.Receipt(
            name, self.rules.node, list(self.accepted), self.rejected, self.later, list(wire.KNOWN), log, probes
        ).to_row()

    def discard(self) -> None:
        """Remove what was not sealed."""
        self.inbox.discard()
        self.raw_inbox.discard()
        for side in self.sides:
            side.discard()


def receive(
    layout: Layout,
    node: str,
    stream: Stream,
    limits: Limits,
    sync: Sync = AT_ONCE,
    registry_of: Callable[[Path], registry.Registry | None] = registry.read,
) -> dict[str, Any]:
    """Take one delivery of JSON lines; returns the receipt once all accepted records are durable.

    `sync`: by itself, or together with other deliveries that are under way; `registry_of`: reads the registry.

    Raises RefusedError where the delivery as a whole is refused (nothing of it is kept but its reason), OSError where
    the disk fails (no receipt: the node keeps its records). The node is charged for what it sent in every case.
    """
    with exclusively(layout, node):
        now = time.time()
        stands = standing.read(layout, node, limits, now)
        rules = rules_for(layout.root, node, now, limits, registry_of)
        delivery = Delivery(
            rules,
            Incoming(layout.inbox / node, limits.inbox_mb * MB, sync),
            Incoming(layout.raw_inbox / node, limits.raw_inbox_mb * MB, sync),
            Lines.of(layout.log_inbox / node, as_line, stands, limits, sync),
            Results.of(layout.probe_inbox / node, as_line, stands, rules, sync),
        )
        delivery.hand_over(handover.parcel(layout, node))
        try:
            admit(layout, delivery, stands, limits)
            read(stream, delivery, stands, limits)
            receipt = delivery.seal(stands)
            remember(stands, delivery)
        except RefusedError as error:
            note_refusal(delivery, stands, error)
            raise
        finally:
            delivery.discard()
            hello.keep(layout, node, delivery.hello, now, heard=delivery.lines > 0)
            charge(layout, delivery, stands, limits)
        sync.barrier()
        return receipt


def admit(layout: Layout, delivery: Delivery, stands: Standing, limits: Limits) -> None:
    """Raise RefusedError where nothing can be taken now: before a byte is read."""
    free = free_bytes(layout.root)
    if free < limits.free_mb * MB:
        raise RefusedError("disk_full", f"the archive host's disk is full: {free // MB} MB are free")
    if free < limits.low_disk_mb * MB and stands.bytes < limits.bytes_burst_mb * MB / 2:
        raise RefusedError(
            "low_disk",
            f"the archive host's disk has {free // MB} MB left, and this node sent much lately: "
            "others come first, try again in an hour",
        )
    delivery.inbox.check()
    delivery.raw_inbox.check()
    if free < limits.low_disk_mb * MB or delivery.rules.unknown:
        for side in delivery.sides:
            side.close()


def free_bytes(folder: Path) -> int:
    """What is free on a folder's disk for accounts other than root."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


def read(stream: Stream, delivery: Delivery, stands: Standing, limits: Limits) -> None:
    """Read and judge line by line. Raises RefusedError beyond the limits."""
    longest = max(limits.line_bytes, *(side.most_line for side in delivery.sides))
    while line := stream.readline(longest + 1):
        delivery.size += len(line)
        delivery.lines += 1
        side = delivery.side_of(line)
        if len(line) > (most := side.most_line if side else limits.line_bytes):
            raise RefusedError("line_too_long", f"line {delivery.lines} is longer than {most} bytes")
        if line.strip():
            delivery.take(line)
        delivery.check(limits, stands)


def remember(stands: Standing, delivery: Delivery) -> None:
    """Note in a node's standing what of a delivery was refused, and what must wait."""
    now = delivery.rules.now
    if delivery.refused:
        stands.refuse(now, delivery.last_refusal, records=delivery.refused)
    stands.raw_dropped += delivery.raw_dropped
    if delivery.rows:
        stands.waiting, stands.waiting_at = len(delivery.later), now
        stands.waiting_why = next(iter(delivery.later.values()), "")


def note_refusal(delivery: Delivery, stands: Standing, error: RefusedError) -> None:
    """Note that a whole delivery was refused, and keep the reason where it was what came, not how much or when."""
    stands.refuse(delivery.rules.now, (error.reason, str(error)), deliveries=1)
    if error.reason in FOR_NOW:
        delivery.entries.clear()
        delivery.rows = 0  # none came in, and the node will bring them again
    else:
        delivery.entries.append({"reason": error.reason, "message": str(error)})


def charge(layout: Layout, delivery: Delivery, stands: Standing, limits: Limits) -> None:
    """Take a delivery's cost from what the node may send, and keep that and what was refused."""
    stands.charge(bytes=delivery.charged, rows=delivery.rows, raw=delivery.raw_bytes)
    standing.write(layout, delivery.rules.node, stands, delivery.inbox.sync)
    if delivery.entries:
        quarantine.keep(layout, delivery.rules.node, delivery.entries, limits)


@contextmanager
def exclusively(layout: Layout, node: str) -> Iterator[None]:
    """One delivery of a node at a time. Raises RefusedError while another one is under way."""
    with files.open_lock(layout.state / f"receive-{node}.lock") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RefusedError("busy", f"another delivery of node '{node}' is under way") from error
        yield


def as_line(row: dict[str, Any]) -> bytes:
    """A row as a JSON line, without what is None."""
    kept = {name: value for name, value in row.items() if value is not None}
    return (json.dumps(kept, ensure_ascii=False, separators=(",", ":")) + "\n").encode()


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the forced command; what the client asked for is ignored, its input is all that counts."""
    parser = argparse.ArgumentParser(
        prog="speedtest-receive", description="Take a node's records on standard input.", formatter_class=Help
    )
    parser.add_argument("--node", required=True, help="the name that the key stands for")
    parser.add_argument("--root", type=Path, default=default_root())
    args = parser.parse_args(argv)
    if not is_id(args.node):
        print(f"speedtest-receive: --node {args.node!r} is not a node's name", file=sys.stderr)
        return EXIT_USAGE
    os.umask(0o027)
    layout = Layout(args.root)
    limits, _ = limits_of.load(layout)  # the fleet's status says what is wrong with the file
    bound(limits)
    try:
        answer(receive(layout, args.node, sys.stdin.buffer, limits))
    except RefusedError as error:
        answer(wire.refusal(error.reason, str(error)))
        return error.exit_code
    except MemoryError:
        answer(wire.refusal("too_large", f"it needs more than {limits.receive_memory_mb} MB of memory"))
        return RefusedError.exit_code
    except OSError as error:
        answer(wire.refusal("storage", f"the archive host's disk failed: {error.strerror or error}"))
        return EXIT_STORAGE
    return EXIT_OK


def bound(limits: Limits) -> None:
    """The belt: the kernel ends a receive that takes more memory or time than it may, whatever it has read."""
    for kind, soft, hard in (
        (resource.RLIMIT_DATA, limits.receive_memory_mb * MB, limits.receive_memory_mb * MB),
        (resource.RLIMIT_CPU, limits.seconds, limits.seconds + 10),
    ):
        most = resource.getrlimit(kind)[1]
        if most == resource.RLIM_INFINITY or hard < most:
            resource.setrlimit(kind, (soft, hard))
    for number in (signal.SIGALRM, signal.SIGXCPU):
        signal.signal(number, _too_slow)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stopped)
    signal.alarm(limits.seconds)


def answer(content: dict[str, Any]) -> None:
    """The one line that the client gets, where it still listens."""
    with suppress(BrokenPipeError):
        print(json.dumps(content), flush=True)


def _too_slow(*_: object) -> None:
    raise RefusedError("too_slow", "the delivery took too long")


def _stopped(*_: object) -> None:
    raise RefusedError("stopped", "the archive host ended the delivery")
