"""Results of probes on the node's disk: some minutes of them in a file, until the archive has them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from speedtest_logger import files
from speedtest_logger.errors import RecordError
from speedtest_logger.node.spool import Spool
from speedtest_logger.probe_result import validate

STATE = "probes"  # the results that were written last, for status and metrics
ENDING = ".jsonl"
RESULT_SECONDS = 300  # of answers in one result
MOST_FILE_BYTES = 2_000_000


def waiting_results(spool: Spool) -> list[tuple[Path, int]]:
    """Files with results that the archive does not have, the oldest first, and their sizes."""
    found = []
    with suppress(FileNotFoundError), os.scandir(spool.probes) as entries:
        for entry in entries:
            if entry.name.endswith(ENDING) and entry.is_file(follow_symlinks=False):
                with suppress(FileNotFoundError):
                    found.append((Path(entry.path), entry.stat(follow_symlinks=False).st_size))
    return sorted(found)


def read_results(file: Path) -> list[dict[str, Any]]:
    """The results of a file; what is none is left out."""
    found = []
    for row in rows(file):
        with suppress(RecordError, TypeError):
            found.append(validate(row).to_row())
    return found


def rows(file: Path) -> Iterator[dict[str, Any]]:
    """The JSON objects of a file's lines."""
    try:
        lines = files.read_bounded(file, MOST_FILE_BYTES).splitlines()
    except OSError:
        return
    for line in lines:
        with suppress(ValueError):
            if isinstance(row := json.loads(line), dict):
                yield row
