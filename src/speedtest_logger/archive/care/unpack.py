"""A tar stream taken in strictly: files and folders below folders that are expected, under names of its own, new.

Whoever made the stream decides nothing but that: not where files go, whose they are, what may be done with them.
"""

from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import Path
from typing import BinaryIO

from speedtest_logger.errors import StorageError
from speedtest_logger.files import SAFELY

DEEPEST = 12
AFTER_THE_END = 1 << 20  # bytes: an end are two blocks of 512, and what fills the last record
FILE, FOLDER = 0o640, 0o750


def unpack(stream: BinaryIO, folder: Path, tops: tuple[str, ...]) -> list[str]:
    """Write a stream's files below `folder`, which is empty; returns what was left out: links, pipes and devices.

    `tops` are the names that may stand right below the folder, or beginnings of such names that end in `=`. Raises
    StorageError for a stream that is torn or has a name that leads elsewhere, OSError.
    """
    left_out = []
    try:
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                target = folder.joinpath(*clean_parts(member.name, tops))
                if member.isdir():
                    target.mkdir(mode=FOLDER, parents=True, exist_ok=True)
                elif member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse():
                    target.parent.mkdir(mode=FOLDER, parents=True, exist_ok=True)
                    _write(archive, member, target)
                else:
                    left_out.append(member.name)
        stream.read(AFTER_THE_END)  # who writes must not find the stream closed before its last block
    except (tarfile.TarError, EOFError) as error:
        raise StorageError(f"the stream is damaged: {error}") from error
    return left_out


def clean_parts(name: str, tops: tuple[str, ...]) -> list[str]:
    """A member's name as the names on its way; none for the top itself. Raises StorageError for one that leads away."""
    parts = [part for part in name.strip("/").split("/") if part != "."]
    if not parts:
        return []
    known = any(parts[0].startswith(top) if top.endswith("=") else parts[0] == top for top in tops)
    wrong = any(part in ("", "..") or not part.isprintable() for part in parts)
    if wrong or not known or len(parts) > DEEPEST:
        raise StorageError(f"the stream holds a name that does not belong there: {name[:200]!r}")
    return parts


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    content = archive.extractfile(member)
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | SAFELY, FILE)
    with os.fdopen(descriptor, "wb") as stream:
        if content:
            shutil.copyfileobj(content, stream, 1 << 20)
        if stream.tell() != member.size:
            raise StorageError(f"the stream is cut short: {member.name} has {stream.tell()} of {member.size} bytes")
