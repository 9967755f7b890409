"""Files that may lie in somebody else's folder: written as a whole, and opened only where they are what they should be.

Whoever owns a folder may put a link, a pipe, a device or ten gigabytes under any name in it. What root reads there, or
writes, therefore goes through here.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, Protocol

KINDS = {
    stat.S_IFREG: "a file",
    stat.S_IFDIR: "a directory",
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
SAFELY = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
STATE_BYTES = 1_000_000  # most that a small state file may have
OWN_STREAM = re.compile(r"(?:/dev/fd|/proc/self/fd)/(\d+)")


class Sync(Protocol):
    """How what was written gets onto the disk: each file at once, or many together, later. Raises OSError."""

    def content(self, descriptor: int) -> None:
        """An open file's bytes: on disk when this returns, or later."""

    def names(self, directory: Path) -> None:
        """Names in a directory, likewise."""


class AtOnce:
    """See Sync: nothing is left for later."""

    def content(self, descriptor: int) -> None:
        """See Sync."""
        os.fsync(descriptor)

    def names(self, directory: Path) -> None:
        """See Sync."""
        sync_directory(directory)


class Later:
    """See Sync: somebody else sees to it (group_commit)."""

    def content(self, descriptor: int) -> None:
        """See Sync."""

    def names(self, directory: Path) -> None:
        """See Sync."""


AT_ONCE, LATER = AtOnce(), Later()


def write_durably(file: Path, content: bytes, mode: int = 0o640, sync: Sync = AT_ONCE) -> None:
    """Replace a file as a whole; it is on disk when this returns, or later as `sync` says. Raises OSError."""
    temporary, stream = new_beside(file, mode)
    try:
        with stream:
            stream.write(content)
            stream.flush()
            sync.content(stream.fileno())
        os.replace(temporary, file)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync.names(file.parent)


def sync_directory(directory: Path) -> None:
    """Make names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def new_beside(file: Path, mode: int = 0o640) -> tuple[Path, BinaryIO]:
    """A new file that is to become `file`: under a name that nobody can have put there before. Raises OSError."""
    temporary = file.with_name(f".{file.name[:200]}.{os.urandom(8).hex()}.tmp")
    return temporary, os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | SAFELY, mode), "wb")


class Identity(NamedTuple):
    """What tells a file from the one that takes its place: size in bytes, time of the last change in ns, inode."""

    size: int
    mtime_ns: int
    inode: int


def identities(files: Iterable[Path]) -> dict[Path, Identity]:
    """The files that are there, as they are now; what is no file is left out."""
    return {file: found for file in files if (found := identity(file))}


def identity(file: Path) -> Identity | None:
    """What a file is now; None where there is none, or something that is no file."""
    try:
        found = os.lstat(file)
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return Identity(found.st_size, found.st_mtime_ns, found.st_ino)


def in_mount(file: Path) -> Path:
    """Where a file of a Secret or a ConfigMap lies, which a cluster mounts as a link to its newest version.

    FOLDER/NAME leads to FOLDER/..VERSION/NAME there. Any other link stays one, which nothing here follows.
    """
    if not os.path.islink(file):
        return file
    found = Path(os.path.realpath(file))
    version = found.parent
    mounted = version.name.startswith("..") and found.name == file.name
    return found if mounted and version.parent == Path(os.path.realpath(file.parent)) else file


def kind_of(file: Path) -> str | None:
    """What lies under a name, in words: "a file", "a link" …; None where nothing does."""
    try:
        return KINDS.get(stat.S_IFMT(os.lstat(file).st_mode), "something else")
    except FileNotFoundError:
        return None


def is_regular(file: Path | str) -> bool:
    """Whether a file lies there; a link to one is none."""
    try:
        return stat.S_ISREG(os.lstat(file).st_mode)
    except OSError:
        return False


def strangers(folder: Path, most: int = 5) -> list[str]:
    """What lies in a folder and is neither a file nor a directory, in words; a few of them, where there are many."""
    found: list[str] = []
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            if not (entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)):
                found.append(
                    f"{entry.path} is {kind_of(Path(entry.path))}: not one of our files: look at it and remove it"
                )
                if len(found) == most:
                    break
    return sorted(found)


def check_regular(file: Path) -> None:
    """Raise OSError where something lies there that is no file, FileNotFoundError where nothing does."""
    _check(os.lstat(file), file)


def open_regular(file: Path, most_bytes: int | None = None, *, only_name: bool = False) -> BufferedReader:
    """Open a file for reading that may be anything: raises OSError for what is none, or has more bytes than that.

    `only_name`: also for one that has other names (hard links), behind which it may be somebody else's.
    """
    descriptor = os.open(file, os.O_RDONLY | SAFELY)
    try:
        found = os.fstat(descriptor)
        _check(found, file)
        if only_name and found.st_nlink != 1:
            raise OSError(errno.EMLINK, f"it has {found.st_nlink} names, one is expected", str(file))
        if most_bytes is not None and found.st_size > most_bytes:
            raise OSError(errno.EFBIG, f"it has {found.st_size} bytes, {most_bytes} are the most", str(file))
    except OSError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def read_bounded(file: Path, most_bytes: int = STATE_BYTES, *, only_name: bool = False) -> bytes:
    """What is in a file, as `open_regular` opens it. Raises OSError; one that grew meanwhile is too large as well."""
    with open_regular(file, most_bytes, only_name=only_name) as stream:
        size = os.fstat(stream.fileno()).st_size
        content = stream.read(min(size, most_bytes) + 1)  # room is made for as much as is asked for
        if len(content) > size:  # it grew meanwhile
            content += stream.read(most_bytes + 1 - len(content))
    if len(content) > most_bytes:
        raise OSError(errno.EFBIG, f"it has more than {most_bytes} bytes", str(file))
    return content


def open_lock(file: Path) -> BinaryIO:
    """A file to lock, made where there is none. Raises OSError for what is no file."""
    return _open_own(file, os.O_RDWR, "r+b")


def lock_within(stream: BinaryIO, seconds: float) -> bool:
    """Lock an open file for this process alone; whether nobody else still held it after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.1)
        else:
            return True


def open_to_append(file: Path) -> BinaryIO:
    """A file to add to, made where there is none. Raises OSError for what is no file."""
    return _open_own(file, os.O_WRONLY | os.O_APPEND, "ab")


def _open_own(file: Path, flags: int, mode: Literal["r+b", "ab"]) -> BinaryIO:
    try:
        descriptor = os.open(file, flags | os.O_CREAT | SAFELY, 0o640)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):  # ENXIO: a pipe that nobody reads, or a socket
            check_regular(file)
        raise
    try:
        _check(os.fstat(descriptor), file)
    except OSError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, mode)


def _check(found: os.stat_result, file: Path) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = KINDS.get(stat.S_IFMT(found.st_mode), "something else")
        raise OSError(errno.EINVAL, f"there is {kind} where a file should be", str(file))


@contextmanager
def new_output(file: Path) -> Iterator[BinaryIO]:
    """Where a person wants an answer: `-`, a pipe or a device is written to as it is; a file appears as a whole.

    Nothing but a file is ever replaced: raises OSError for a directory, a socket, a disk, and for a link, which may
    lead anywhere (/dev/stdout and /dev/fd/N are the process's own streams). What fails leaves what was there.
    """
    if (own := _own_stream(file)) is not None:
        sys.stdout.flush()
        with os.fdopen(os.dup(own), "wb") as own_stream:
            yield own_stream
        return
    kind = kind_of(file)
    if kind in ("a pipe", "a device"):
        with _open_as_it_is(file) as stream:
            yield stream
        return
    if kind not in ("a file", None):
        raise OSError(errno.EINVAL, f"there is {kind}, which is not replaced: name a file, a pipe or -", str(file))
    temporary, stream = new_beside(file, 0o666)
    try:
        with stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, file)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def is_stream(file: Path) -> bool:
    """Whether `new_output` would write to what is there instead of making a file."""
    return _own_stream(file) is not None or kind_of(file) in ("a pipe", "a device")


def _own_stream(file: Path) -> int | None:
    named = {"-": 1, "/dev/stdout": 1, "/dev/stderr": 2}
    found = OWN_STREAM.fullmatch(str(file))
    return int(found[1]) if found else named.get(str(file))


def _open_as_it_is(file: Path) -> BinaryIO:
    descriptor = os.open(file, os.O_WRONLY | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC)  # a pipe waits for its reader
    found = os.fstat(descriptor)
    if not (stat.S_ISFIFO(found.st_mode) or stat.S_ISCHR(found.st_mode)):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "there is something that is neither a pipe nor a terminal nor the like", str(file))
    return os.fdopen(descriptor, "wb")
