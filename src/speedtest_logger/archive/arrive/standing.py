"""How a node stands with the archive: what it may still send, and what was refused of what it sent.

One small file for each node, state/receive-NAME.json. It lies in a folder of the service account: whatever it holds is
read with care, and what makes no sense is as if it were not there.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from speedtest_logger.archive.arrive.limits import Limits
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.errors import RefusedError
from speedtest_logger.files import AT_ONCE, Sync, read_bounded, write_durably
from speedtest_logger.record import is_id, utc_text

MB = 1_000_000
MOST_BYTES = 16_000
MOST_TEXT = 300
DAY = 86_400
FADES_SECONDS = DAY  # a problem is one no more when nothing new was refused for so long
BEFORE, AFTER = "receive-", ".json"


@dataclass(frozen=True)
class Bucket:
    """Tokens: at most `burst` of them, `per_hour` come back."""

    unit: str
    burst: float
    per_hour: float


def buckets(limits: Limits) -> dict[str, Bucket]:
    """The three things that a node has so and so much of."""
    return {
        "rows": Bucket("records", limits.rows_burst, limits.rows_per_hour),
        "bytes": Bucket("bytes", limits.bytes_burst_mb * MB, limits.bytes_per_hour_mb * MB),
        "raw": Bucket("bytes of raw output, unpacked,", limits.raw_burst_mb * MB, limits.raw_per_hour_mb * MB),
    }


@dataclass
class Standing:
    """A node's tokens at a moment (`at`, Unix time, s), and what was refused since `since`, for the last time when."""

    at: float = 0.0
    rows: float = math.inf  # as many as there may be
    bytes: float = math.inf
    raw: float = math.inf
    records: int = 0
    deliveries: int = 0
    raw_dropped: int = 0
    since: float = 0.0
    last: float = 0.0
    reason: str = ""
    message: str = ""
    waiting: int = 0
    waiting_at: float = 0.0
    waiting_why: str = ""
    log_day: int = 0  # days since 1970
    log_bytes: float = 0.0  # kept that day
    log_left_out: int = 0  # lines that no line has told of yet
    log_noted: float = 0.0
    log_over: int = 0  # lines that were left out since `log_since`, for the last time `log_last`
    log_since: float = 0.0
    log_last: float = 0.0
    probe_day: int = 0  # as those of the log
    probe_bytes: float = 0.0
    probe_over: int = 0
    probe_since: float = 0.0
    probe_last: float = 0.0

    def refuse(self, now: float, why: tuple[str, str], records: int = 0, deliveries: int = 0) -> None:
        """Count what was refused, with the reason and the message of the last of it."""
        if not self.last or abs(now - self.last) > FADES_SECONDS:
            self.records = self.deliveries = self.raw_dropped = 0
            self.since = now
        self.last = now
        self.reason, self.message = (shown(text) for text in why)
        self.records += records
        self.deliveries += deliveries

    def kept_today(self, kind: str) -> float:
        """Bytes that were kept today of what comes beside records: `log`, `probe`."""
        kept: float = getattr(self, f"{kind}_bytes")
        return kept if getattr(self, f"{kind}_day") == self._today else 0.0

    def keep(self, kind: str, size: int) -> None:
        """Count bytes that were kept."""
        setattr(self, f"{kind}_bytes", self.kept_today(kind) + size)
        setattr(self, f"{kind}_day", self._today)

    def leave_out(self, kind: str, count: int) -> None:
        """Count what was not kept."""
        if not count:
            return
        last, over = getattr(self, f"{kind}_last"), getattr(self, f"{kind}_over")
        if not last or abs(self.at - last) > FADES_SECONDS:
            over = 0
            setattr(self, f"{kind}_since", self.at)
        setattr(self, f"{kind}_over", over + count)
        setattr(self, f"{kind}_last", self.at)

    @property
    def _today(self) -> int:
        return int(self.at // DAY)

    def charge(self, **spent: float) -> None:
        """Take tokens away, never more than there are."""
        for name, tokens in spent.items():
            setattr(self, name, max(0.0, getattr(self, name) - tokens))

    def check(self, limits: Limits, name: str, wanted: float) -> None:
        """Raise RefusedError where a node wants more than it has left."""
        left = getattr(self, name)
        if wanted <= left:
            return
        bucket = buckets(limits)[name]
        later = min(bucket.burst, left + bucket.per_hour)
        raise RefusedError(
            "rate_limited",
            f"a node may deliver {bucket.burst:,.0f} {bucket.unit} at once and {bucket.per_hour:,.0f} an hour: "
            f"{left:,.0f} are left now, try again in an hour for {later:,.0f}",
        )


def shown(text: str) -> str:
    """A text that a screen can show: what it was made of came from a node."""
    return "".join(char if char.isprintable() else "?" for char in text[:MOST_TEXT])


def file_of(layout: Layout, node: str) -> Path:
    """Where a node's standing lies."""
    return layout.state / f"{BEFORE}{node}{AFTER}"


def load(file: Path) -> Standing | None:
    """What a file says, None where it says nothing that makes sense. Never raises for what is in it."""
    try:
        found = json.loads(read_bounded(file, MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    return Standing(**{column.name: _sane(column.default, found.get(column.name)) for column in fields(Standing)})


def _sane(default: Any, value: object) -> Any:
    if isinstance(default, str):
        return shown(value) if isinstance(value, str) else default
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 2**53:
        return default
    return type(default)(value)


def read(layout: Layout, node: str, limits: Limits, now: float) -> Standing:
    """A node's standing at a moment (Unix time, s): its tokens have come back as far as time has gone on.

    A clock that was set back gives none until it is written again, which each delivery does; a node that nothing is
    known of has all its tokens.
    """
    found = load(file_of(layout, node)) or Standing()
    hours = max(0.0, now - found.at) / 3600
    for name, bucket in buckets(limits).items():
        setattr(found, name, min(bucket.burst, getattr(found, name) + hours * bucket.per_hour))
    found.at = now
    return found


def write(layout: Layout, node: str, standing: Standing, sync: Sync = AT_ONCE) -> None:
    """Keep a node's standing."""
    write_durably(file_of(layout, node), json.dumps(vars(standing)).encode(), sync=sync)


def problems(layout: Layout, now: float) -> list[str]:
    """What was refused lately, and what cannot be taken yet, in words: a line for each node and kind."""
    said: list[str] = []
    for file in sorted(layout.state.glob(f"{BEFORE}*{AFTER}")):
        node = file.name[len(BEFORE) : -len(AFTER)]
        standing = load(file) if is_id(node) else None
        if standing is None:
            continue
        if standing.last and abs(now - standing.last) <= FADES_SECONDS:
            said.append(
                f"node {node}: {_counted(standing)} refused since {utc_text(standing.since)}, last: {_why(standing)}"
            )
        if standing.waiting and abs(now - standing.waiting_at) <= FADES_SECONDS:
            count = _many(standing.waiting, "record", "records")
            said.append(f"node {node}: {count} cannot be taken yet: {standing.waiting_why}")
        if standing.log_last and abs(now - standing.log_last) <= FADES_SECONDS:
            count = _many(standing.log_over, "line", "lines")
            said.append(
                f"node {node}: {count} of its log left out since {utc_text(standing.log_since)}: more than the limit "
                "log_day_mb a day"
            )
        if standing.probe_last and abs(now - standing.probe_last) <= FADES_SECONDS:
            count = _many(standing.probe_over, "result", "results")
            said.append(
                f"node {node}: {count} of its probes left out since {utc_text(standing.probe_since)}: more than the "
                "limit probe_day_mb a day"
            )
    return said


def _why(standing: Standing) -> str:
    return f"{standing.reason}: {standing.message}"


def _counted(standing: Standing) -> str:
    counts = (
        (standing.records, "record", "records"),
        (standing.deliveries, "delivery", "deliveries"),
        (standing.raw_dropped, "raw output", "raw outputs"),
    )
    return " and ".join(_many(*each) for each in counts if each[0]) or "something"


def _many(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"
