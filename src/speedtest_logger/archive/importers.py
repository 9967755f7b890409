"""import: what people already have becomes records, units put right, each measurement once however often it is read.

Every foreign row is brought into the form of the JSON that its engine prints and then parsed by that engine's own
parser, so units are put right in one place only (see engines/).

| format | where its columns and units come from |
|---|---|
| speedsnake | flattened engine JSON, nested names joined by `_`, plus speedtest_address (SpeedSnake's README) |
| ookla | `speedtest --format=json`, `jsonl`, `csv`: speeds in bytes/s; the CSV has no time: add a column `timestamp` |
| speedtest-cli | `--json` and `--csv`: speeds in bit/s |
| speedtest-tracker | the CSV export of alexjustesen/speedtest-tracker: speeds in bytes/s |
| speedtest-logger | this project's own CSV history and exports |
"""

from __future__ import annotations

import csv
import io
import json
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from speedtest_logger import accounts
from speedtest_logger.archive import doubles, index, json_lines, month, parquet, render, store
from speedtest_logger.archive.layout import Layout
from speedtest_logger.engines import ookla, speedtest_cli
from speedtest_logger.engines.job import Output
from speedtest_logger.errors import EngineError, RecordError, UsageError
from speedtest_logger.record import (
    COLUMNS,
    MAX_TEXT,
    NAMESPACE,
    SCHEMA_VERSION,
    UNKNOWN_LOCATION,
    from_text,
    is_id,
    utc_text,
    validate,
)

Row = dict[str, Any]
SUFFIXES = (".csv", ".json", ".jsonl", ".parquet")
BATCH_ROWS = 20_000
MOST_PROBLEMS = 20  # that are named
OOKLA_CSV = {
    "idle_latency": "ping.latency",
    "latency": "ping.latency",
    "idle_jitter": "ping.jitter",
    "jitter": "ping.jitter",
    "idle_latency_low": "ping.low",
    "idle_latency_high": "ping.high",
    "packet_loss": "packetLoss",
    "download": "download.bandwidth",
    "upload": "upload.bandwidth",
    "download_bytes": "download.bytes",
    "upload_bytes": "upload.bytes",
    "download_latency": "download.latency.iqm",
    "upload_latency": "upload.latency.iqm",
    "server_name": "server.name",
    "server_id": "server.id",
    "share_url": "result.url",
}
TRACKER_CSV = {
    "ping": "ping.latency",
    "ping_jitter": "ping.jitter",
    "packet_loss": "packetLoss",
    "download": "download.bandwidth",
    "upload": "upload.bandwidth",
    "download_bytes": "download.bytes",
    "upload_bytes": "upload.bytes",
    "download_latency_iqm": "download.latency.iqm",
    "upload_latency_iqm": "upload.latency.iqm",
    "server_name": "server.name",
    "server_id": "server.id",
    "server_host": "server.host",
    "server_country": "server.country",
    "isp": "isp",
    "ip_address": "interface.externalIp",
    "external_ip": "interface.externalIp",
    "result_url": "result.url",
}
SIVEL_CSV = {
    "server_id": "server.id",
    "sponsor": "server.sponsor",
    "server_name": "server.name",
    "ping": "ping",
    "download": "download",
    "upload": "upload",
    "share": "share",
    "ip_address": "client.ip",
}
# A foreign row may hold any type anywhere: what a parser stumbles over is a row of another form than it looked.
MISFITS = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError)
SIVEL_SECTIONS = ("server", "client")
OOKLA_SECTIONS = ("ping", "download", "upload", "interface", "server", "result")


@dataclass(frozen=True)
class Source:
    """Whose rows they are, where they do not say it themselves."""

    node: str | None
    location: str | None = None
    at: str | None = None


@dataclass
class Imported:
    """What an import did, or would do."""

    files: int = 0
    rows: int = 0
    added: int = 0
    duplicates: int = 0
    different: int = 0
    refused: int = 0
    formats: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def refuse(self, file: Path, place: int, problem: str) -> None:
        """Count a refused row and keep the first problems."""
        self.refused += 1
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(f"{file}, row {place}: {problem}")


def find(paths: list[Path]) -> list[Path]:
    """The files to read, those of folders too. Raises UsageError for a path that is not there."""
    found: list[Path] = []
    with accounts.as_caller():
        for path in paths:
            if not path.exists():
                raise UsageError(f"{path} is not there")
            below = (f for f in path.rglob("*") if f.suffix in SUFFIXES and f.is_file())
            found += sorted(below) if path.is_dir() else [path]
    return found


def _opened(file: Path) -> BinaryIO:
    """The file open with the rights of who named it; it is read with those of the archive's owner."""
    with accounts.as_caller():
        return file.open("rb")


def run(
    layout: Layout, files: list[Path], source: Source, *, dry_run: bool, progress: Callable[[int], None] | None = None
) -> Imported:
    """Read files into the dataset, or only count with `dry_run`; a row that is none is named and the others go on.

    Raises UsageError where the source needs a node's name and none is given, StorageError while another change of
    the archive is running.
    """
    outcome = Imported()
    rows: list[Row] = []
    seen: set[tuple[str, str]] = set()

    def flush() -> None:
        if not rows:
            return
        outcome.rows += len(rows)
        table = json_lines.to_table(rows)
        rows.clear()
        added = _rehearse(layout, table, seen) if dry_run else _add(layout, table, outcome)
        outcome.added += added
        outcome.duplicates += table.num_rows - added

    for file in files:
        rows += records(file, source, outcome)
        outcome.files += 1
        if progress:
            progress(1)
        if len(rows) >= BATCH_ROWS:
            flush()
    flush()
    return outcome


def _add(layout: Layout, table: pa.Table, outcome: Imported) -> int:
    """How many of the rows are new; they are in the dataset when this returns.

    What is there of a run stands; rows that are not the same are named.
    """
    with store.single_writer(layout, "import", wait=60):
        done = store.commit(layout, "import", table)
    outcome.different += len(done.different)
    for record in done.different[: max(0, MOST_PROBLEMS - len(outcome.problems))]:
        outcome.problems.append(f"run {record.run_id} of node '{record.node}' is there already: {record.message}")
    return done.added


def _rehearse(layout: Layout, table: pa.Table, seen: set[tuple[str, str]]) -> int:
    """How many of the rows would be new; `seen` are the runs of those before them."""
    known = index.read(layout)
    rows, new = doubles.elsewhere(layout, doubles.first_of_each_run(table), known), 0
    for file, part in store.by_month(layout, rows):
        old = parquet.ParquetFile(file) if file.exists() else None
        runs = set(doubles.keys(month.unknown_only(old, part))) - seen
        seen |= runs
        new += len(runs)
    return new


def records(file: Path, source: Source, outcome: Imported) -> Iterator[Row]:
    """A file's rows as validated records; what cannot be one is counted in `outcome`."""
    try:
        rows = list(_read(file))
    except (OSError, ValueError, RecursionError, csv.Error, pa.ArrowException) as error:
        outcome.refuse(file, 0, f"it cannot be read: {str(error)[:200]}")
        return
    for place, raw in enumerate(rows, 1):
        try:
            form = form_of(raw)
            record = validate(_to_record(raw, form, file, source))
        except (RecordError, EngineError) as error:
            outcome.refuse(file, place, str(error)[:200])
            continue
        except MISFITS as error:
            outcome.refuse(file, place, f"its values do not fit its columns: {str(error)[:160]}")
            continue
        outcome.formats[form] = outcome.formats.get(form, 0) + 1
        yield record.to_row()


def _read(file: Path) -> Iterator[Row]:
    """A file's rows as they are; keys of CSV in lower case with `_` for anything but letters and digits."""
    if file.suffix == ".parquet":
        with _opened(file) as content:
            for batch in pq.ParquetFile(content).iter_batches():
                yield from batch.to_pylist()
    elif file.suffix == ".csv":
        with io.TextIOWrapper(_opened(file), encoding="utf-8-sig", newline="") as text:
            for row in csv.DictReader(text):
                yield {
                    re.sub(r"[^a-z0-9]+", "_", (key or "").strip().lower()): unescaped(value)
                    for key, value in row.items()
                    if isinstance(value, str)
                }
    else:
        with io.TextIOWrapper(_opened(file), encoding="utf-8") as text:
            words = text.read()
        try:
            found = json.loads(words)
        except ValueError:
            found = [json.loads(line) for line in words.splitlines() if line.strip()]
        yield from (row for row in (found if isinstance(found, list) else [found]) if isinstance(row, dict))


def unescaped(text: str) -> str:
    """Take away the apostrophe that an export put before a formula."""
    return text[1:] if text.startswith("'") and text[1:].startswith(render.FORMULA_STARTS) else text


FORMS: list[tuple[str, Callable[[Row], bool]]] = [
    ("speedtest-logger", lambda raw: {"run_id", "schema_version", "node"} <= set(raw)),
    ("ookla", lambda raw: raw.get("type") in ("result", "log")),
    ("speedtest-cli", lambda raw: isinstance(raw.get("server"), dict) and "download" in raw),
    ("speedtest-cli", lambda raw: {"sponsor", "server_name", "distance"} <= set(raw)),
    ("speedsnake", lambda raw: bool({"speedtest_address", "client_ip", "download_bandwidth"} & set(raw))),
    ("speedtest-tracker", lambda raw: {"created_at", "ping", "download", "upload"} <= set(raw)),
    ("ookla", lambda raw: "download_bytes" in raw and bool({"idle_latency", "latency"} & set(raw))),
]


def form_of(raw: Row) -> str:
    """Which of the formats a row has. Raises RecordError where it has none."""
    for name, has in FORMS:
        if has(raw):
            return name
    raise RecordError("unknown_format", f"its columns are of no known format: {', '.join(map(str, raw))[:120]}")


def _to_record(raw: Row, form: str, file: Path, source: Source) -> Row:
    if form == "speedtest-logger":
        typed = from_text(raw) if all(isinstance(v, str) for v in raw.values()) else {**raw}
        for name in ("started_at", "finished_at", "scheduled_at"):
            if isinstance(typed.get(name), datetime):
                typed[name] = utc_text(typed[name].timestamp())
        return {name: typed.get(name) for name in COLUMNS}
    if not source.node:
        raise UsageError(f"{file} does not say which node measured: add --node NAME")
    engine, content, moment = _as_engine_json(raw, form)
    started = _moment(moment or source.at, file)
    location = source.location or _address(raw, file) or UNKNOWN_LOCATION
    base = {
        "schema_version": SCHEMA_VERSION,
        "run_id": str(uuid.uuid5(NAMESPACE, f"import {source.node} {started}")),
        "node": source.node,
        "location": location if is_id(location) else UNKNOWN_LOCATION,
        "runtime": "imported",
        "started_at": started,
        "finished_at": started,
        "engine": engine,
        "engine_requested": engine,
        "attempt": 1,
    }
    parser = ookla.ENGINE if engine == "ookla" else speedtest_cli.ENGINE
    if form == "speedtest-tracker" and str(raw.get("status", "completed")).lower() not in ("completed", "true", "1"):
        return {**base, "status": "failed", "reason": "engine_error", "message": _short(raw.get("data"))}
    try:
        result = vars(parser.parse([Output(0, json.dumps(content, default=str).encode())]))
    except EngineError as error:
        return {**base, "status": "failed", "reason": error.reason, "message": _short(str(error))}
    if result["download_bps"] and result["upload_bps"]:
        return {**base, **result, "status": "ok"}
    return {**base, **result, "status": "partial", "reason": "incomplete"}


def _as_engine_json(raw: Row, form: str) -> tuple[str, Row, Any]:
    """The engine's name, a row as its JSON, and the row's time."""
    moment = next((raw[name] for name in ("timestamp", "created_at", "date", "time") if raw.get(name)), None)
    if form == "speedtest-tracker":
        return "ookla", {"type": "result", **_nested(raw, TRACKER_CSV)}, moment
    if form == "ookla" and "type" not in raw:
        return "ookla", {"type": "result", **_nested(raw, OOKLA_CSV)}, moment
    if form == "speedtest-cli" and "sponsor" in raw:
        return "speedtest_cli", _nested(raw, SIVEL_CSV), moment
    if form == "speedsnake":
        flat_ookla = "download_bandwidth" in raw
        content = _unflattened(raw, OOKLA_SECTIONS if flat_ookla else SIVEL_SECTIONS)
        return ("ookla", {"type": "result", **content}, moment) if flat_ookla else ("speedtest_cli", content, moment)
    return ("ookla" if form == "ookla" else "speedtest_cli"), raw, moment


def _nested(raw: Row, names: dict[str, str]) -> Row:
    """Columns as nested JSON, numbers as numbers."""
    content: Row = {}
    for column, path in names.items():
        if raw.get(column) in (None, ""):
            continue
        place = content
        *sections, last = path.split(".")
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = number(raw[column])
    return content


def _unflattened(raw: Row, sections: tuple[str, ...]) -> Row:
    """SpeedSnake's columns with `_` between the levels as nested JSON."""
    content: Row = {}
    for column, value in raw.items():
        if value in (None, ""):
            continue
        section = next((name for name in sections if column.startswith(f"{name}_")), None)
        if section is None:
            content[column] = number(value)
            continue
        rest = column[len(section) + 1 :]
        place = content.setdefault(section, {})
        if rest.startswith("latency_"):
            place, rest = place.setdefault("latency", {}), rest[len("latency_") :]
        place[rest] = number(value)
    return content


def number(value: Any) -> Any:
    """A text that is a number as one."""
    if not isinstance(value, str):
        return value
    try:
        return int(value) if re.fullmatch(r"-?\d{1,18}", value.strip()) else float(value)
    except ValueError:
        return value


def _moment(value: Any, file: Path) -> str:
    """A time as the record writes it; one without a zone is UTC. Raises RecordError."""
    if value is None:
        raise RecordError("no_time", f"{file.name} has no time: add a column `timestamp`, or --at TIME for one test")
    if isinstance(value, datetime):
        moment = value
    else:
        try:
            moment = datetime.fromisoformat(str(value).strip().replace("Z", "+00:00"))
        except ValueError as error:
            raise RecordError("bad_time", f"'{value!s:.40}' is no time such as 2026-01-31T12:00:00Z") from error
    return utc_text((moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp())


def _address(raw: Row, file: Path) -> str | None:
    """SpeedSnake's location: a column, or the folder of its Parquet tree."""
    if raw.get("speedtest_address"):
        return str(raw["speedtest_address"])
    found = re.search(r"location=([^/]+)/", file.as_posix())
    return found[1] if found else None


def _short(value: Any) -> str | None:
    return None if value in (None, "") else str(value)[:MAX_TEXT].replace("\0", "")
