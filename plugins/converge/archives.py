"""What comes packed: a release of this project, or a program that no package provides."""

from __future__ import annotations

import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO

from plugins.converge.bundle import RefusedError
from plugins.converge.programs import FailedError

ZIP = (b"PK\3\4", b"PK\5\6")
UNREADABLE = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, RuntimeError, ValueError,
)  # fmt: skip
# an entry's name, whether it can be run, and its content: None for a directory
Entry = tuple[str, bool, IO[bytes] | None]


def unpack(archive: BinaryIO, folder: Path) -> None:
    """A tar's or a zip's directories and files, root's; else refused. Raises RefusedError, FailedError."""
    try:
        is_zip = archive.read(len(ZIP[0])) in ZIP  # is_zipfile takes a tar for one whose last file is a zip
        archive.seek(0)
        for name, runs, content in _of_zip(archive) if is_zip else _of_tar(archive):
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts:
                raise _refused(name)
            if content is None:
                (folder / path).mkdir(mode=0o755, parents=True, exist_ok=True)
                continue
            (folder / path).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            descriptor = os.open(folder / path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with open(descriptor, "wb") as stream:
                shutil.copyfileobj(content, stream)
                os.fchmod(descriptor, 0o755 if runs else 0o644)
    except UNREADABLE as error:
        raise FailedError(f"it cannot be unpacked: {error}") from error


def _of_tar(archive: BinaryIO) -> Iterator[Entry]:
    with tarfile.open(fileobj=archive, mode="r:*") as packed:
        for entry in packed:
            if not (entry.isdir() or entry.isfile()):
                raise _refused(entry.name)
            yield entry.name, bool(entry.mode & 0o100), packed.extractfile(entry)


def _of_zip(archive: BinaryIO) -> Iterator[Entry]:
    """An entry's mode stands in the upper half of its attributes, where the archive was made on Unix."""
    with zipfile.ZipFile(archive) as packed:
        for entry in packed.infolist():
            mode = entry.external_attr >> 16
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _refused(entry.filename)
            yield entry.filename, bool(mode & 0o100), None if entry.is_dir() else packed.open(entry)


def _refused(name: str) -> RefusedError:
    return RefusedError(f"the archive holds {name!r}, which is no file of its own")
