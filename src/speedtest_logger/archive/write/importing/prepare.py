"""Rows that say a thing twice, or in a unit beside it: that is settled before an engine's parser reads them."""

from __future__ import annotations

import json
from typing import Any

from speedtest_logger.archive.write.importing.formats import Row, flattened, plain_name
from speedtest_logger.archive.write.importing.paths import OOKLA, TRACKER
from speedtest_logger.errors import RecordError

UNITS = {"mbit/s": 1e6, "kbit/s": 1e3, "gbit/s": 1e9, "bit/s": 1.0}  # that murakami names


def with_data(row: Row) -> Row:
    """A row of the Tracker's table: what `data`, Ookla's own JSON, says besides. Raises RecordError where they differ.

    The table's `download` and `upload` are that JSON's bandwidth (app/Jobs/Ookla/RunSpeedtestJob.php).
    """
    flat, values = _data_of(row), dict(row.values)
    for column in ("download", "upload"):
        for told, factor in ((flat.get(f"{column}_bandwidth"), 1), (row.get(f"{column}_bits"), 1 / 8)):
            if told is not None and row.get(column) is not None and not _same(row.get(column), told, factor):
                raise RecordError("bad_number", f"{column} is {row.get(column)!r:.40}, but next to it is {told!r:.40}")
    for name, path in OOKLA.items():
        column = next((mine for mine, its in TRACKER.items() if its == path), name)
        if values.get(column) in (None, "") and flat.get(name) is not None:
            values[column] = flat[name]
    values.setdefault("message", flat.get("message"))
    if flat.get("timestamp"):
        values["timestamp"] = flat["timestamp"]
    return Row(values, row.raw)


def _data_of(row: Row) -> dict[str, Any]:
    """What `data` says, or the columns that it became. Raises RecordError where it is a text, and no JSON."""
    content = row.get("data")
    if isinstance(content, str) and content.strip():
        try:
            content = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise RecordError("bad_data", f"data is not JSON: {content!r:.60}") from error
    if isinstance(content, dict):
        return flattened(content)
    return {name.removeprefix("data_"): value for name, value in row.values.items() if name.startswith("data_")}


def _same(one: Any, other: Any, factor: float) -> bool:
    try:
        return abs(float(one) - float(other) * factor) <= 1 + 1e-6 * float(one)
    except (TypeError, ValueError):
        return False


def told_unit(row: Row) -> Row:
    """A murakami row with its speeds in bit/s, from the unit beside them. Raises RecordError for another unit."""
    values = dict(row.values)
    for name in ("download", "upload"):
        value, unit = row.get(f"{name}value"), str(row.get(f"{name}unit") or "")
        if value is None:
            continue
        if unit.lower() not in UNITS or isinstance(value, (str, bool)):
            raise RecordError("bad_unit", f"{name}Value is {value!r:.40} {unit!r:.40}: not a known unit")
        values[name] = value * UNITS[unit.lower()]
    for told, unit in (("minrttvalue", "minrttunit"), ("ping", "pingunit")):
        if row.get(told) is not None:
            if str(row.get(unit)) != "ms":
                raise RecordError("bad_unit", f"{told} is in {row.get(unit)!r:.40}, not ms")
            values["ping"] = row.get(told)
    values["engine"] = plain_name(str(row.get("testname")))
    errors = [str(row.get(name)) for name in ("downloaderror", "uploaderror", "testerror") if row.get(name)]
    return Row({**values, "error": "; ".join(errors) or None}, row.raw)


def not_twice_the_download(row: Row) -> None:
    """Speedtest Tracker 0.16.0 to 0.16.2 wrote the download into `Upload`. Raises RecordError for such a row."""
    if row.get("download") not in (None, "") and row.get("download") == row.get("upload"):
        raise RecordError(
            "bad_number",
            "Upload is the download again, as Speedtest Tracker 0.16.0 to 0.16.2 wrote it: what it was is lost",
        )
