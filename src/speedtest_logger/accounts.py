"""Whose rights a process has: what root starts by hand goes on as the account that owns what it works on.

The effective account is the whole process's, its threads' too (setxid(7) of glibc): what switches it there and back
must have no other thread at work that needs another account.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from speedtest_logger.errors import UsageError

NOBODY = 65534  # owns no file, by convention everywhere


@dataclass(frozen=True)
class Owner:
    """An account and its group, as numbers."""

    uid: int
    gid: int


def owner_of(directory: Path) -> Owner:
    """Who owns a directory. Raises OSError where there is none, or a link in its place."""
    found = os.lstat(directory)
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, "there is something else where a directory should be", str(directory))
    return Owner(found.st_uid, found.st_gid)


def is_another(owner: Owner) -> bool:
    """Whether this process can become an account that it is not: only root can, and nobody becomes root."""
    return os.geteuid() == 0 and owner.uid != 0


def become(owner: Owner, *, to_read: bool = False) -> None:
    """As root, be this account with all its groups from now on; nothing leads back. Others stay who they are.

    `to_read` leaves one more way open: `unable_to_write`.
    """
    if not is_another(owner):
        return
    os.setgroups([owner.gid] if to_read else groups_of(owner))
    os.setresgid(owner.gid, owner.gid, owner.gid)
    os.setresuid(owner.uid, owner.uid, NOBODY if to_read else owner.uid)


def become_owner_in(root: Path, folder: str) -> None:
    """As root, go on as who owns a folder of an archive, or the archive while there is none; it is only read.

    Raises UsageError where there is no archive.
    """
    place = root / folder
    become(owner_in(root, folder if place.is_dir() else "archive"))


def owner_in(root: Path, folder: str = "archive") -> Owner:
    """Who owns a folder of an archive. Raises UsageError where there is none."""
    try:
        return owner_of(root / folder)
    except PermissionError:
        raise
    except OSError as error:
        raise UsageError(
            f"{root} is not an archive: give its directory with --root or SPEEDTEST_ARCHIVE_DIR"
        ) from error


def groups_of(owner: Owner) -> list[int]:
    """The group and those that the account is a member of besides."""
    import pwd

    try:
        return os.getgrouplist(pwd.getpwuid(owner.uid).pw_name, owner.gid)
    except KeyError:  # a number without an account: a folder from another machine
        return [owner.gid]


@contextmanager
def acting_as(owner: Owner) -> Iterator[None]:
    """As root, have an account's rights for a while; others stay who they are."""
    if not is_another(owner):
        yield
        return
    with _switched(owner.uid, owner.gid):
        yield


@contextmanager
def as_caller() -> Iterator[None]:
    """Where root is acting as somebody: have root's rights for a while, for what root named on the command line."""
    if os.getuid() != 0 or os.geteuid() == 0:
        yield
        return
    with _switched(0, os.getgid()):
        yield


def give_to_caller(descriptor: int, folder: Path) -> None:
    """A new file of root's becomes that of the person who called with sudo, where they could have made it themselves.

    What is no file stays as it is. Raises OSError where the file's owner cannot be changed.
    """
    called_by = [os.environ.get(name, "") for name in ("SUDO_UID", "SUDO_GID")]
    if os.geteuid() != 0 or not all(map(str.isdecimal, called_by)) or not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return
    uid, gid = map(int, called_by)
    with _switched(uid, gid):
        may = os.access(folder, os.W_OK | os.X_OK, effective_ids=True)
    if may:
        os.fchown(descriptor, uid, gid)


@contextmanager
def unable_to_write(directory: Path) -> Iterator[None]:
    """Where root started this process: for a while, have only what the group of a directory's owner may read.

    Threads that are started meanwhile cannot write either. Where a process has no such choice (it was not root's) it
    stays who it is; so it does where not even the directory's group can get there (a folder in somebody's home).
    """
    owner = owner_of(directory)
    user, effective, saved = os.getresuid()
    if NOBODY in (user, saved) and effective != 0:
        os.seteuid(NOBODY)
        try:
            _give_up_where_unreadable(directory, effective)
            yield
        finally:
            os.seteuid(effective)
    elif user == 0 and owner.uid != 0:
        with _switched(NOBODY, owner.gid):
            _give_up_where_unreadable(directory, owner.uid)
            yield
    else:
        yield


def _give_up_where_unreadable(directory: Path, uid: int) -> None:
    if not os.access(directory, os.R_OK | os.X_OK, effective_ids=True):
        if os.getresuid()[0] == 0:
            os.seteuid(0)
        os.seteuid(uid)


@contextmanager
def _switched(uid: int, gid: int) -> Iterator[None]:
    """Root's effective account and groups are others for a while."""
    before_uid, before_gid, before_groups = os.geteuid(), os.getegid(), os.getgroups()
    os.seteuid(0)
    os.setgroups([gid])
    os.setegid(gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setgroups(before_groups)
        os.setegid(before_gid)
        os.seteuid(before_uid)
