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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.errors import DamagedFileError
from speedtest_logger.files import Identity, identities, identity, kind_of

RECENT_SECONDS = 600
PREFIX = "reading-"
LINK_TRIES = 5


Files = Mapping[Path, Identity]


@dataclass(frozen=True)
class Still:
    """Files that stay: older ones in their own places, with their identities when they were found, and links."""

    older: Files
    linked: list[Path]

    def are_as_they_were(self) -> bool:
        """Whether no file that is read in its own place was replaced or removed since."""
        return all(identity(path) == found for path, found in self.older.items())


@contextmanager
def still(layout: Layout, files: list[Path]) -> Iterator[Still]:
    """The files for reading; what was linked is removed afterwards."""
    for leftover in leftovers(layout):
        shutil.rmtree(leftover, ignore_errors=True)  # one of another account's goes with that account's next query
    newest = (time.time() - RECENT_SECONDS) * 1e9
    found = identities(files)
    for file in files:
        if file not in found and (kind := kind_of(file)) not in (None, "a file"):
            raise DamagedFileError(file, f"there is {kind} where a file should be")
    recent = [file for file, identity in found.items() if identity.mtime_ns > newest]
    folder = _folder(layout) if recent else None
    try:
        linked = [_link(layout, file, folder) for file in recent if folder]
        yield Still(
            {file: identity for file, identity in found.items() if identity.mtime_ns <= newest},
            sorted(file for file in linked if file),
        )
    finally:
        if folder:
            shutil.rmtree(folder, ignore_errors=True)  # the answer stands; what stays goes with a later query


def _folder(layout: Layout) -> Path:
    place = layout.state if os.access(layout.state, os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
    folder.chmod(0o750)  # DuckDB may run as somebody else of the group
    return folder


def _link(layout: Layout, file: Path, folder: Path) -> Path | None:
    """The file under a name of our own; None where it was pruned."""
    target = folder / file.relative_to(layout.root)
    target.parent.mkdir(parents=True)
    for _ in range(LINK_TRIES):
        try:
            os.link(file, target)
        except FileNotFoundError:  # replaced while the kernel was at it, though there always is one: link again
            continue
        except OSError:  # another file system, or a file that is not ours
            break
        return target
    try:
        shutil.copyfile(file, target)
    except FileNotFoundError:  # pruned
        return None
    return target


def leftovers(layout: Layout) -> list[Path]:
    """Folders that a killed query left behind more than a day ago."""
    limit = time.time() - 86_400
    with suppress(FileNotFoundError), os.scandir(layout.state) as entries:
        own = [e for e in entries if e.name.startswith(PREFIX) and e.is_dir(follow_symlinks=False)]
        return [Path(entry.path) for entry in own if entry.stat(follow_symlinks=False).st_mtime < limit]
    return []
