"""Files of published tables that stay on this machine for the next question, up to a size.

A table's file never changes and its name is not used again, so that one that is here is as good as the store's. Whole
files are brought, not the columns that are asked for: the first question waits longer, others read the disk. What was
used least lately goes first. A question of more files than there is room for reads the store, and leaves all as it is.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from speedtest_logger.errors import ConfigError, StorageError
from speedtest_logger.sinks.data_files import DataFile
from speedtest_logger.sinks.objects import Objects
from speedtest_logger.sinks.place import Place

FOLDER_VARIABLE, MEGABYTES_VARIABLE = "SPEEDTEST_STORE_CACHE", "SPEEDTEST_STORE_CACHE_MB"
MEGABYTES = 2_000
OWN = "speedtest-store"  # the folder in it that is ours: what else lies there is left alone
AT_ONCE = 4
UNFINISHED = ".bringing-"
UNFINISHED_SECONDS = 3_600  # whoever was bringing a file is gone


@dataclass(frozen=True)
class Cache:
    """A folder that nobody else writes to, and how much may lie in it (bytes)."""

    folder: Path
    most_bytes: int

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ) -> Cache | None:
        """What the environment says; None where it names no folder, or no room in it. Raises ConfigError."""
        folder, room = environment.get(FOLDER_VARIABLE), environment.get(MEGABYTES_VARIABLE) or str(MEGABYTES)
        if not room.isascii() or not room.isdigit():
            raise ConfigError(
                [f"{MEGABYTES_VARIABLE} is {room!r:.40}: a number of megabytes is expected; 0 keeps none"]
            )
        if not folder or not int(room):
            return None
        cache = cls(Path(folder), int(room) * 10**6)
        cache.check()
        return cache

    def check(self) -> None:
        """Raise ConfigError for a folder that is not there, or in which somebody else could put files for ours."""
        try:
            found = os.stat(self.folder)
        except OSError as error:
            raise ConfigError([f"{FOLDER_VARIABLE}: {self.folder}: {error.strerror}: make it, mode 0700"]) from error
        if not self.folder.is_absolute() or not stat.S_ISDIR(found.st_mode):
            raise ConfigError([f"{FOLDER_VARIABLE}: {self.folder} is no absolute path of a folder"])
        if found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise ConfigError(
                [
                    f"{FOLDER_VARIABLE}: {self.folder} belongs to account {found.st_uid} with mode "
                    f"{stat.S_IMODE(found.st_mode):04o}, and account {os.geteuid()} asks: others could put files "
                    "there; name a folder of its own, mode 0700"
                ]
            )

    def folder_of(self, place: Place) -> Path:
        """Where a table's files lie."""
        name = f"{place.options.get('AWS_ENDPOINT_URL', '')} {place.address}"
        return self.folder / OWN / hashlib.sha256(name.encode()).hexdigest()[:32]

    def brought(self, place: Place, files: Sequence[DataFile]) -> list[str]:
        """Where files are, once those that were not here have been fetched.

        Raises StorageError where the store does not give them, OSError where the disk does not take them.
        """
        here = [self.folder_of(place) / file.path for file in files]
        missing = [(file, path) for file, path in zip(files, here, strict=True) if not _is_here(file, path)]
        if missing:
            objects = Objects(place)
            with ThreadPoolExecutor(AT_ONCE) as pool:
                for _ in pool.map(lambda each: _bring(objects, *each), missing):
                    pass
            self._make_room(set(here))
        return [str(path) for path in here]

    def _make_room(self, needed: Collection[Path]) -> None:
        """Remove what was used least lately, but for what is needed now, until what lies here is small enough."""
        found = sorted(_there(self.folder / OWN))
        size = sum(each for _, each, _ in found)
        for used, each, path in found:
            is_left = path.name.startswith(UNFINISHED)
            if is_left and time.time() - used < UNFINISHED_SECONDS:
                continue
            if is_left or (size > self.most_bytes and path not in needed):
                path.unlink(missing_ok=True)
                size -= each


def _there(folder: Path) -> Iterator[tuple[float, int, Path]]:
    """All files below a folder: when they were used, their size, their path. Others may be removing some."""
    for top, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                found = os.lstat(os.path.join(top, name))
                yield found.st_mtime, found.st_size, Path(top, name)


def _is_here(file: DataFile, path: Path) -> bool:
    """Whether a file has been brought; it was used just now, then."""
    try:
        os.utime(path)
        return os.lstat(path).st_size == file.size
    except FileNotFoundError:
        return False


def _bring(objects: Objects, file: DataFile, path: Path) -> None:
    """Have a whole file under its name, or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    number, name = tempfile.mkstemp(prefix=UNFINISHED, dir=path.parent)
    size = 0
    try:
        with os.fdopen(number, "wb") as stream:
            for part in objects.parts(file.path):
                size += len(part)
                if size > file.size:  # whoever answers for the store might go on for ever
                    break
                stream.write(part)
            stream.flush()
            os.fsync(number)
        if size != file.size:
            seen = f"more than {file.size}" if size > file.size else str(size)
            raise StorageError(f"{objects.place.address}/{file.path} has {seen} bytes, its table says {file.size}")
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
