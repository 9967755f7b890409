"""Results of nodes' probes: a dataset of its own (by_day).

    probes/year=YYYY/month=MM/day=DD/probes.parquet      the results of all nodes that began that day

A result is known by node, probe, target and start: the first one stands.
"""

from __future__ import annotations

import json
from pathlib import Path

from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.format.schema import PROBE_SCHEMA
from speedtest_logger.archive.write import by_day
from speedtest_logger.archive.write.by_day import Line, Row, moment
from speedtest_logger.probe_result import COLUMNS, validate
from speedtest_logger.record import unix_time

KEY = ("node", "probe", "target", "started_at")
REPEATED = [name for name, kind in COLUMNS.items() if kind not in ("time", "float")]
WRITING = {
    "use_dictionary": ["node", *REPEATED],
    "column_encoding": dict.fromkeys(("started_at", "finished_at"), "DELTA_BINARY_PACKED"),
}
TIMES = [name for name, kind in COLUMNS.items() if kind == "time"]


class Taking(by_day.Taking):
    """Moves results that came in into the dataset, each once."""

    what = "results of probes"
    schema = PROBE_SCHEMA
    key = order = KEY
    writing = WRITING

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout, layout.probe_inbox)

    def file(self, day: str) -> Path:
        """A day's file."""
        return self.layout.probe_file(day)

    def row(self, line: Line) -> Row:
        """What a delivered line says."""
        row = validate(json.loads(line.content)).to_row()
        for name in TIMES:
            if row[name] is not None:
                row[name] = moment(unix_time(row[name]))
        return {**row, "node": line.node}

    def day_of(self, row: Row) -> str:
        """The day on which a result began."""
        return f"{row['started_at']:%Y-%m-%d}"


def problems(layout: Layout) -> list[str]:
    """Files that could not be read, in words."""
    return by_day.problems(layout.probes)
