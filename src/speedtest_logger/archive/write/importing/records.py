"""A row as a record. The engine's own parser reads it; what it does not find is refused, and is no failed test."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from speedtest_logger import engines
from speedtest_logger.archive.write.importing import values
from speedtest_logger.archive.write.importing.catalogue import OWN
from speedtest_logger.archive.write.importing.formats import Format, Row
from speedtest_logger.engines.contract import Output, Result
from speedtest_logger.engines.reading import section
from speedtest_logger.engines.reasons import fail
from speedtest_logger.errors import EngineError, RecordError, UsageError
from speedtest_logger.record import (
    COLUMNS,
    MAX_TEXT,
    SCHEMA_VERSION,
    UNKNOWN_LOCATION,
    Record,
    is_id,
    namespace,
    shorten,
    utc_text,
    validate,
)
from speedtest_logger.text import FORMULA_STARTS

TIMES = (
    "timestamp", "created_at", "created", "teststarttime", "datetime", "date_time", "start_time",
    "start_timestamp_timesecs",
)  # fmt: skip
SLOWEST, FASTEST = 1e3, 1e12  # bit/s; beyond, the unit is not the one that the format has
LONGEST_MS = 600_000
LABELS = {
    "completed": "completed abgeschlossen terminé completado voltooid concluído",
    "failed": "failed fehler échec fallido mislukt falhou",
    "skipped": "skipped übersprungen ignoré omitido overgeslagen ignorado",
    "not finished": "running started waiting checking benchmarking laufend gestartet warten prüfe démarré ejecutando "
    "iniciado esperando comprobando evaluando lopend gestart wachten controleren executando verificando en_attente "
    "en_cours_de_vérification en_cours_d'exécution évaluation_comparative",
}  # Speedtest Tracker's, in the languages that it speaks (lang/*/enums.php of v1.13.11)
STATUS_OF = {label.replace("_", " "): status for status, labels in LABELS.items() for label in labels.split()}


@dataclass(frozen=True)
class Source:
    """Whose rows they are and how to read them, where they do not say it themselves.

    `zone` is that of times without one (None: UTC). `external_ip` is full, shortened or none. `locations` gives the id
    of a place's name.
    """

    node: str | None
    location: str | None = None
    at: str | None = None
    zone: ZoneInfo | None = None
    external_ip: str = "shortened"
    locations: Mapping[str, str] = field(default_factory=dict)
    form: str | None = None


class NoTestError(Exception):
    """A row that tells of no test: it was skipped, or was still running; the text is which."""


def to_record(row: Row, form: Format, file: Path, source: Source) -> Record:
    """A row as a valid record. Raises RecordError, EngineError, NoTestError, UsageError without a node's name."""
    if form.name == OWN:
        return validate(_own(row, file))
    if not source.node:
        raise UsageError(f"{file} does not say which node measured: add --node NAME")
    if form.prepare:
        row = form.prepare(row)
    if form.check:
        form.check(row)
    status, message = status_of(row, form)
    started = _started(row, source)
    engine = row.get("engine") if form.engine == "murakami" else form.engine
    base = {
        "schema_version": SCHEMA_VERSION,
        "run_id": run_id(source.node, started),
        "node": source.node,
        "location": location_of(row, file, source),
        "runtime": "imported",
        "started_at": started,
        "finished_at": started,
        "engine": engine,
        "engine_requested": engine,
        "attempt": 1,
    }
    if status == "failed":
        return validate({**base, **_failure(message)})
    result = vars(_plausible(_parsed(row, form)))
    result["external_ip"] = kept_address(result["external_ip"], source)
    if result["download_bps"] and result["upload_bps"]:
        return validate({**base, **result, "status": "ok"})
    return validate({**base, **result, "status": "partial", "reason": "incomplete"})


def run_id(node: str, started: str) -> str:
    """What tells an imported test: a node measures one thing at a time."""
    return str(uuid.uuid5(namespace(), f"import {node} {started}"))


def kept_address(address: str | None, source: Source) -> str | None:
    """As much of a public address as is wanted, as nodes do it."""
    return {"full": address, "none": None}.get(source.external_ip, shorten(address))


def _own(row: Row, file: Path) -> dict[str, Any]:
    typed = {name: _typed(row.get(name), kind, name) for name, kind in COLUMNS.items()}
    typed["location"] = typed["location"] or row.get("speedtest_address") or folder_of(file)
    return typed


def _typed(value: Any, kind: str, name: str) -> Any:
    """A value of our own exports: texts of CSV, values of JSON and Parquet."""
    if value in ("", None):
        return None
    if kind in ("int", "float"):
        number = values.number(value, name)
        return float(number) if kind == "float" and number is not None else number
    if isinstance(value, datetime):
        return utc_text(value.timestamp())
    return unescaped(value) if isinstance(value, str) else value


def unescaped(text: str) -> str:
    """Take away the apostrophe that an export put before a formula."""
    return text[1:] if text.startswith("'") and text[1:].startswith(FORMULA_STARTS) else text


def status_of(row: Row, form: Format) -> tuple[str, Any]:
    """Completed or failed, and the message. Raises NoTestError, RecordError for a status that nobody knows."""
    message = next((row.get(n) for n in ("error_message", "message", "data_message", "error") if row.get(n)), None)
    kind = str(row.get("type") or "").strip().lower() if form.name.startswith("ookla") else ""
    if form.name == "iperf3" or form.engine == "murakami":
        return ("failed" if row.get("error") else "completed"), message
    if form.status in ("failed", "successful"):
        good = values.truth(row.get(form.status), form.status) == (form.status == "successful")
        return ("completed" if good or row.get(form.status) in (None, "") else "failed"), message
    if form.name == "myspeed":
        return ("failed" if row.get("error") not in (None, "") else "completed"), message
    label = str(row.get(form.status) or "").strip().casefold() if form.status else ""
    status = STATUS_OF.get(label, "completed" if kind in ("", "result") else "failed") if label else ""
    if label and label not in STATUS_OF:
        raise RecordError("bad_status", f"status is {row.get(form.status)!r:.60}: not a known status")
    if status in ("skipped", "not finished"):
        raise NoTestError(f"test {status}")
    if kind == "log" and not status:
        if str(row.get("level")).lower() != "error":
            raise NoTestError("line of progress")
        status = "failed"
    if kind not in ("", "log", "result"):
        raise RecordError("unknown_format", f"type is {kind!r:.40}: a result is expected")
    return status or "completed", message


def _failure(message: Any) -> dict[str, Any]:
    """Why a test failed, as engines tell it from a program's words."""
    if message in (None, ""):
        return {"status": "failed", "reason": "engine_error", "message": None}
    try:
        fail(str(message))
    except EngineError as error:
        text = str(message).encode(errors="replace").decode().replace("\0", "")[:MAX_TEXT]
        return {"status": "failed", "reason": error.reason, "message": text}


def time_of(row: Row) -> Any:
    """A row's time: one column, or the day and the time of day in two; None where there is none."""
    for name in TIMES:
        if not values.is_nothing(row.get(name)):
            return row.get(name)
    day, time = row.get("date"), row.get("time")
    if values.is_nothing(day):
        return None
    return day if values.is_nothing(time) or isinstance(day, datetime) else f"{str(day).strip()} {str(time).strip()}"


def _started(row: Row, source: Source) -> str:
    told = time_of(row)
    if told is None and source.at is None:
        raise RecordError("no_time", "it has no time: add a column `timestamp`, or --at TIME for one test")
    return values.moment(source.at if told is None else told, source.zone)


def location_of(row: Row, file: Path, source: Source) -> str:
    """The id of a row's place. Raises RecordError for a name that has no id."""
    if source.location:
        return source.location
    name = row.get("speedtest_address") or row.get("murakamilocation") or folder_of(file)
    if values.is_nothing(name):
        return UNKNOWN_LOCATION
    found = source.locations.get(str(name), str(name))
    if not is_id(found):
        raise RecordError("bad_location", f"location '{name!s:.60}' is not an id: add --location-map '{name!s:.60}=ID'")
    return found


def folder_of(file: Path) -> str | None:
    """The location that a file's folder tells."""
    found = re.search(r"location=([^/]+)/", file.as_posix())
    return found[1] if found else None


def _parsed(row: Row, form: Format) -> Result:
    parser = engines.get(form.parser)
    if form.name == "iperf3":
        return parser.parse([Output(0, json.dumps(part).encode()) for part in _directions(row.raw)])
    try:
        return parser.parse([Output(0, json.dumps(content_of(row, form)).encode())])
    except EngineError as error:
        wanted = " and ".join(name for name in form.columns if form.path(name)[0] in SPEED_PATHS and name in row.values)
        raise RecordError(
            "no_speed", f"it has no speed: {form.name} has them in {wanted or 'other columns'}"
        ) from error


SPEED_PATHS = ("download", "upload", "download.bandwidth", "upload.bandwidth")


def _directions(content: Any) -> list[dict[str, Any]]:
    """iperf3's output as that of a download and an upload; with --bidir one output is both. Raises RecordError."""
    if not isinstance(content, dict):
        raise RecordError("no_speed", "iperf3's JSON is expected whole, as `iperf3 -J` prints it")
    start, end = section(content, "start"), section(content, "end")
    if "reverse" not in section(start, "test_start") and not content.get("error"):
        raise RecordError("no_speed", "start.test_start.reverse is missing: which direction was measured?")
    nothing: dict[str, Any] = {"start": start}
    if section(end, "sum_received_bidir_reverse"):
        back = {**content, "end": {**end, "sum_received": end["sum_received_bidir_reverse"]}}
        return [back, content]
    return [content] if section(start, "test_start").get("reverse") else [nothing, content]


def content_of(row: Row, form: Format) -> dict[str, Any]:
    """A row as the JSON that its engine prints. Raises RecordError for what should be a number and is none."""
    numeric = fields_of(form.parser, form.paths)
    content: dict[str, Any] = (
        {"type": "result", "download": {}, "upload": {}} if form.parser == "ookla" else {"download": None}
    )
    for name in form.columns:
        value = row.get(name)
        if values.is_nothing(value):
            continue
        path, factor = form.path(name)
        if path in numeric:
            value = values.number(value, name)
            value = value * factor if value is not None and factor != 1 else value
        elif isinstance(value, str):
            value = unescaped(value.strip())
        put(content, path, value)
    return content


def put(content: dict[str, Any], path: str, value: Any) -> None:
    """Set a value in nested objects."""
    *sections, last = path.split(".")
    for name in sections:
        content = content.setdefault(name, {})
    content[last] = value


@cache
def fields_of(parser: str, paths: tuple[str, ...]) -> dict[str, tuple[str, float]]:
    """Which number of a Result each path becomes, and times what: asked of the parser, so units stand in one place."""
    before = _tried(parser, paths, "")
    found: dict[str, tuple[str, float]] = {}
    for path in paths:
        for name, value in _tried(parser, paths, path).items():
            if isinstance(value, (int, float)) and value != before[name] and name != "ip_family":
                found[path] = (name, float(value) - float(before[name]))
    return found


@cache
def texts_of(parser: str, paths: tuple[str, ...]) -> dict[str, str]:
    """Which text of a Result each path becomes."""
    before = _tried(parser, paths, "")
    return {
        path: name
        for path in paths
        for name, value in _tried(parser, paths, path).items()
        if isinstance(value, str) and value != before[name]
    }


def _tried(parser: str, paths: tuple[str, ...], changed: str) -> dict[str, Any]:
    content: dict[str, Any] = {"type": "result"} if parser == "ookla" else {}
    for path in paths:
        put(content, path, 2.0 if path == changed else 1.0)
    return vars(engines.get(parser).parse([Output(0, json.dumps(content).encode())]))


def _plausible(result: Result) -> Result:
    """Raises RecordError for what no line has: then a unit is another one than the format's."""
    for name in ("download_bps", "upload_bps"):
        speed = getattr(result, name)
        if speed is not None and not SLOWEST <= speed <= FASTEST:
            raise RecordError("bad_number", f"{name} would be {speed:g} bit/s: it is not in this format's unit")
    for name in ("latency_ms", "jitter_ms", "latency_low_ms", "latency_high_ms"):
        latency = getattr(result, name)
        if latency is not None and latency > LONGEST_MS:
            raise RecordError("bad_number", f"{name} would be {latency:g} ms: it is not in this format's unit")
    if result.packet_loss_pct is not None and result.packet_loss_pct > 100:
        raise RecordError(
            "bad_number", f"packet_loss_pct would be {result.packet_loss_pct:g}: a percentage is expected"
        )
    return result
