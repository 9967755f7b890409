"""receive: what a node's key runs on the archive host: validate, make durable, answer with a receipt.

It believes the key, not the payload: the node's name comes from the forced command. It only ever adds files. No
pyarrow here: it starts in tens of milliseconds, for hundreds of nodes at once.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from speedtest_logger import raw_output
from speedtest_logger.archive.layout import Layout, default_root, sealed_name, ulid
from speedtest_logger.errors import EXIT_OK, EXIT_USAGE, RecordError, RefusedError
from speedtest_logger.record import is_id, unix_time, utc_text, validate
from speedtest_logger.spool import sync_directory, write_durably

KEPT_OF_A_REFUSED_LINE = 4096


@dataclass(frozen=True)
class Limits:
    """What one delivery and one node may cost."""

    payload_bytes: int = 64_000_000
    line_bytes: int = 32_000
    rows: int = 10_000
    rows_per_hour: int = 60_000
    seconds: int = 300
    ahead_seconds: int = 300
    quarantine_files: int = 500
    free_bytes: int = 200_000_000


@dataclass
class Delivery:
    """What came in: rows and engines' own words by run_id, and what was refused."""

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    rejected: dict[str, str] = field(default_factory=dict)
    refused_lines: list[dict[str, Any]] = field(default_factory=list)
    raw: dict[str, dict[str, Any]] = field(default_factory=dict)

    def refuse(self, line: bytes, run_id: object, error: RecordError) -> None:
        """Keep a refused line with its reason."""
        if isinstance(run_id, str):
            self.rejected[run_id[:100]] = f"{error.reason}: {error}"
        self.refused_lines.append(
            {
                "reason": error.reason,
                "message": str(error),
                "line": line[:KEPT_OF_A_REFUSED_LINE].decode(errors="backslashreplace"),
            }
        )


def receive(layout: Layout, node: str, stream: BinaryIO, limits: Limits) -> dict[str, Any]:
    """Take one delivery of JSON lines; returns the receipt once all accepted rows are durable.

    Raises RefusedError where the delivery as a whole is refused (nothing of it is kept but its reason), OSError where
    the disk fails (no receipt: the node keeps its records).
    """
    with exclusively(layout, node):
        if shutil.disk_usage(layout.root).free < limits.free_bytes:
            raise RefusedError("disk_full", "the archive host's disk is full")
        try:
            delivery = read(stream, node, limits)
            take_tokens(layout, node, len(delivery.rows), limits)
        except RefusedError as error:
            quarantine(layout, node, [{"reason": error.reason, "message": str(error)}], limits)
            raise
        name = ulid()
        if delivery.raw:
            store(layout.raw_inbox / node, f"{name}.jsonl", as_lines(delivery.raw.values()))
        if delivery.rows:
            content = as_lines(delivery.rows.values())
            store(layout.inbox / node, sealed_name(name, content), content)
        if delivery.refused_lines:
            quarantine(layout, node, delivery.refused_lines, limits)
        return {"receipt": name, "node": node, "accepted": list(delivery.rows), "rejected": delivery.rejected}


def read(stream: BinaryIO, node: str, limits: Limits) -> Delivery:
    """Read and judge line by line; memory is bounded by the limits. Raises RefusedError beyond them."""
    delivery, size, lines = Delivery(), 0, 0
    while line := stream.readline(limits.line_bytes + 1):
        size += len(line)
        if size > limits.payload_bytes:
            raise RefusedError("too_large", f"more than {limits.payload_bytes} bytes in one delivery")
        lines += 1
        if len(line) > limits.line_bytes:
            raise RefusedError("line_too_long", f"line {lines} is longer than {limits.line_bytes} bytes")
        if line.strip():
            judge(delivery, line, node, limits)
        if len(delivery.rows) > limits.rows or lines > 2 * limits.rows:
            raise RefusedError("too_many_rows", f"more than {limits.rows} rows in one delivery")
    return delivery


def judge(delivery: Delivery, line: bytes, node: str, limits: Limits) -> None:
    """Accept or refuse one row."""
    run_id: object = None
    try:
        try:
            row = json.loads(line.decode())
        except (ValueError, RecursionError) as error:
            raise RecordError("bad_json", f"no JSON in UTF-8: {str(error)[:100]}") from error
        if not isinstance(row, dict):
            raise RecordError("bad_json", "a row is an object")
        if "raw_of" in row:
            take_raw(delivery, row)
            return
        run_id = row.get("run_id")
        record = validate(row)
        if record.node != node:
            raise RecordError("other_node", f"this key delivers for node '{node}', not for '{record.node}'")
        for name in ("started_at", "finished_at", "scheduled_at"):
            if (moment := getattr(record, name)) and unix_time(moment) > time.time() + limits.ahead_seconds:
                raise RecordError(
                    "from_the_future", f"{name} is {moment}, the archive's clock says {utc_text(time.time())}"
                )
    except RecordError as error:
        delivery.refuse(line, run_id, error)
    else:
        delivery.rows.setdefault(record.run_id, row)


def take_raw(delivery: Delivery, row: dict[str, Any]) -> None:
    """Take an engine's own words of a run of the same delivery. Raises RecordError where they are not its own."""
    run_id, content = row["raw_of"], row.get("content")
    record = delivery.rows.get(run_id) if isinstance(run_id, str) else None
    if record is None:
        raise RecordError("bad_raw", "raw output of a run that did not come before it")
    words = raw_output.unpacked(content)
    if hashlib.sha256(words).hexdigest() != record.get("raw_sha256"):
        raise RecordError("bad_raw", f"raw output of run {run_id} whose SHA-256 is not what its record says")
    delivery.raw[run_id] = {"run_id": run_id, "started_at": record["started_at"], "content": content}


@contextmanager
def exclusively(layout: Layout, node: str) -> Iterator[None]:
    """One delivery of a node at a time. Raises RefusedError while another one is under way."""
    with (layout.state / f"receive-{node}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RefusedError("busy", f"another delivery of node '{node}' is under way") from error
        yield


def take_tokens(layout: Layout, node: str, rows: int, limits: Limits) -> None:
    """A token bucket of rows per hour. Raises RefusedError where it is empty."""
    file, now = layout.state / f"receive-{node}.json", time.time()
    try:
        state = json.loads(file.read_text(encoding="utf-8"))
        refilled = state["tokens"] + max(0.0, now - state["at"]) * limits.rows_per_hour / 3600
    except (OSError, ValueError, KeyError, TypeError):
        refilled = limits.rows_per_hour
    tokens = min(float(limits.rows_per_hour), refilled) - rows
    if tokens < 0:
        raise RefusedError("rate_limited", f"more than {limits.rows_per_hour} rows per hour: try again later")
    if rows:
        write_durably(file, json.dumps({"tokens": tokens, "at": now, "last_rows": rows}).encode())


def as_lines(rows: Iterable[dict[str, Any]]) -> bytes:
    """Rows as JSON lines, without what is None."""
    lines = (
        json.dumps({k: v for k, v in row.items() if v is not None}, ensure_ascii=False, separators=(",", ":"))
        for row in rows
    )
    return "".join(line + "\n" for line in lines).encode(errors="backslashreplace")


def store(folder: Path, name: str, content: bytes) -> None:
    """Write a file; it is on disk when this returns, as are the folders that it needed."""
    for missing in [place for place in (folder.parent, folder) if not place.is_dir()]:
        missing.mkdir(mode=0o750, exist_ok=True)
        sync_directory(missing.parent)
    write_durably(folder / name, content)


def quarantine(layout: Layout, node: str, entries: list[dict[str, Any]], limits: Limits) -> None:
    """Keep what was refused with its reason; a node that is refused all the time cannot fill the disk."""
    folder = layout.quarantine / node
    if folder.is_dir() and sum(1 for _ in folder.iterdir()) >= limits.quarantine_files:
        return
    stamped = [{"at": utc_text(time.time()), "node": node, **entry} for entry in entries]
    store(folder, f"{ulid()}.jsonl", as_lines(stamped))


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the forced command; what the client asked for is ignored, its input is all that counts."""
    parser = argparse.ArgumentParser(prog="speedtest-receive", description="Take a node's records on standard input.")
    parser.add_argument("--node", required=True, help="the name that the key stands for")
    parser.add_argument("--root", type=Path, default=default_root())
    args = parser.parse_args(argv)
    limits = Limits()
    if not is_id(args.node):
        print(f"speedtest-receive: --node {args.node!r} is no node name", file=sys.stderr)
        return EXIT_USAGE
    os.umask(0o027)
    signal.signal(signal.SIGALRM, _too_slow)
    signal.alarm(limits.seconds)
    try:
        print(json.dumps(receive(Layout(args.root), args.node, sys.stdin.buffer, limits)), flush=True)
    except RefusedError as error:
        print(json.dumps({"refused": error.reason, "message": str(error)}), flush=True)
        return error.exit_code
    return EXIT_OK


def _too_slow(*_: object) -> None:
    raise RefusedError("too_slow", "the delivery took too long")
