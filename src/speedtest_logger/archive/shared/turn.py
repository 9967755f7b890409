"""One turn of an archive host among several: it takes the shared inbox in, or follows the one that does.

Whoever holds the lease brings what waits in the shared inbox into its own, takes it in as a single host does, publishes
it, and only then removes it from the shared inbox. What a host that dies in between leaves there is taken in again: a
run counts once.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from speedtest_logger.archive.format.layout import CROCKFORD, Layout, make_folder, sealed_name, ulid
from speedtest_logger.archive.shared import lease as leases
from speedtest_logger.archive.shared.follow import Following, follow
from speedtest_logger.archive.shared.gate import FOLDERS, RECORDS
from speedtest_logger.archive.shared.lease import Lease
from speedtest_logger.archive.shared.objects import BESIDE, HOSTS, INBOX
from speedtest_logger.archive.write import ingest
from speedtest_logger.errors import StorageError
from speedtest_logger.files import read_bounded, write_durably
from speedtest_logger.record import is_id, utc_text
from speedtest_logger.sinks.delta import Publisher
from speedtest_logger.sinks.objects import Item, Objects
from speedtest_logger.sinks.place import Place
from speedtest_logger.sinks.table import BUCKETS, head_of

MOST_OBJECTS = 20_000  # in one turn
MOST_LISTED = 200_000
MOST_BYTES = 256_000_000
MOST_NAME = 200
READERS = 8
BESIDE_DAYS = 7  # for a host that is away
LATE_SECONDS = 600  # what came out of order is looked for again for so long
MAINTAIN_SECONDS = 86_400
STATE, CURSOR, REACHED = "shared.json", "beside.json", "inbox-reached"
MOST_CURSOR = 64_000_000
DAY = 86_400


@dataclass
class Outcome:
    """What a turn did. `version` is the table's; `out`: hosts that have not been at work for ten minutes."""

    leads: bool = False
    holder: str = ""
    term: int = 0
    version: int = -1
    waiting: int = 0
    taken_in: int = 0
    published: int = 0
    brought: int = 0
    followed: Following = field(default_factory=Following)
    out: list[str] = field(default_factory=list)


@dataclass
class Host:
    """One of the hosts that share an archive."""

    layout: Layout
    place: Place
    name: str
    buckets: int = BUCKETS
    patience: float = leases.SECONDS
    outcome: Outcome = field(default_factory=Outcome)

    @cached_property
    def objects(self) -> Objects:
        """What it shares with the others."""
        return Objects(self.place)

    def turn(self) -> Outcome:
        """Lead where the lease is this host's, else follow. Raises SpeedtestError as its steps do."""
        self.objects.put(f"{HOSTS}{self.name}", utc_text(time.time()).encode())
        lease, mine = leases.take(self.objects, self.layout, self.name, self.patience)
        outcome = self.outcome = Outcome(mine, lease.holder, lease.term)
        self.bring_beside()
        if mine:
            with leases.renewing(self.objects, lease, self.patience / 5):
                self.lead(lease)
        else:
            self.keep_up()
        outcome.waiting = len(self.objects.listed(INBOX, most=MOST_LISTED))
        outcome.out = self.missing()
        remember(self.layout, {**asdict(outcome), "place": self.place.address})
        return outcome

    def lead(self, lease: Lease) -> None:
        """Take the shared inbox in, publish it, and remove it there."""
        publisher = Publisher(self.layout, self.place, self.buckets, lease.writer)
        forget(self.layout)  # from here on this archive may be ahead of the table
        table = self.place.table()
        head = head_of(table) if table else None
        if table and head and head.writer != lease.writer:
            self.outcome.followed = follow(self.layout, table, self.objects)
            publisher.adopt(table)
        brought = self.bring_inbox()
        taken = ingest.ingest(self.layout, wait=300)
        self.outcome.taken_in = taken.rows
        self.outcome.published = publisher.publish().records
        self.objects.delete([name for name, file in brought.items() if not file.exists()])
        if taken.damaged:
            raise StorageError("what belongs there waits in the shared inbox: " + "; ".join(taken.damaged))
        self.tidy(publisher)

    def keep_up(self) -> None:
        """Have what the table has; what lies in the own inbox goes into the shared one."""
        self.give_up_inbox()
        table = self.place.table()
        seen = followed(self.layout, self.place.address)
        if table and (seen < 0 or table.version() > seen):
            self.outcome.followed = follow(self.layout, table, self.objects, seen)
        self.outcome.version = table.version() if table else -1
        ingest.ingest(self.layout, wait=300)  # what is beside records

    def bring_inbox(self) -> dict[str, Path]:
        """Have what waits in the shared inbox in the own one; returns where each object is.

        Whoever has the store's key may have put it there: less its seal, each line of it is judged as if it were new.
        """
        wanted: dict[str, Path] = {}
        missing: list[tuple[Item, Path]] = []
        size = 0
        for item in self.some_of_inbox():
            node, _, file_name = item.name.removeprefix(INBOX).partition("/")
            if not _is_ours(node, file_name) or item.size > MOST_BYTES:
                continue
            file = wanted[item.name] = self.layout.inbox / node / f"{file_name.partition('.')[0]}.jsonl"
            if file.exists():  # it waits for a month that cannot be read: what can be taken in comes all the same
                continue
            missing.append((item, file))
            size += item.size
            if size > MOST_BYTES or len(missing) == MOST_OBJECTS:
                break
        with ThreadPoolExecutor(READERS) as pool:
            there = {item.name for (item, _), came in zip(missing, pool.map(self._fetch, missing), strict=True) if came}
        gone = {item.name for item, _ in missing} - there
        return {name: file for name, file in wanted.items() if name not in gone}

    def some_of_inbox(self) -> Iterator[Item]:
        """MOST_LISTED objects of the shared inbox, from where the last turn got to: each is looked at in its time."""
        file = self.layout.state / REACHED
        after = _text(file)
        for count, item in enumerate(self.objects.each(INBOX, after if after.startswith(INBOX) else None), 1):
            yield item
            if count == MOST_LISTED:
                write_durably(file, item.name.encode())
                return
        file.unlink(missing_ok=True)

    def bring_beside(self) -> None:
        """Have what came beside records since the last time: every host takes it in."""
        seen, since = _cursor(self.layout)
        found = self.objects.listed(BESIDE, after=f"{BESIDE}{since}" if since else None, most=MOST_OBJECTS)
        for item in found:
            name, _, rest = item.name.removeprefix(BESIDE).partition(".")
            node, _, folder = rest.removesuffix(".jsonl").partition(".")
            known = is_id(node) and folder in FOLDERS and folder != RECORDS and name.isalnum()
            if known and item.size <= MOST_BYTES and item.name not in seen:
                self.outcome.brought += self._fetch((item, self.layout.root / folder / node / f"{name}.jsonl"))
            seen.add(item.name)
        newest = found[-1].name.removeprefix(BESIDE) if found else since
        _keep_cursor(self.layout, seen, _before(newest) if newest else "")

    def _fetch(self, wanted: tuple[Item, Path]) -> bool:
        item, file = wanted
        found = self.objects.get(item.name)
        if found is None:
            return False
        make_folder(file.parent)
        write_durably(file, found[0])
        return True

    def give_up_inbox(self) -> None:
        """Put what lies in the own inbox into the shared one: it came before there was one, or was brought from it."""
        for file in sorted(self.layout.inbox.glob("*/*.jsonl")):
            content = read_bounded(file, MOST_BYTES)
            name = sealed_name(file.name.partition(".")[0], content)
            self.objects.put_new(f"{INBOX}{file.parent.name}/{name}", content)
            file.unlink()

    def tidy(self, publisher: Publisher) -> None:
        """Once a day: small files of the table are put together, and what came beside records and is old is removed."""
        file = self.layout.state / "shared-tidied"
        with suppress(OSError):
            if 0 <= time.time() - file.stat().st_mtime < MAINTAIN_SECONDS:
                return
        old = _prefix(time.time() - BESIDE_DAYS * DAY)
        names = [item.name for item in self.objects.listed(BESIDE) if item.name.removeprefix(BESIDE) < old]
        self.objects.delete(names)
        publisher.maintain()
        file.touch()

    def missing(self) -> list[str]:
        """Hosts that have not been at work lately, by the store's clock."""
        found = self.objects.listed(HOSTS)
        now = max((item.at for item in found), default=None)
        if now is None:
            return []
        return [
            item.name.removeprefix(HOSTS)
            for item in found
            if (now - item.at).total_seconds() > max(LATE_SECONDS, 2 * self.patience)
        ]

    def leave(self) -> Outcome:
        """Be the only one from now on: take in what is left, publish it, and let go of the lease and the table.

        Raises StorageError where another host holds the lease.
        """
        outcome = self.turn()
        if not outcome.leads:
            raise StorageError(f"{outcome.holder} takes the inbox in: take the other hosts out first, then try again")
        while outcome.waiting and outcome.taken_in:
            outcome = self.turn()
        if outcome.waiting:
            raise StorageError(f"{outcome.waiting} deliveries wait in the shared inbox and cannot be taken in")
        table = self.place.existing()
        Publisher(self.layout, self.place, self.buckets).adopt(table)
        for item in self.objects.listed(HOSTS):
            self.objects.delete([item.name])
        leases.release(self.objects, Lease(outcome.holder, outcome.term))
        for name in (STATE, CURSOR, REACHED):
            (self.layout.state / name).unlink(missing_ok=True)
        return outcome


def remember(layout: Layout, content: dict[str, Any]) -> None:
    """Keep how a turn went, for whoever looks."""
    write_durably(layout.state / STATE, json.dumps({**content, "at": utc_text(time.time())}).encode())


def attempt(layout: Layout, act: Callable[[], Outcome]) -> Outcome:
    """Do something, and keep why it failed where it does."""
    try:
        return act()
    except Exception as error:  # whatever it was, it is raised again
        with suppress(OSError):
            before = known(layout)
            since = before.get("failing_since") or utc_text(time.time())
            write_durably(
                layout.state / STATE,
                json.dumps({**before, "failing_since": since, "why": str(error)[:500]}).encode(),
            )
        raise


def known(layout: Layout) -> dict[str, Any]:
    """How the last turn went; empty where nobody knows."""
    with suppress(OSError, ValueError, RecursionError):
        content = json.loads(read_bounded(layout.state / STATE))
        return content if isinstance(content, dict) else {}
    return {}


def followed(layout: Layout, address: str) -> int:
    """The version of the table up to which this archive has everything; -1: nobody knows."""
    state = known(layout)
    version = state.get("version")
    alike = state.get("place") == address and not state.get("leads")
    return version if alike and isinstance(version, int) else -1


def forget(layout: Layout) -> None:
    """Nobody knows any more up to which version this archive follows the table."""
    if followed(layout, str(known(layout).get("place"))) >= 0:
        remember(layout, {**known(layout), "version": -1})


def _is_ours(node: str, file_name: str) -> bool:
    known = file_name.endswith(".jsonl") and file_name.isascii() and file_name.replace(".", "").isalnum()
    return is_id(node) and known and len(file_name) < MOST_NAME


def _prefix(moment: float) -> str:
    """How names (ULID) of a moment (Unix time, s) begin."""
    number = int(moment * 1000)
    return "".join(CROCKFORD[number >> shift & 31] for shift in range(45, -1, -5))


def _before(name: str) -> str:
    """The beginning of names that are LATE_SECONDS older than one."""
    try:
        number = 0
        for letter in name[: len(ulid()) - 16]:
            number = number * 32 + CROCKFORD.index(letter)
    except ValueError:
        return ""
    return _prefix(max(0.0, number / 1000 - LATE_SECONDS))


def _text(file: Path) -> str:
    """What a file says; nothing where it cannot be read."""
    with suppress(OSError, ValueError, StorageError):
        return read_bounded(file).decode()
    return ""


def _cursor(layout: Layout) -> tuple[set[str], str]:
    with suppress(OSError, ValueError, LookupError, TypeError, RecursionError):
        content = json.loads(read_bounded(layout.state / CURSOR, MOST_CURSOR))
        return set(map(str, content["seen"])), str(content["since"])
    return set(), ""


def _keep_cursor(layout: Layout, seen: set[str], since: str) -> None:
    kept = sorted(name for name in seen if name.removeprefix(BESIDE) >= since)
    write_durably(layout.state / CURSOR, json.dumps({"since": since, "seen": kept}).encode())
