"""What the workbench asks and hands out. Without Streamlit, so that it can be tested without it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta, timezone
from typing import TYPE_CHECKING

from speedtest_logger.archive.read.dataset import Archive, literal
from speedtest_logger.archive.read.render import encoded

if TYPE_CHECKING:
    import pyarrow as pa

DAYS = 30
MOST_SHOWN = 10_000  # rows that a browser is sent; downloads have all of them
FIRST_QUESTION = """\
SELECT node, started_at, download_bps / 1e6 AS down_mbit, upload_bps / 1e6 AS up_mbit, latency_ms
FROM records
WHERE status = 'ok'
ORDER BY started_at"""


@dataclass(frozen=True)
class Selection:
    """Which rows the view `records` has: days in UTC, the last one included, and nodes; none named: all."""

    first: date
    last: date
    nodes: tuple[str, ...] = ()

    @classmethod
    def latest(cls, today: date) -> Selection:
        """What is looked at first."""
        return cls(today - timedelta(days=DAYS - 1), today)

    def of(self, archive: Archive) -> Archive:
        """The archive narrowed to it."""
        ends = (self.first, self.last + timedelta(days=1))
        start, end = (datetime.combine(day, time(), timezone.utc).timestamp() for day in ends)
        narrowed = archive.only(start=start, end=end)
        named = ", ".join(map(literal, self.nodes))
        return replace(narrowed, besides=f"AND node IN ({named})") if named else narrowed


def nodes_of(archive: Archive) -> list[str]:
    """All nodes that have rows."""
    return [str(name) for name in archive.query("SELECT DISTINCT node FROM records ORDER BY node")["node"].to_pylist()]


def answer(archive: Archive, selection: Selection, sql: str) -> pa.Table:
    """The answer to SQL over `records` and `raw`. Raises UsageError.

    Archive.query lets it read nothing but the archive, and write nothing.
    """
    return selection.of(archive).query(sql)


def file_of(table: pa.Table, form: str) -> bytes:
    """An answer as a file: csv, safe for spreadsheets, or parquet."""
    return b"".join(encoded(table, form))
