"""What each attempt to carry the archive elsewhere leaves beside it, in the form of archive/read/followed.py."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from speedtest_logger.archive.read import followed
from speedtest_logger.errors import StorageError
from speedtest_logger.files import lock_within, open_lock, write_durably
from speedtest_logger.record import utc_text

PATIENCE = 900.0  # s: for another timer's run
MOST_WORDS = 500


@contextmanager
def kept(file: Path, **of: str) -> Iterator[dict[str, Any]]:
    """What an attempt leaves in a file: when it succeeded, or else since when and why attempts fail.

    Whoever asks puts what they found into the mapping that they are given. `of` says of which place it is: of another
    one nothing is known. Raises StorageError where the file cannot be written.
    """
    found: dict[str, Any] = {}
    before = followed.read(file)
    if any(before.get(name) != value for name, value in of.items()):
        before = {}
    try:
        yield found
    except BaseException as error:  # what panics in Rust is no Exception
        since = before.get("failing_since") or utc_text(time.time())
        why = (str(error) or type(error).__name__)[:MOST_WORDS]
        _write(file, {**before, **of, "failing_since": since, "why": why})
        raise
    _write(file, {**of, **found, "at": utc_text(time.time())})


@contextmanager
def alone(folder: Path, patience: float = PATIENCE) -> Iterator[None]:
    """No other job of a place is at work meanwhile. Raises StorageError where it does not end in `patience` s."""
    with open_lock(folder / "lock") as lock:
        if not lock_within(lock, patience):
            raise StorageError("another job of it is at work")
        yield


def _write(file: Path, content: dict[str, Any]) -> None:
    text = json.dumps({**content, "tried_at": utc_text(time.time())}, indent=2)
    try:
        write_durably(file, text.encode())
    except OSError as error:
        raise StorageError(f"{file} cannot be written: {error.strerror or error}") from error


def place(folder: Path) -> Path:
    """Where a database's files are. Raises StorageError where it has no place."""
    if not folder.is_dir():
        raise StorageError(f"{folder} is missing: run site.yml with the host in group speedtest_database")
    return folder
