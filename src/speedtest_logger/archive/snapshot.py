"""Files that stay as they are while a query reads them.

DuckDB opens a file more than once and would mix a month with the one that took its place in between. Months that change
are those of the last minutes: they are linked (or copied, where links are not allowed) into a folder of their own, and
the others are looked at again afterwards.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from speedtest_logger.archive.layout import Layout

RECENT_SECONDS = 600
PREFIX = "reading-"


@dataclass(frozen=True)
class Still:
    """Paths to read, and the older files' identities when they were found."""

    paths: list[Path]
    older: dict[Path, tuple[int, int] | None]

    def are_as_they_were(self) -> bool:
        """Whether no file that is read in its own place was replaced or removed since."""
        return all(_identity(path) == identity for path, identity in self.older.items())


@contextmanager
def still(layout: Layout, files: list[Path]) -> Iterator[Still]:
    """The files for reading; what was linked is removed afterwards."""
    for leftover in leftovers(layout):
        shutil.rmtree(leftover, ignore_errors=True)  # one of another account's goes with that account's next query
    now = time.time()
    older: dict[Path, tuple[int, int] | None] = {}
    recent: list[Path] = []
    for file in files:
        try:
            found = file.stat()
        except FileNotFoundError:  # pruned since it was listed
            continue
        if abs(now - found.st_mtime) < RECENT_SECONDS:
            recent.append(file)
        else:
            older[file] = (found.st_ino, found.st_mtime_ns)
    folder = _folder(layout) if recent else None
    try:
        linked = [_link(layout, file, folder) for file in recent if folder]
        yield Still(sorted([*older, *(file for file in linked if file)]), older)
    finally:
        if folder:
            shutil.rmtree(folder, ignore_errors=True)  # the answer stands; what stays goes with a later query


def _folder(layout: Layout) -> Path:
    place = layout.state if os.access(layout.state, os.W_OK) else None
    return Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))


def _link(layout: Layout, file: Path, folder: Path) -> Path | None:
    target = folder / layout.name(file)
    target.parent.mkdir(parents=True)
    try:
        os.link(file, target)
    except FileNotFoundError:
        return None
    except OSError:  # another file system, or a file that is not ours
        shutil.copyfile(file, target)
    return target


def _identity(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def leftovers(layout: Layout) -> list[Path]:
    """Folders that a killed query left behind more than a day ago."""
    return [folder for folder in layout.state.glob(f"{PREFIX}*") if folder.stat().st_mtime < time.time() - 86_400]
