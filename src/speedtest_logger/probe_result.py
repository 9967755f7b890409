"""What a probe found of one target in some minutes, one row. Nothing else defines a column of the probes' dataset.

A node's runs of a few minutes go into one row, so that an SD card is spared; `failed_from` and `failed_until` keep the
moments of an outage to the run. Units are those of records: ms, UTC. None means not measured; it is never 0.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, fields
from typing import Any

from speedtest_logger.errors import RecordError
from speedtest_logger.record import UNKNOWN_LOCATION, check_row, column

SCHEMA_VERSION = 1
NAME_PATTERN = re.compile(r"[a-z][a-z0-9_]{0,31}", re.ASCII)
MOST_TARGET = 255  # characters
REASONS = {
    "no_answer": "the target did not answer in time",
    "no_route": "the node had no way to the target",
    "dns_failed": "the target's name could not be resolved",
    "refused": "the target refused the connection",
    "tls_failed": "the target's certificate was not accepted, or TLS failed",
    "bad_answer": "the target answered with an error, or what could not be understood",
    "program_missing": "no such program on the node",
    "program_failed": "the probe's program ended with an error of its own, or did not end in time",
}
BROKEN = ("program_missing", "program_failed")  # nothing was asked


@dataclass
class ProbeResult:
    """A probe's runs against one target. Kinds as in record.Record; `sent` and `lost` count requests."""

    schema_version: int = column("int", "version of this list of columns", SCHEMA_VERSION)
    started_at: str = column("time", "when the first of the runs began", "")
    finished_at: str = column("time", "when the last of them ended", "")
    location: str = column("id", "the place whose line was probed", UNKNOWN_LOCATION)
    probe: str = column("probe", "the probe: ping, dns, http, irtt, traceroute", "")
    target: str = column("target", "what it asked, as the inventory names it", "")
    ip_family: int | None = column("int", "4 or 6 where it is known")
    runs: int = column("int", "how often the probe was run", 0)
    left_out: int = column("int", "runs that were left out, as the line was being measured", 0)
    sent: int = column("int", "requests that were sent", 0)
    lost: int = column("int", "requests without a good answer", 0)
    min_ms: float | None = column("float", "the shortest round trip, ms")
    median_ms: float | None = column("float", "the middle one, ms")
    p90_ms: float | None = column("float", "longer than nine of ten, ms")
    max_ms: float | None = column("float", "the longest, ms")
    failed_from: str | None = column("time", "the first run that had no good answer at all")
    failed_until: str | None = column("time", "the end of the last such run")
    reason: str | None = column("probe_reason", "why the last request that failed did: one word of a closed list")
    message: str | None = column("text", "the reason in words")
    path: str | None = column("text", "traceroute: each hop's address and round trip in ms, or *; separated by spaces")

    def to_row(self) -> dict[str, Any]:
        """The result as a plain dict in column order."""
        return asdict(self)


COLUMNS = {each.name: each.metadata["kind"] for each in fields(ProbeResult)}
MOST = {each.name: each.metadata["most"] for each in fields(ProbeResult)}
REQUIRED = ("schema_version", "started_at", "finished_at", "location", "probe", "target", "runs", "sent", "lost")
TIMES_MS = ("min_ms", "median_ms", "p90_ms", "max_ms")


def validate(row: dict[str, Any]) -> ProbeResult:
    """Turn a row from outside into a result. Raises RecordError with column, value and what is wrong."""
    check_row(row, COLUMNS, MOST, REQUIRED, SCHEMA_VERSION)
    result = ProbeResult(**row)
    _check_together(result)
    return result


def _check_together(result: ProbeResult) -> None:
    if not NAME_PATTERN.fullmatch(result.probe):
        raise RecordError("bad_probe", f"probe is {result.probe!r:.80}: not a probe's name")
    if len(result.target) > MOST_TARGET or not result.target.isprintable():
        raise RecordError("bad_target", f"target is {result.target!r:.80}: {MOST_TARGET} printable characters at most")
    if result.reason is not None and result.reason not in REASONS:
        raise RecordError("bad_reason", f"reason is {result.reason!r:.80}: none of {', '.join(REASONS)}")
    if result.finished_at < result.started_at:
        raise RecordError("bad_time", f"finished_at {result.finished_at} is before started_at {result.started_at}")
    if result.lost > result.sent:
        raise RecordError("bad_number", f"{result.lost} requests lost of {result.sent}")
    if result.ip_family not in (None, 4, 6):
        raise RecordError("bad_number", f"ip_family is {result.ip_family}, not 4 or 6")
    if (result.failed_from is None) != (result.failed_until is None) or not (
        (result.failed_from or "") <= (result.failed_until or "")
    ):
        raise RecordError("bad_time", f"failed from {result.failed_from} until {result.failed_until}")
    times = [getattr(result, name) for name in TIMES_MS]
    if times != [None] * len(times) and (None in times or times != sorted(times)):
        raise RecordError("bad_number", f"round trips of {', '.join(map(str, times))} ms are in no order")
