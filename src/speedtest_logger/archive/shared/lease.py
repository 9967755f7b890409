"""Which of several hosts takes the shared inbox in: a lease, changed only where nobody else has changed it meanwhile.

No two clocks are compared: whoever waits for a lease takes it once it has not been renewed for SECONDS by the waiting
host's own clock. A holder that sleeps on with a lease that it has lost does no harm: the table takes no commit but of
the term that adopted it last.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.shared.objects import LEASE
from speedtest_logger.errors import StorageError
from speedtest_logger.files import read_bounded, write_durably
from speedtest_logger.sinks.objects import Objects

SECONDS = 300.0


@dataclass(frozen=True)
class Lease:
    """Who holds it, in which term (it grows with each change of the holder), and how often it was renewed."""

    holder: str
    term: int
    renewals: int = 0

    @property
    def writer(self) -> str:
        """As the table's commits name it."""
        return f"{self.holder}#{self.term}"

    def to_bytes(self) -> bytes:
        """As it lies in the store."""
        return json.dumps(asdict(self)).encode()


def read(objects: Objects) -> tuple[Lease, str] | None:
    """The lease and its tag; None where there is none. One that makes no sense is nobody's, in its first term."""
    found = objects.get(LEASE)
    if found is None:
        return None
    content, tag = found
    try:
        known = json.loads(content)
        return Lease(str(known["holder"]), int(known["term"]), int(known["renewals"])), tag
    except (ValueError, LookupError, TypeError, RecursionError):
        return Lease("", 0), tag


def take(objects: Objects, layout: Layout, name: str, seconds: float = SECONDS) -> tuple[Lease, bool]:
    """The lease as it is now, and whether it is this host's; renewed where it was, taken where nobody renews it.

    Raises StorageError.
    """
    found = read(objects)
    if found is None:
        first = Lease(name, 1)
        if objects.put_new(LEASE, first.to_bytes()):
            return first, True
        found = read(objects)
    if found is None:  # and gone again
        return Lease("", 0), False
    lease, tag = found
    if lease.holder == name:
        mine = Lease(name, lease.term, lease.renewals + 1)
    elif lease.holder == "" or _unrenewed_for(layout, tag) > seconds:
        mine = Lease(name, lease.term + 1)
    else:
        return lease, False
    return (mine, True) if objects.swap(LEASE, mine.to_bytes(), tag) else (lease, False)


@contextmanager
def renewing(objects: Objects, lease: Lease, every: float) -> Iterator[None]:
    """Renew a lease each so many seconds meanwhile, as long as it is this one's."""
    over = threading.Event()

    def renew() -> None:
        while not over.wait(every):
            with suppress(StorageError):  # it may answer the next time
                found = read(objects)
                if found is None or (found[0].holder, found[0].term) != (lease.holder, lease.term):
                    return
                renewed = Lease(lease.holder, lease.term, found[0].renewals + 1)
                objects.swap(LEASE, renewed.to_bytes(), found[1])

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def release(objects: Objects, lease: Lease) -> None:
    """Leave a lease to whoever comes next, where it is still this one's."""
    found = read(objects)
    if found and (found[0].holder, found[0].term) == (lease.holder, lease.term):
        objects.swap(LEASE, Lease("", lease.term).to_bytes(), found[1])


def _unrenewed_for(layout: Layout, tag: str) -> float:
    """How long (s) this host has been seeing a lease as it is."""
    file, now = _file(layout), time.time()
    with suppress(OSError, ValueError, LookupError, TypeError, RecursionError):
        seen = json.loads(read_bounded(file))
        if seen["tag"] == tag and now - float(seen["since"]) >= 0:
            return now - float(seen["since"])
    write_durably(file, json.dumps({"tag": tag, "since": now}).encode())
    return 0.0


def _file(layout: Layout) -> Path:
    return layout.state / "lease.json"
