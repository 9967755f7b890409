"""Lines of nodes' diagnostics logs: a dataset of the last days (by_day).

    logs/year=YYYY/month=MM/day=DD/log.parquet      the lines of all nodes that came in that day, by node and time

What came in is known by node, file and place: a line that is sent twice is kept once.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa

from speedtest_logger.archive.arrive.log_lines import encodable
from speedtest_logger.archive.format import parquet
from speedtest_logger.archive.format.layout import Layout, day_of
from speedtest_logger.archive.format.schema import LOG_SCHEMA
from speedtest_logger.archive.write import by_day
from speedtest_logger.archive.write.by_day import Line, Row, moment
from speedtest_logger.errors import DamagedFileError, RecordError, StorageError
from speedtest_logger.files import read_bounded, write_durably
from speedtest_logger.log import PRIORITIES
from speedtest_logger.record import unix_time, utc_text

Places = dict[str, dict[str, int]]  # the last place of each file of a node's log
AHEAD_SECONDS = 300  # that a node's clock may be ahead; later times are those of the arrival
FILES = 24  # of a node's log that are remembered: twice as many as it has
LONGEST_EVENT = 100
STATE_BYTES = 64_000_000
PLACE = ("node", "file", "offset")
LAST = ("node", "file", "offset_max")
LEFT_OUT = "lines_left_out"
WRITING = {
    "use_dictionary": ["node", "level", "event", "file"],
    "column_encoding": dict.fromkeys(("at", "received_at", "offset"), "DELTA_BINARY_PACKED"),
}


class Taking(by_day.Taking):
    """Moves lines that came in into the dataset, each once."""

    what = "lines of logs"
    schema = LOG_SCHEMA
    key = PLACE
    order = ("node", "at", "file", "offset")
    writing = WRITING

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout, layout.log_inbox, Earlier(layout))

    def file(self, day: str) -> Path:
        """A day's file."""
        return self.layout.log_file(day)

    def row(self, line: Line) -> Row:
        """What a delivered line says."""
        at = moment(line.arrived)
        return {"node": line.node, "received_at": at, **parsed(line.content, line.arrived, line.name)}

    def day_of(self, row: Row) -> str:
        """The day of a line's arrival."""
        return f"{row['received_at']:%Y-%m-%d}"


class Earlier:
    """How far each file of each node's log had come in before a day: a line may come again on another day.

    It follows from the dataset and is noted in state/log-places.json once a day. Lines that are taken in later than
    others of their day, as after a failure, are looked up in the day's file alone: none is left out for being late.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout, self.file = layout, layout.state / "log-places.json"
        self.day, self.places = "", Places()
        with suppress(OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
            content = json.loads(read_bounded(self.file, STATE_BYTES))
            places = {
                str(node): {str(name): int(offset) for name, offset in files.items()}
                for node, files in content["places"].items()
            }
            if date.fromisoformat(content["day"]) <= date.fromisoformat(utc_text(time.time())[:10]):
                self.day, self.places = content["day"], places

    def go_on_to(self, day: str) -> None:
        """Look at the days from the one that is known up to another. Raises OSError."""
        if day <= self.day:
            return
        for file in self.layout.log_files(first=self.day):
            with suppress(DamagedFileError, StorageError):
                if day_of(file) < day:
                    for rows in parquet.groups(parquet.ParquetFile(file), list(PLACE)):
                        self._note(rows)
        self.day = day
        write_durably(self.file, json.dumps({"day": self.day, "places": self.places}).encode())

    def _note(self, rows: pa.Table) -> None:
        last = rows.group_by(["node", "file"]).aggregate([("offset", "max")])
        for node, file, offset in zip(*(last[name].to_pylist() for name in LAST), strict=True):
            known = self.places.setdefault(node, {})
            known[file] = max(offset, known.pop(file, -1))
            if len(known) > FILES:
                del known[next(iter(known))]

    def knows(self, day: str, place: tuple[Any, ...]) -> bool:
        """Whether a line that came in on a day is one that came in on an earlier one."""
        node, file, offset = place
        return day == self.day and offset <= self.places.get(node, {}).get(file, -1)


def parsed(content: bytes, arrived: float, name: str) -> Row:
    """A delivered line. Raises ValueError, TypeError and RecordError for what receive does not write."""
    row = json.loads(content)
    if not isinstance(row, dict):
        raise RecordError("bad_log", "a line must be an object")
    if (left_out := row.get("left_out")) is not None:
        fields = {"lines": int(left_out), "message": "more than a node may deliver a day (limit log_day_mb)"}
        return {
            "at": moment(arrived), "level": "warning", "event": LEFT_OUT, "fields": as_text(fields), "file": name,
            "offset": 0,
        }  # fmt: skip
    file, offset, line = row["file"], row["offset"], row["line"]
    if not isinstance(file, str) or not isinstance(offset, int) or not isinstance(line, str):
        raise RecordError("bad_log", "a line of a log without its file and place")
    return {**said(line, arrived), "file": file, "offset": offset}


def said(line: str, arrived: float) -> Row:
    """What a line of a log says; one that is not as the log writes it is a text."""
    at, level, event, fields = arrived, "info", "text", {"text": line}
    with suppress(ValueError, RecursionError):
        content = json.loads(line)
        if isinstance(content, dict) and isinstance(content.get("event"), str):
            event = content.pop("event")[:LONGEST_EVENT]
            level = known if (known := content.pop("level", None)) in PRIORITIES else "info"
            at = time_of(content.pop("time", None), arrived)
            fields = content
    return {"at": moment(at), "level": level, "event": encodable(event), "fields": as_text(fields)}


def time_of(text: object, arrived: float) -> float:
    """When a line was written; at its arrival where it does not say so, or says that it comes from the future."""
    try:
        at = unix_time(text) if isinstance(text, str) else arrived
    except (ValueError, OverflowError, RecordError):
        return arrived
    return at if 0 <= at <= arrived + AHEAD_SECONDS else arrived


def as_text(fields: Row) -> str:
    """Fields as JSON text."""
    return encodable(json.dumps(fields, ensure_ascii=False, separators=(",", ":")))


def problems(layout: Layout) -> list[str]:
    """Files that could not be read, in words."""
    return by_day.problems(layout.logs)
