"""The outbox's cap: the oldest undelivered records go, and one record counts them.

A drop has three steps, each of which can be repeated: the journal (state `dropped`) names what goes, counted already;
the record that says so is written; the files are removed. Whoever comes next finishes what a crash left, before
anything is delivered, so no record is counted twice, or counted and delivered as well.

The record is rewritten until the first attempt to deliver it, which comes when nothing else waits. What is dropped
after that begins a new one. No such record is ever dropped itself.
"""

from __future__ import annotations

import fcntl
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

from speedtest_logger import __version__, files
from speedtest_logger.errors import RecordError
from speedtest_logger.log import Log
from speedtest_logger.node import outbox
from speedtest_logger.node.config import Settings
from speedtest_logger.node.spool import (
    DROPPED_BEFORE,
    Spool,
    read_record,
    record_to_csv,
    sync_directory,
    write_durably,
)
from speedtest_logger.record import Record, utc_text, validate

DROPPED = "outbox_dropped"
MOST_AT_ONCE = 250  # names in a journal, and oldest files that are remembered from one look at the outbox to the next


class Victim(NamedTuple):
    """A file that goes, the slot that it was of or when it began, and the bytes that it frees."""

    name: str
    slot: str
    disk_bytes: int


@dataclass
class Journal:
    """What was dropped since the last count was sent. `going`: counted already, perhaps not removed yet."""

    record: dict[str, Any]
    records: int = 0
    first: str | None = None
    last: str | None = None
    going: list[str] = field(default_factory=list)
    sent: bool = False

    def add(self, victims: list[Victim], now: float) -> None:
        """Count what goes next."""
        slots = [slot for slot in (self.first, self.last, *(victim.slot for victim in victims)) if slot]
        self.records += len(victims)
        self.first, self.last = min(slots), max(slots)
        self.going = [victim.name for victim in victims]
        self.record["finished_at"] = max(utc_text(now), self.record["started_at"])
        self.record["message"] = (
            f"{self.records} undelivered records dropped, of slots from {self.first} to {self.last}"
        )


@dataclass
class Room:
    """What the outbox takes on the disk (bytes), and its oldest files; `looked`: seen now, not at an earlier drop."""

    used: float
    oldest: list[str]
    looked: bool = False


def keep_below_cap(settings: Settings, spool: Spool, log: Log, coming: Record) -> None:
    """Make room for a record that is about to be written."""
    if not spool.has_room(coming, settings.outbox_max_mb * 1e6):
        with not_delivering(spool) as free:
            if free:
                make_room(settings, spool, log, *spool.disk_bytes(coming))


@contextmanager
def not_delivering(spool: Spool) -> Iterator[bool]:
    """Keeps a drop and a delivery apart; yields whether none is under way, which makes room itself or ends soon."""
    with files.open_lock(spool.directory / "state" / "push.lock") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def make_room(settings: Settings, spool: Spool, log: Log, needed: float, block: int) -> None:
    """Drop until the needed bytes fit below the cap."""
    finish(spool)
    room, most, dropped = known_room(spool), settings.outbox_max_mb * 1e6, 0
    while room.used + needed > most:
        journal = read(spool)
        own = 0 if journal and not journal.sent else block  # a new count is a file too
        victims = choose(spool, room, room.used + needed + own - most)
        if victims:
            drop(settings, spool, journal, victims)
            dropped += len(victims)
            room.used += own - sum(victim.disk_bytes for victim in victims)
            room.looked = False
        elif room.looked:
            break  # nothing but counts is left
        else:
            room = look(spool)
    exact = {"oldest": room.oldest[:MOST_AT_ONCE]} if dropped else {}
    spool.write_hint("outbox", {"bytes": room.used + needed, **exact})
    if dropped:
        log.event("error", DROPPED, records=dropped, cap_mb=settings.outbox_max_mb)


def known_room(spool: Spool) -> Room:
    """As the last drop left it; looked up anew where a delivery was since, or its list has come to its end."""
    hint = spool.read_state("outbox") or {}
    used, oldest = hint.get("bytes"), hint.get("oldest")
    if not isinstance(used, (int, float)) or not isinstance(oldest, list) or not oldest:
        return look(spool)
    return Room(used, [name for name in oldest if isinstance(name, str) and "/" not in name])


def look(spool: Spool) -> Room:
    """One pass over the outbox."""
    found = outbox.listed(spool.outbox)
    return Room(sum(entry.disk_bytes for entry in found), [entry.name for entry in found], looked=True)


def choose(spool: Spool, room: Room, excess: float) -> list[Victim]:
    """The oldest files that free the excess, as many as a journal holds; counts stay, the rest goes to rejected/."""
    victims: list[Victim] = []
    while room.oldest and excess > 0 and len(victims) < MOST_AT_ONCE:
        file = spool.outbox / room.oldest.pop(0)
        try:
            size = file.lstat().st_blocks * 512
            record = read_record(file)
        except FileNotFoundError:
            continue
        except RecordError as error:
            spool.reject(file, f"{error.reason}: {error}")
            room.used -= size
        else:
            if record.reason == DROPPED:
                continue
            victims.append(Victim(file.name, record.scheduled_at or record.started_at, size))
        excess -= size
    return victims


def drop(settings: Settings, spool: Spool, journal: Journal | None, victims: list[Victim]) -> None:
    """Count, say so, remove: in this order."""
    now = time.time()
    if journal is None or journal.sent:
        add_up(spool)
        journal = Journal(blank(settings, now).to_row())
    journal.add(victims, now)
    spool.write_state("dropped", asdict(journal))
    carry_out(spool, journal)


def blank(settings: Settings, now: float) -> Record:
    """The record of a drop, before anything is counted."""
    return Record(
        run_id=str(uuid.uuid4()),
        node=settings.node,
        location=settings.location,
        uplink=settings.uplink,
        runtime=settings.runtime,
        logger_version=__version__,
        started_at=utc_text(now),
        finished_at=utc_text(now),
        reason=DROPPED,
    )


def carry_out(spool: Spool, journal: Journal) -> None:
    """Write the record, then remove what it counts; the removal is durable before anything else can be counted."""
    record = validate(journal.record)
    write_durably(spool.outbox / f"{record.run_id}.csv", record_to_csv(record))
    for name in journal.going:
        with suppress(FileNotFoundError):
            (spool.outbox / name).unlink()
    sync_directory(spool.outbox)


def finish(spool: Spool) -> None:
    """Carry out what an earlier process counted and did not get to remove."""
    journal = read(spool)
    if journal and not journal.sent and any(os.path.lexists(spool.outbox / name) for name in journal.going):
        carry_out(spool, journal)


def read(spool: Spool) -> Journal | None:
    """The journal, None where there is none or it is torn."""
    state = spool.read_state("dropped")
    try:
        journal = Journal(**state) if state else None
        if journal:
            validate(journal.record)
            if not all(isinstance(name, str) and "/" not in name for name in journal.going):
                return None
    except (TypeError, RecordError):
        return None
    return journal


def add_up(spool: Spool) -> None:
    """Remember what the journal counts, which is about to go; a crash between the two does not count it twice."""
    if journal := read(spool):
        spool.write_state(DROPPED_BEFORE, {"records": spool.dropped(), "run_id": journal.record["run_id"]})


def freeze(spool: Spool) -> bool:
    """From now on the count is not rewritten, for it may have been delivered; whether it was not frozen before."""
    journal = read(spool)
    if journal is None or journal.sent:
        return False
    spool.write_state("dropped", asdict(replace(journal, sent=True)))
    return True


def thaw(spool: Spool) -> None:
    """The archive said that it does not have the count: it may be rewritten again."""
    if journal := read(spool):
        spool.write_state("dropped", asdict(replace(journal, sent=False)))
