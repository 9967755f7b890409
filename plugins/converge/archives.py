"""What comes packed: a release of this project, or a program that no package provides."""

from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from plugins.converge.bundle import RefusedError
from plugins.converge.programs import FailedError


def unpack(archive: BinaryIO, folder: Path) -> None:
    """A tar's directories and files, root's; anything else in it is refused. Raises RefusedError, FailedError."""
    try:
        with tarfile.open(fileobj=archive, mode="r:*") as packed:
            for entry in packed:
                name = PurePosixPath(entry.name)
                if name.is_absolute() or ".." in name.parts or not (entry.isdir() or entry.isfile()):
                    raise RefusedError(f"the archive holds {entry.name!r}, which is no file of its own")
                if entry.isdir():
                    (folder / name).mkdir(mode=0o755, parents=True, exist_ok=True)
                    continue
                (folder / name).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
                with open(descriptor, "wb") as stream:
                    if content := packed.extractfile(entry):
                        shutil.copyfileobj(content, stream)
                    os.fchmod(descriptor, 0o755 if entry.mode & 0o100 else 0o644)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise FailedError(f"it cannot be unpacked: {error}") from error
