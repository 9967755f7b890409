"""receive: what a node's key runs on the archive host: judge, make durable, answer with a receipt.

It believes the key, not the payload: the node's name comes from the forced command. It only ever adds files, and what
one node can cost is bounded in memory, in bytes, in time and at rest: no other node notices. No pyarrow here: it starts
in tens of milliseconds, for hundreds of nodes at once.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

from speedtest_logger import files, registry, wire
from speedtest_logger.archive.arrive import handover, hello, quarantine, standing
from speedtest_logger.archive.arrive import limits as limits_of
from speedtest_logger.archive.arrive.delivery import Delivery, as_line
from speedtest_logger.archive.arrive.incoming import Incoming
from speedtest_logger.archive.arrive.judge import rules_for
from speedtest_logger.archive.arrive.limits import Limits
from speedtest_logger.archive.arrive.log_lines import Lines
from speedtest_logger.archive.arrive.probe_results import Results
from speedtest_logger.archive.arrive.standing import MB, Standing
from speedtest_logger.archive.format.layout import Layout, default_root
from speedtest_logger.errors import EXIT_OK, EXIT_STORAGE, EXIT_USAGE, RefusedError
from speedtest_logger.files import AT_ONCE, Sync
from speedtest_logger.record import is_id
from speedtest_logger.usage import Help

T = TypeVar("T")
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


def receive(layout: Layout, node: str, stream: Stream, limits: Limits) -> dict[str, Any]:
    """Take one delivery of JSON lines; returns the receipt once all accepted records are durable. Raises as `steps`."""
    return ended(steps(layout, node, stream, limits))


def ended(taking: Generator[None, None, T]) -> T:
    """What becomes of a delivery that leaves nothing for later: it has nothing to wait for."""
    while True:
        try:
            next(taking)
        except StopIteration as last:
            result: T = last.value
            return result


def steps(
    layout: Layout,
    node: str,
    stream: Stream,
    limits: Limits,
    sync: Sync = AT_ONCE,
    registry_of: Callable[[Path], registry.Registry | None] = registry.read,
) -> Generator[None, None, dict[str, Any]]:
    """Take one delivery, and yield where what was written must be on disk before it goes on; returns the receipt.

    `sync`: what is left for that moment; `registry_of`: reads the registry.

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
            receipt = yield from delivery.seal(stands)
            remember(stands, delivery)
        except RefusedError as error:
            note_refusal(delivery, stands, error)
            raise
        finally:
            delivery.discard()
            hello.keep(layout, node, delivery.hello, now, heard=delivery.lines > 0)
            charge(layout, delivery, stands, limits)
        yield
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
