"""One DuckDB in this process: what answers small questions, and those that cannot be split."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from speedtest_logger.distributed import scan
from speedtest_logger.distributed.engine import Task


class LocalEngine:
    """Runs tasks one after another, each with all of this machine's processors."""

    name = "duckdb"

    def run(self, tasks: Sequence[Task]) -> list[pa.Table]:
        """As Engine."""
        return [scan.answer(task, threads=None) for task in tasks]
