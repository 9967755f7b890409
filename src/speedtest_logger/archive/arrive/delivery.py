"""One delivery while it is judged: what came in so far, what was refused, and what it has cost the node."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

from speedtest_logger import wire
from speedtest_logger.archive.arrive import handover, hello, quarantine
from speedtest_logger.archive.arrive.incoming import Incoming
from speedtest_logger.archive.arrive.judge import NotYetError, Rules, judged, parsed
from speedtest_logger.archive.arrive.limits import Limits
from speedtest_logger.archive.arrive.log_lines import Lines
from speedtest_logger.archive.arrive.probe_results import Results
from speedtest_logger.archive.arrive.side_lines import SideLines
from speedtest_logger.archive.arrive.standing import MB, Standing
from speedtest_logger.archive.format.layout import ulid
from speedtest_logger.errors import RecordError, RefusedError
from speedtest_logger.record import Record, without_impossible

NO_OBJECTS = 100  # lines that are no JSON object: a node sends none, so more than that is no node's delivery
RAW_TIMES = 4  # a delivery's raw output may be so many times as large, unpacked, as a delivery may be
KEPT_TEXT = 300  # of the reason for a record
ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


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

    def seal(self, stands: Standing) -> Generator[None, None, dict[str, Any]]:
        """Make durable what came in, a step at a time (see receive.steps); returns the receipt."""
        self.log.note(stands)
        self.raw_inbox.finish()
        self.inbox.finish()
        for side in self.sides:
            side.finish()
        yield
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


def as_line(row: dict[str, Any]) -> bytes:
    """A row as a JSON line, without what is None."""
    kept = {name: value for name, value in row.items() if value is not None}
    return (ENCODER.encode(kept) + "\n").encode()
