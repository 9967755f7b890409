"""Whether a row that came with a node's key is a record that the node may deliver: from the row and the registry."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from speedtest_logger import registry
from speedtest_logger.archive.arrive.limits import Limits
from speedtest_logger.errors import RecordError, StorageError
from speedtest_logger.probe_result import ProbeResult
from speedtest_logger.record import NODE_RUNTIMES, Record, run_id_of_slot, unix_time, utc_text, validate
from speedtest_logger.schedule import DAY

CLOCK_STEP_SECONDS = 2  # a clock that is set right between a slot and its start
# A change of the interval reaches the node before the registry: no bound is tighter than this.
LATEST_START_SECONDS = 3_600
LONGEST_RESULT_SECONDS = 3_600  # of a probe: minutes are one result, and the node may have slept


class NotYetError(RecordError):
    """A refusal for now: the node keeps the record and tries again."""


@dataclass(frozen=True)
class Rules:
    """What is known while one delivery is judged: whose key it is, the time, and what the registry says.

    `known` is None in an archive without a registry, where any location and schedule may be true; `unknown` says why
    nothing can be taken yet.
    """

    node: str
    now: float
    limits: Limits
    known: registry.Known | None = None
    unknown: str | None = None

    @property
    def takes_raw(self) -> bool:
        """Whether raw output is wanted, as far as is known."""
        return self.known is None or self.known.raw is not False

    def check(self, record: Record) -> None:
        """Raise RecordError for a record that this node does not deliver, NotYetError for one that must wait."""
        if record.node != self.node:
            raise RecordError("other_node", f"this key delivers for node '{self.node}', not for '{record.node}'")
        if record.runtime not in NODE_RUNTIMES:
            raise RecordError("bad_runtime", f"runtime is {record.runtime}: a node has {' or '.join(NODE_RUNTIMES)}")
        if record.scheduled_at and record.run_id != run_id_of_slot(self.node, record.scheduled_at):
            raise RecordError("wrong_run_id", f"run {record.run_id} is not that of slot {record.scheduled_at}")
        self._check_age(record.started_at, self.limits.oldest_days)
        for name in ("started_at", "finished_at", "scheduled_at"):
            self._check_time(name, getattr(record, name))
        self._check_location(record.location)
        self._check_start(record)

    def check_result(self, result: ProbeResult) -> None:
        """Raise RecordError for a probe's result that this node does not deliver."""
        self._check_age(result.started_at, self.limits.probe_oldest_days)
        self._check_time("finished_at", result.finished_at)
        if unix_time(result.finished_at) - unix_time(result.started_at) > LONGEST_RESULT_SECONDS:
            raise RecordError("bad_time", f"it lasts from {result.started_at} until {result.finished_at}: not minutes")
        first, last = result.failed_from or result.started_at, result.failed_until or result.finished_at
        if first < result.started_at or last > result.finished_at:
            raise RecordError("bad_time", f"failed from {first} until {last}: not between its start and its end")
        self._check_location(result.location)

    def _check_age(self, started_at: str, days: int) -> None:
        if started_at < _text(max(0.0, self.now - days * DAY)):
            raise RecordError("too_old", f"started_at is {started_at}: {days} days are accepted")

    def _check_time(self, name: str, moment: str | None) -> None:
        if moment and moment > _text(self.now + self.limits.ahead_seconds):
            raise NotYetError("from_the_future", f"{name} is {moment}, the archive has {_text(self.now)}")

    def _check_location(self, location: str) -> None:
        if self.unknown:
            raise NotYetError("unknown_node", self.unknown)
        places = self.known.locations if self.known else None
        if places and location not in places:
            raise RecordError("other_location", f"'{location}' is not a location of node '{self.node}'")

    def _check_start(self, record: Record) -> None:
        if record.scheduled_at is None:
            return
        longest = max(self.known.longest_interval, LATEST_START_SECONDS) if self.known else DAY
        late = unix_time(record.started_at) - unix_time(record.scheduled_at)
        if not -CLOCK_STEP_SECONDS <= late <= longest + CLOCK_STEP_SECONDS:
            raise RecordError("wrong_start", f"slot {record.scheduled_at} cannot have started at {record.started_at}")


@lru_cache(maxsize=64)
def _text(moment: float) -> str:
    """A delivery's records are all compared with the same few moments."""
    return utc_text(moment)


def rules_for(
    root: Path,
    node: str,
    now: float,
    limits: Limits,
    registry_of: Callable[[Path], registry.Registry | None] = registry.read,
) -> Rules:
    """The rules for a delivery of a node at a moment (Unix time, s)."""
    try:
        found = registry_of(root)
        known = found.known(node) if found else None
    except StorageError as error:
        return Rules(node, now, limits, unknown=str(error))
    unknown = None
    if found and known is None:
        unknown = f"the archive does not know node '{node}' yet: run site.yml"
    return Rules(node, now, limits, known, unknown)


def parsed(line: bytes) -> dict[str, Any]:
    """A line's JSON object. Raises RecordError."""
    try:
        row = json.loads(line.decode())
    except (ValueError, RecursionError) as error:
        raise RecordError("bad_json", f"not JSON in UTF-8: {str(error)[:100]}") from error
    if not isinstance(row, dict):
        raise RecordError("bad_json", "a row must be an object")
    return row


def judged(row: dict[str, Any], rules: Rules) -> Record:
    """A row as a record that may come in. Raises RecordError, NotYetError where it may later."""
    record = validate(row)
    rules.check(record)
    return record
