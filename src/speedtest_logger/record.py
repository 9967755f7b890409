"""The record: one slot's outcome, one row. Nothing else defines a column.

Units are canonical: bit/s, ms, percent, bytes, UTC. None means not measured; it is never 0 or -1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timezone
from functools import cache
from typing import TYPE_CHECKING, Any

from speedtest_logger.errors import RecordError

if TYPE_CHECKING:
    from uuid import UUID

SCHEMA_VERSION = 1
MAX_TEXT = 1000
LARGEST = 2**53 - 1  # beyond, a float no longer counts every whole number

STATUSES = ("ok", "partial", "failed", "skipped")
RUNTIMES_WITHOUT_LOGIN = ("kubernetes",)  # of nodes that no run logs into: they have no machine of their own
NODE_RUNTIMES = ("systemd", "compose", *RUNTIMES_WITHOUT_LOGIN)
RUNTIMES = (*NODE_RUNTIMES, "imported")
REASONS = {
    "no_route": "the node had no default route or its interface was down",
    "dns_failed": "a name could not be resolved",
    "server_unreachable": "the measurement server did not answer",
    "server_busy": "the measurement server was serving somebody else for as long as the measurement could wait",
    "rate_limited": "the measurement service asked to come back later",
    "engine_missing": "no such program on the node, or another program under its name",
    "engine_error": "the engine ended with an error of its own",
    "engine_timeout": "the engine did not finish in time and was ended",
    "bad_output": "the engine's output could not be understood or was impossible",
    "licence_not_accepted": "the engine's licence has not been accepted for this node",
    "incomplete": "only one direction was measured",
    "interrupted": "the node stopped or was killed during the measurement",
    "locked": "another measurement was still running",
    "late_start": "the slot's start was missed by more than the tolerance",
    "quiet_hours": "the slot lies in the quiet hours",
    "data_budget": "the month's data budget is used up",
    "line_busy": "the line was in use",
    "paused": "measuring is paused",
    "disk_full": "the node's disk is full",
    "outbox_dropped": "the outbox reached its cap and its oldest records were dropped",
}

ID_PATTERN = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
TIME_PATTERN = re.compile(r"\d{4}-\d\d-\d\dT(?!24)\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
UNKNOWN_LOCATION = "unknown-location"


def column(kind: str, text: str, default: Any = None, most: int = LARGEST) -> Any:
    """A column of a dataclass: a kind that `check` knows, what it means, and the largest number it may be."""
    return field(default=default, metadata={"kind": kind, "text": text, "most": most})


@dataclass
class Record:
    """One slot's outcome. Kinds: id, text, time (ISO 8601 UTC, ms), int and float (both finite and >= 0)."""

    schema_version: int = column("int", "version of this list of columns", SCHEMA_VERSION)
    run_id: str = column("uuid", "identifies the record; a slot of a node always has the same", "")
    node: str = column("id", "the machine that measured", "")
    location: str = column("id", "the place whose line was measured", UNKNOWN_LOCATION)
    uplink: str | None = column("id", "the line that several nodes share")
    runtime: str = column("runtime", "how the logger runs on the node; imported: it came from elsewhere", "systemd")
    logger_version: str | None = column("text", "version of this program")
    scheduled_at: str | None = column("time", "the slot; NULL for a measurement started by hand")
    started_at: str = column("time", "when the measurement, or the decision to skip, began", "")
    finished_at: str = column("time", "when it ended", "")
    status: str = column("status", "ok, partial, failed or skipped", "failed")
    reason: str | None = column("reason", "why it is not ok: one word of a closed list")
    message: str | None = column("text", "the reason in words, as the program said it")
    engine: str | None = column("text", "the program that answered")
    engine_requested: str | None = column("text", "the first program of the node's chain")
    engine_version: str | None = column("text", "version of the program that answered")
    attempt: int | None = column("int", "which try answered, 1 = the first")
    server_id: str | None = column("text", "the server's id in its engine's list")
    server_name: str | None = column("text", "the server's name or town")
    server_host: str | None = column("text", "the server's host and port, or URL")
    server_country: str | None = column("text", "the server's country")
    isp: str | None = column("text", "the provider as the engine saw it")
    external_ip: str | None = column("text", "the node's public address, whole, shortened or left out")
    interface: str | None = column("text", "the network interface that was measured")
    ip_family: int | None = column("int", "4 or 6 where it is known")
    download_bps: float | None = column("float", "download, bit/s")
    upload_bps: float | None = column("float", "upload, bit/s")
    latency_ms: float | None = column("float", "idle latency, ms")
    latency_low_ms: float | None = column("float", "lowest idle latency, ms")
    latency_high_ms: float | None = column("float", "highest idle latency, ms")
    jitter_ms: float | None = column("float", "jitter of the idle latency, ms")
    download_latency_ms: float | None = column("float", "latency during the download, ms")
    upload_latency_ms: float | None = column("float", "latency during the upload, ms")
    packet_loss_pct: float | None = column("float", "lost packets, percent; 100 at most", most=100)
    bytes_received: int | None = column("int", "bytes that the test received")
    bytes_sent: int | None = column("int", "bytes that the test sent")
    background_rx_bytes: int | None = column("int", "bytes received beside the test's own during the test")
    background_tx_bytes: int | None = column("int", "bytes sent beside the test's own during the test")
    result_url: str | None = column("text", "where the engine's operator shows the result")
    raw_sha256: str | None = column("sha256", "SHA-256 of the raw output")

    def to_row(self) -> dict[str, Any]:
        """The record as a plain dict in column order."""
        return asdict(self)


COLUMNS = {each.name: each.metadata["kind"] for each in fields(Record)}
MOST = {each.name: each.metadata["most"] for each in fields(Record)}  # of numbers
REQUIRED = ("schema_version", "run_id", "node", "location", "runtime", "started_at", "finished_at", "status")


def column_texts() -> dict[str, str]:
    """What each column means, for generated documentation."""
    return {each.name: each.metadata["text"] for each in fields(Record)}


def utc_text(moment: float) -> str:
    """ISO 8601 in UTC with milliseconds from a Unix time in seconds."""
    stamp = datetime.fromtimestamp(round(moment * 1000) / 1000, tz=timezone.utc)
    return stamp.strftime("%Y-%m-%dT%H:%M:%S.") + f"{stamp.microsecond // 1000:03d}Z"


def unix_time(text: str) -> float:
    """Unix time in seconds from what utc_text wrote. Raises ValueError for anything else."""
    if not TIME_PATTERN.fullmatch(text):
        raise ValueError(f"'{text}' is not a time of the form 2026-01-31T23:59:59.000Z")
    return datetime.fromisoformat(text[:-1] + "+00:00").timestamp()  # a tenth of what strptime costs


def run_id_of_slot(node: str, scheduled_at: str) -> str:
    """The UUID of a node's slot: the same however often the slot is tried, so that nothing can be counted twice."""
    import uuid

    return str(uuid.uuid5(namespace(), f"{node} {scheduled_at}"))


@cache
def namespace() -> UUID:
    """In which run_ids are made of names."""
    import uuid  # platform with it: not for every start of a program

    return uuid.UUID("5b3f1f4e-6f5a-4a57-9c1c-0d7c5f0e8a11")


def is_id(text: str) -> bool:
    """Whether a text can name a node, a location or an uplink, in a path too: letters, digits and inner hyphens.

    Digits alone are refused: readers of Hive partitions would take them for numbers.
    """
    return bool(ID_PATTERN.fullmatch(text)) and not text.isdigit()


def validate(row: dict[str, Any]) -> Record:
    """Turn a row from outside into a record. Raises RecordError with column, value and what is wrong."""
    check_row(row, COLUMNS, MOST, REQUIRED, SCHEMA_VERSION)
    record = Record(**row)
    _check_together(record)
    return record


def check_row(
    row: dict[str, Any], kinds: Mapping[str, str], most: Mapping[str, int], required: Iterable[str], version: int
) -> None:
    """Raise RecordError for a row with a column that is unknown, missing or not of its kind, or of another version."""
    unknown = sorted(set(row) - set(kinds))
    if unknown:
        raise RecordError("unknown_column", f"unknown column {unknown[0]!r:.100}")
    if row.get("schema_version") != version:
        raise RecordError("schema_version", f"schema_version is {row.get('schema_version')!r:.40}, not {version}")
    for name in required:
        if row.get(name) in (None, ""):
            raise RecordError("missing_column", f"{name} is missing")
    for name, value in row.items():
        if value is not None:
            check(name, kinds[name], value, most[name])


def without_impossible(row: dict[str, Any]) -> dict[str, Any]:
    """A row whose percentage above 100 became NULL, which `message` tells; any other row as it is.

    For what engines say, and for records of earlier releases, which took such a value: the rest of them is right.
    """
    loss = row.get("packet_loss_pct")
    if not isinstance(loss, (int, float)) or isinstance(loss, bool) or not MOST["packet_loss_pct"] < loss <= LARGEST:
        return row
    note, told = f"packet_loss_pct left out: {loss:g} is no percentage", row.get("message")
    message = told if told and not isinstance(told, str) else "; ".join(filter(None, (told, note)))[:MAX_TEXT]
    return {**row, "packet_loss_pct": None, "message": message}


def check(name: str, kind: str, value: Any, most: int = LARGEST) -> None:
    """Raise RecordError for a value that is none of a kind; `most`: the largest number it may be."""
    if kind in ("int", "float"):
        number = isinstance(value, int if kind == "int" else (int, float)) and not isinstance(value, bool)
        if not number or not 0 <= value <= most:
            ends = "from 0 on" if most == LARGEST else f"from 0 to {most}"
            raise RecordError("bad_number", f"{name} is {value!r:.60}: a number {ends} is expected")
        return
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise RecordError("bad_text", f"{name} is {value!r:.60}: text of at most {MAX_TEXT} characters is expected")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise RecordError("bad_text", f"{name} holds a lone surrogate") from error
    if "\0" in value:
        raise RecordError("bad_text", f"{name} holds a NUL character")
    if not _CHECKS.get(kind, _any_text)(value):
        raise RecordError(f"bad_{kind}", f"{name} is {value!r:.80}: not a valid {kind}")


def _any_text(_: str) -> bool:
    return True


def _is_uuid(text: str) -> bool:
    return bool(re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text))


def _is_time(text: str) -> bool:
    try:
        return unix_time(text) > 0
    except ValueError:
        return False


_CHECKS: dict[str, Callable[[str], bool]] = {
    "id": is_id,
    "uuid": _is_uuid,
    "time": _is_time,
    "status": STATUSES.__contains__,
    "reason": REASONS.__contains__,
    "runtime": RUNTIMES.__contains__,
    "sha256": lambda text: bool(re.fullmatch(r"[0-9a-f]{64}", text)),
}


def _check_together(record: Record) -> None:
    if (record.status == "ok") != (record.reason is None):
        raise RecordError("bad_reason", f"status {record.status} with reason {record.reason}")
    if record.finished_at < record.started_at:
        raise RecordError("bad_time", f"finished_at {record.finished_at} is before started_at {record.started_at}")
    if record.status == "ok" and not (record.download_bps and record.upload_bps):
        raise RecordError("bad_number", "status ok without a download and an upload above 0")
    if record.ip_family not in (None, 4, 6):
        raise RecordError("bad_number", f"ip_family is {record.ip_family}, not 4 or 6")


def from_text(row: dict[str, str]) -> dict[str, Any]:
    """Give CSV's texts their types back: an empty field is None. Raises RecordError for text that is no number."""
    typed: dict[str, Any] = {}
    for name, text in row.items():
        kind = COLUMNS.get(name, "text")
        try:
            typed[name] = None if text in ("", None) else {"int": int, "float": float}.get(kind, str)(text)
        except ValueError as error:
            raise RecordError("bad_number", f"{name} is {text!r:.60}: a number is expected") from error
    return typed


def shorten(address: str | None) -> str | None:
    """An address's network: /24 for IPv4, /48 for IPv6."""
    import ipaddress

    if address is None:
        return None
    try:
        prefix = 24 if ipaddress.ip_address(address).version == 4 else 48
        return str(ipaddress.ip_network(f"{address}/{prefix}", strict=False).network_address)
    except ValueError:
        return None
