"""What restic reads of this machine, its repository and its cache: whether it comes to an end with them.

https://restic.readthedocs.io/en/stable/100_references.html#repository-layout
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from speedtest_logger.errors import StorageError
from speedtest_logger.files import kind_of

LOCAL = "local:"  # before a directory, where restic is told so
DEPTH = 4  # REPOSITORY/data/00/PACK, CACHE/ID/data/00/PACK


def check(environment: Mapping[str, str]) -> None:
    """Raise StorageError where something else lies among the files: restic would wait for a pipe for ever.

    Of a repository elsewhere nothing is looked at. `environment`: restic's own variables.
    """
    for name in ("RESTIC_REPOSITORY", "RESTIC_CACHE_DIR"):
        place = Path(environment.get(name, "").removeprefix(LOCAL))
        if place.is_absolute():
            for path in strangers(place):
                raise StorageError(
                    f"{path}: there is {kind_of(path)} where restic has a file: look at it and remove it"
                )


def strangers(folder: Path, depth: int = DEPTH) -> Iterator[Path]:
    """What is neither a file nor a directory, nor a link to a file, nor one of root's to a directory."""
    with suppress(OSError), os.scandir(folder) as entries:  # what it cannot read restic says
        for entry in entries:
            if entry.is_dir() and not (entry.is_symlink() and entry.stat(follow_symlinks=False).st_uid):
                if depth:
                    yield from strangers(Path(entry.path), depth - 1)
            elif not entry.is_file() and os.path.lexists(entry.path):
                yield Path(entry.path)
