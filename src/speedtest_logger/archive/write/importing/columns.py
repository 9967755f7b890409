"""Thousands of rows of a CSV at once: only those that are plainly right; all others go one by one (records.py).

What a column becomes and times what is asked of the engine's parser (records.fields_of). A row that this takes is the
record that records.to_record makes of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from speedtest_logger.archive.format import json_lines
from speedtest_logger.archive.write.importing import values
from speedtest_logger.archive.write.importing.formats import Format, Row
from speedtest_logger.archive.write.importing.reading import Rows
from speedtest_logger.archive.write.importing.records import (
    FASTEST,
    SLOWEST,
    TIMES,
    NoTestError,
    Source,
    fields_of,
    kept_address,
    location_of,
    status_of,
    texts_of,
    unescaped,
)
from speedtest_logger.engines.reading import family_of, text_or_none
from speedtest_logger.errors import RecordError
from speedtest_logger.record import SCHEMA_VERSION, namespace

Mask = np.ndarray[Any, Any]
NUMBER = r"^[0-9]{1,15}(\.[0-9]{1,9})?$"
TIME = r"^(19[7-9]|20[0-9])[0-9]-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|\+00:00)?$"
ZONED = r"(Z|\+00:00)$"
SIMPLE = r"^[!-&(-~]([ -~]{0,150}[!-~])?$"  # a text that stays as it is
SPEEDS = ("download_bps", "upload_bps")
LONGEST_MS = 60_000.0


class _Columns:
    """Rows of a CSV by column, and which of them are plainly right so far."""

    def __init__(self, rows: Rows) -> None:
        self.size = len(rows)
        self._rows = rows
        self._places = {name: place for place, name in enumerate(rows.header.names)}
        self.good = np.ones(self.size, bool)
        if rows.torn:
            self.good[-1] = False

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def texts(self, name: str) -> pa.Array:
        """A column as it is written."""
        return self._rows.column(self._places[name])

    def _values(self, name: str) -> list[Any]:
        return list(self.texts(name).to_pylist()) if name in self else [None] * self.size

    def only(self, mask: Any) -> None:
        """Go on with these rows."""
        self.good &= np.asarray(pc.fill_null(mask, False).to_numpy(zero_copy_only=False), bool)

    def each(self, of: Callable[..., Any], *names: str) -> list[Any]:
        """What a function says of columns' values, asked once for each that is different; None for one not there."""
        known: dict[tuple[Any, ...], Any] = {}
        found = []
        for key in zip(*(self._values(name) for name in names), strict=True):
            if key not in known:
                known[key] = of(*key)
            found.append(known[key])
        return found


def convert(rows: Rows, form: Format, file: Path, source: Source) -> tuple[pa.Table | None, list[int]]:
    """The rows that are plainly right as a table of BATCH_SCHEMA, and the places of the others."""
    everything = list(range(len(rows)))
    try:
        columns = _Columns(rows)
        made = _measured(columns, form, source)
        made["started_at"] = _times(columns, source)
        _check_status(columns, form)
        made["location"] = pa.array(_places(columns, file, source), pa.string())
    except pa.ArrowException:  # a text that is no UTF-8, a day that no month has: one of them holds up all
        return None, everything
    columns.only(made["location"].is_valid())
    kept = np.flatnonzero(columns.good)
    if not len(kept):
        return None, everything
    made = {name: column.take(pa.array(kept)) for name, column in made.items()}
    assert source.node
    table = json_lines.from_columns(
        {**_constants(form, source, len(kept)), **made, **_identity(made, source.node)}, len(kept)
    )
    return table, everything if table is None else np.flatnonzero(~columns.good).tolist()


def _constants(form: Format, source: Source, rows: int) -> dict[str, pa.Array]:
    same = {"schema_version": SCHEMA_VERSION, "node": source.node, "runtime": "imported", "status": "ok",
            "engine": form.engine, "engine_requested": form.engine, "attempt": 1}  # fmt: skip
    return {name: pa.repeat(value, rows) for name, value in same.items()}


def _identity(made: dict[str, pa.Array], node: str) -> dict[str, pa.Array]:
    """records.run_id of each row, and when it ended."""
    start = hashlib.sha1(namespace().bytes + f"import {node} ".encode(), usedforsecurity=False)
    ids = []
    for started in made["started_at"].to_pylist():
        digest = start.copy()
        digest.update(started.encode())
        text = digest.hexdigest()
        variant = "89ab"[int(text[16], 16) & 3]
        ids.append(f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{variant}{text[17:20]}-{text[20:32]}")
    return {"run_id": pa.array(ids), "finished_at": made["started_at"]}


def _measured(columns: _Columns, form: Format, source: Source) -> dict[str, pa.Array]:
    numeric, texts = fields_of(form.parser, form.paths), texts_of(form.parser, form.paths)
    made: dict[str, pa.Array] = {}
    addresses: dict[str, str] = {}
    for name in form.columns:
        if name not in columns:
            continue
        path, scale = form.path(name)
        if path in numeric:
            field, factor = numeric[path]
            found = _numbers(columns, name, field, scale, factor)
        elif path in texts:
            field, found = texts[path], _texts(columns, name)
        if path in ("server.ip", "interface.externalIp", "client.ip"):
            addresses[path] = name
        if path in numeric or path in texts:
            made[field] = pc.coalesce(found, made[field]) if field in made else found
    for field in (*SPEEDS, "latency_ms"):
        columns.only(made[field].is_valid() if field in made else pa.repeat(False, columns.size))
    if all(field in made for field in SPEEDS):
        columns.only(pc.not_equal(*(made[field] for field in SPEEDS)))
    names = [addresses[path] for path in ("server.ip", "interface.externalIp", "client.ip") if path in addresses]
    made["ip_family"] = pa.array(columns.each(_family, *names) if names else [None] * columns.size, pa.int64())
    if "external_ip" in made:
        known = {address: kept_address(address, source) for address in pc.unique(made["external_ip"]).to_pylist()}
        made["external_ip"] = pa.array([known[address] for address in made["external_ip"].to_pylist()], pa.string())
    return made


def _family(*addresses: str) -> int | None:
    return next(
        (family_of(text_or_none(address.strip())) for address in addresses if not values.is_nothing(address)), None
    )


def _numbers(columns: _Columns, name: str, field: str, scale: float, factor: float) -> pa.Array:
    """A column's numbers; rows whose number is out of the ordinary are not plainly right."""
    texts = columns.texts(name)
    plain = pc.match_substring_regex(texts, NUMBER)
    nothing = pc.is_in(texts, value_set=pa.array(["", "N/A", "null", "NULL"]))
    found = pc.cast(pc.if_else(plain, texts, None), pa.float64())
    if scale != 1:
        found = pc.multiply(found, scale)
    if factor != 1:
        found = pc.multiply(found, factor)
    least, most = (SLOWEST, FASTEST) if field in SPEEDS else (0.0, LONGEST_MS)
    if field == "packet_loss_pct":
        most = 100.0
    elif field.startswith("bytes"):
        most = 2.0**53 - 1
    ordinary = pc.and_(pc.greater_equal(found, least), pc.less_equal(found, most))
    if field != "packet_loss_pct":
        ordinary = pc.and_(ordinary, pc.greater(found, 0.0))
    columns.only(pc.or_(nothing, pc.fill_null(ordinary, False)))
    return pc.cast(found, pa.int64(), safe=False) if field.startswith("bytes") else found


def _texts(columns: _Columns, name: str) -> pa.Array:
    texts = columns.texts(name)
    unusual = pc.invert(pc.match_substring_regex(texts, SIMPLE))
    nothing = pc.is_in(pc.utf8_lower(texts), value_set=pa.array(list(values.NOTHING)))
    if not pc.any(pc.or_(unusual, nothing)).as_py():
        return texts
    return pa.array(columns.each(_text, name), pa.string())


def _text(value: str) -> str | None:
    return None if values.is_nothing(value) else text_or_none(unescaped(value.strip()))


def _times(columns: _Columns, source: Source) -> pa.Array:
    """When each test was, as a record writes it; rows whose time is not plainly one in UTC are not plainly right."""
    name = next((name for name in TIMES if name in columns), None)
    if name is None:
        columns.only(pa.repeat(False, columns.size))
        return pa.nulls(columns.size, pa.string())
    texts = columns.texts(name)
    plain = pc.match_substring_regex(texts, TIME)
    if source.zone is not None:
        plain = pc.and_(plain, pc.match_substring_regex(texts, ZONED))
    columns.only(plain)
    bare = pc.replace_substring_regex(pc.if_else(plain, texts, None), ZONED, "")
    micro = bare.cast(pa.timestamp("us")).cast(pa.int64())
    milli = pc.divide(pc.add(micro, 500), 1000).cast(pa.timestamp("ms"))
    return pc.strftime(milli, "%Y-%m-%dT%H:%M:%SZ")


def _check_status(columns: _Columns, form: Format) -> None:
    """Only rows of tests that were completed are plainly right."""
    names = [name for name in dict.fromkeys((form.status, "type", "error")) if name in columns]
    if not names:
        return

    def is_completed(*told: Any) -> bool:
        try:
            return status_of(Row(dict(zip(names, told, strict=True))), form)[0] == "completed"
        except (RecordError, NoTestError):
            return False

    columns.only(pa.array(columns.each(is_completed, *names), pa.bool_()))


def _places(columns: _Columns, file: Path, source: Source) -> list[str | None]:
    names = [name for name in ("speedtest_address", "murakamilocation") if name in columns]

    def place(*told: Any) -> str | None:
        try:
            return location_of(Row(dict(zip(names, told, strict=True))), file, source)
        except RecordError:
            return None

    if source.location or not names:
        return [place()] * columns.size
    return columns.each(place, *names)
