"""The registry: what Ansible deployed on each node and when, and what the inventory says of the node now.

`<archive>/fleet/schedule.json`, which root writes:
{"nodes": {NAME: [{"valid_from": TIME, "valid_to": TIME or null, "interval_seconds": N, "offset_seconds": N,
"location": ID, …}]}, "inventory": {NAME: {"location": ID, "archive_raw": true or false, "timezone": ZONE}}}

`nodes` is written last, when a node has its slots; `inventory` first, before a node hears of a change: so no record of
a node that has just moved is ever foreign. The version before had `nodes` only, in `<archive>/state/schedule.json`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from speedtest_logger.errors import StorageError
from speedtest_logger.files import Identity, identity, read_bounded
from speedtest_logger.record import unix_time
from speedtest_logger.schedule import DAY, Schedule

PLACES = ("fleet/schedule.json", "state/schedule.json")  # the second one is the version before's
MOST_BYTES = 64_000_000
History = list[dict[str, Any]]


@dataclass(frozen=True)
class Entry:
    """A schedule that was in force on a node from a time to another (None: it still is)."""

    valid_from: str
    valid_to: str | None
    interval_seconds: int
    offset_seconds: int
    location: str | None = None
    uplink: str | None = None
    plan_download_mbps: float | None = None
    plan_upload_mbps: float | None = None


@dataclass(frozen=True)
class Known:
    """What is known of one node: where it measures or measured, its longest interval (s), whether raw output is wanted.

    No locations: none is known, so any may be true. `raw` is None where the registry does not say.
    """

    locations: frozenset[str]
    longest_interval: int
    raw: bool | None


@dataclass(frozen=True)
class Registry:
    """The file as it is: `nodes` with their histories, and the inventory, None where the file has none."""

    file: Path
    nodes: dict[str, History] = field(default_factory=dict)
    inventory: dict[str, dict[str, Any]] | None = None

    def history(self, node: str) -> list[Entry]:
        """A node's schedules, oldest first. Raises StorageError where they are none."""
        names = {column.name for column in fields(Entry)}
        try:
            return [Entry(**{k: v for k, v in entry.items() if k in names}) for entry in self.nodes.get(node, [])]
        except (AttributeError, TypeError) as error:
            raise cannot_be_read(self.file, f"the schedules of node '{node}': {error}") from error

    def known(self, node: str) -> Known | None:
        """What is known of a node, None where that is nothing. Raises StorageError for an entry that makes no sense."""
        current = (self.inventory or {}).get(node)
        if current is None and node not in self.nodes:
            return None
        history = self.history(node)
        places = [entry.location for entry in history]
        raw = None
        try:
            longest = max((int(entry.interval_seconds) for entry in history), default=DAY)
            if current is not None:
                places.append(current.get("location"))
                raw = bool(current.get("archive_raw"))
        except (AttributeError, TypeError, ValueError) as error:
            raise cannot_be_read(self.file, f"node '{node}': {error}") from error
        return Known(frozenset(place for place in places if isinstance(place, str)), longest, raw)


def read(root: Path) -> Registry | None:
    """The registry of the archive at a root; None where there is none: an archive that was made without Ansible.

    Raises StorageError, which names the file and says what to do, where it cannot be read.
    """
    for place in PLACES:
        file = root / place
        try:
            content = json.loads(read_bounded(file, MOST_BYTES))
        except FileNotFoundError:
            continue
        except (OSError, ValueError, RecursionError) as error:
            raise cannot_be_read(file, getattr(error, "strerror", None) or error) from error
        nodes = content.get("nodes") if isinstance(content, dict) else None
        inventory = content.get("inventory") if isinstance(content, dict) else None
        if not isinstance(nodes, dict) or not isinstance(inventory, dict | None):
            raise cannot_be_read(file, "it has no nodes by name")
        return Registry(file, nodes, inventory)
    return None


class Reader:
    """Reads registries as `read` does, one that has not changed only once: for a process that lives on."""

    def __init__(self) -> None:
        self.seen: tuple[Identity | None, ...] | None = None
        self.found: Registry | None = None

    def read(self, root: Path) -> Registry | None:
        """See `read`."""
        now = tuple(identity(root / place) for place in PLACES)
        if now != self.seen:
            self.found = read(root)
            self.seen = now
        return self.found


def cannot_be_read(file: Path, why: object) -> StorageError:
    """The error for a registry that makes no sense."""
    return StorageError(f"{file} cannot be read ({str(why)[:200]}): restore it, or remove it and run site.yml")


def expected_slots(history: History, start: float, end: float) -> list[int]:
    """The slots (Unix time, s) in start <= slot < end of a node's schedules, each while it was in force."""
    slots: set[int] = set()
    for entry in history:
        first = max(start, unix_time(entry["valid_from"]))
        last = min(end, unix_time(entry["valid_to"])) if entry.get("valid_to") else end
        if first < last:
            slots.update(Schedule(entry["interval_seconds"], entry["offset_seconds"]).between(first, last))
    return sorted(slots)
