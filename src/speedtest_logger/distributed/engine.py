"""The seam between a question and what computes it: parts of a table, SQL for each part, SQL that merges the answers.

An engine knows no SQL and no Delta: it runs `scan.answer` on tasks, wherever it has processes that can import it, and
gives the answers in the tasks' order. What an engine is made of does not show here: another can take its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from speedtest_logger.sinks.data_files import DataFile


@dataclass(frozen=True)
class Task:
    """SQL over the view `records` of some files of a table. Whoever runs it has keys of the store of its own.

    `of_bytes`: of all files that the whole question reads.
    """

    address: str
    files: tuple[DataFile, ...]
    condition: str
    sql: str
    of_bytes: int = 0


class Engine(Protocol):
    """What runs tasks."""

    name: str

    def run(self, tasks: Sequence[Task]) -> list[pa.Table]:
        """The answer to each task, in their order: all of them, or an error. Raises SpeedtestError."""
        ...
