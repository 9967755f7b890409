"""What was measured as OpenMetrics text, from which `promtool tsdb create-blocks-from openmetrics` makes history.

A metric's samples stand together, and among them those of each node and location, in the order of their time. One
column of one node is held at once, however large the archive is.
"""

from __future__ import annotations

from typing import BinaryIO

from speedtest_logger.archive.read.dataset import Archive
from speedtest_logger.metrics import MEASURED, Metric, head, labels

END = b"# EOF\n"


def write(archive: Archive, out: BinaryIO) -> int:
    """Write an archive's measured values under the names that /metrics has them; returns how many there are.

    Raises OSError. Of two records of a node that began in the same millisecond one is told.
    """
    series = archive.query("SELECT DISTINCT node, location FROM records ORDER BY node, location").to_pylist()
    count = 0
    for metric, column, by in MEASURED:
        begun = False
        for each in series:
            text, samples = _series(archive, metric, (column, by), each)
            if samples and not begun:
                out.write(head(metric).encode())
                begun = True
            out.write(text.encode())
            count += samples
    out.write(END)
    out.flush()
    return count


def _series(archive: Archive, metric: Metric, value: tuple[str, int], of: dict[str, str]) -> tuple[str, int]:
    """The lines of one series, and how many they are; DuckDB makes their ends, which is quicker."""
    column, by = value
    rows = archive.only(of["node"], of["location"]).query(f"""
        SELECT CAST(min({column}) / {by} AS VARCHAR) || ' ' || epoch_ms(started_at) // 1000 || '.' ||
               lpad(CAST(epoch_ms(started_at) % 1000 AS VARCHAR), 3, '0') AS line
        FROM records WHERE {column} IS NOT NULL AND isfinite({column}) GROUP BY started_at ORDER BY started_at""")
    name = f"{metric.name}{{{labels(**of)}}} "
    return "".join(f"{name}{line}\n" for line in rows["line"].to_pylist()), rows.num_rows
