"""The outbox as a folder: what waits in it, what lies there that is no record, and how much of it there is.

After months without an archive it holds tens of thousands of files: each question costs one pass at most, and asks of
a file no more than it needs. Whatever lies there besides records is named, never opened.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

ENDING = ".csv"
LONGEST_REST_SECONDS = 3600  # between two tries to deliver


class Entry(NamedTuple):
    """A file of the outbox, in the order of age: when it was written (ns), its name, and its bytes on the disk."""

    written_ns: int
    name: str
    disk_bytes: int


def names(folder: Path) -> Iterator[str]:
    """Names of the records' files, in no order; no file is looked at."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(ENDING) and entry.is_file(follow_symlinks=False):
                yield entry.name


def count(folder: Path) -> int:
    """How many there are by their names; what has such a name and is no file counts too, until a push moves it."""
    return sum(name.endswith(ENDING) for name in os.listdir(folder))


def is_empty(folder: Path) -> bool:
    """Whether nothing waits; costs the same however much does."""
    with os.scandir(folder) as entries:
        return not any(entry.name.endswith(ENDING) for entry in entries)


def listed(folder: Path) -> list[Entry]:
    """The records' files, oldest first; a delivery under way can take any of them away at any time."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(ENDING) and entry.is_file(follow_symlinks=False):
                with suppress(FileNotFoundError):
                    stat = entry.stat(follow_symlinks=False)
                    found.append(Entry(stat.st_mtime_ns, entry.name, stat.st_blocks * 512))
    found.sort()
    return found


def strange(folder: Path) -> list[str]:
    """Names of what lies there and can be no record: links, pipes, directories, files of another kind."""
    with os.scandir(folder) as entries:
        return sorted(
            entry.name
            for entry in entries
            if not (entry.is_file(follow_symlinks=False) and entry.name.endswith((ENDING, ".tmp")))
        )
