"""What the sink keeps of itself beside the archive: when syncs and dumps succeeded, or since when and why they fail."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.read import followed
from speedtest_logger.errors import SpeedtestError, StorageError
from speedtest_logger.files import write_durably
from speedtest_logger.record import utc_text


@contextmanager
def kept(layout: Layout, name: str) -> Iterator[dict[str, Any]]:
    """What an attempt adds to a file: when it succeeded, or else since when and why attempts fail.

    Whoever asks puts what they know into the mapping that they are given.
    """
    found: dict[str, Any] = {}
    before = followed.read(layout, name)
    try:
        yield found
    except (SpeedtestError, OSError) as error:
        since = before.get("failing_since") or utc_text(time.time())
        known = {key: value for key, value in before.items() if key != "tried_at"}
        _write(layout, name, {**known, **found, "failing_since": since, "why": str(error)[:500]})
        raise
    _write(layout, name, {**found, "at": utc_text(time.time())})


def _write(layout: Layout, name: str, content: dict[str, Any]) -> None:
    try:
        write_durably(
            layout.database / name, json.dumps({**content, "tried_at": utc_text(time.time())}, indent=2).encode()
        )
    except OSError as error:
        raise StorageError(f"{layout.database / name} cannot be written: {error.strerror or error}") from error


def place(layout: Layout) -> Path:
    """Where the files are. Raises StorageError where the sink has no place."""
    if not layout.database.is_dir():
        raise StorageError(f"{layout.database} is missing: run site.yml with the host in group speedtest_database")
    return layout.database
