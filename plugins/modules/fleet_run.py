#!/usr/bin/python
"""On the archive host: one run at a time, and what must outlive a run, read in the same remote call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: fleet_run
short_description: Hold the fleet's lock on the archive host, and read files there without following a link
description:
  - The lock is a file in a directory of root's below C(/run). It names the run that holds it and for how long it counts
    without a further sign of life. The action plugin of the same name says who asks.
options:
  take: {type: bool, default: false, description: "Take the lock, or renew it."}
  me: {type: dict, default: {}, description: The run that asks.}
  gone: {type: str, default: "", description: A run whose process is known to have ended.}
  force: {type: bool, default: false, description: Take the lock whoever holds it.}
  read:
    type: list
    elements: dict
    default: []
    description: "Files as C(folder), which may be reached through links, and C(name) below it, which may not."
author: The speedtest-telemetry maintainers (!UNKNOWN)
"""
EXAMPLES = r"""
- name: Hold the fleet's lock
  speedtest.telemetry.fleet_run:
    take: true
"""
RETURN = r"""
files: {description: "What was read, by name.", returned: success, type: dict}
"""

import contextlib
import errno
import fcntl
import grp
import json
import os
import pwd
import stat
import time
from collections.abc import Callable, Iterator
from typing import Any

FOLDER = "/run/speedtest-fleet"  # below /run only root makes anything: nobody can be there first
LOCK = "lock"
ANSWERS = ("lock", "files", "failed", "msg")
LARGEST_READ = 64_000_000
PROCESSES = ("machine", "boot", "pids")  # runs that agree on these see each other's processes
Lock = dict[str, Any]


def decide(lock: Lock | None, me: Lock, now: float, gone: str = "", force: bool = False) -> tuple[str, str]:
    """What a run does about a lock (take, renew, take over, refuse) and why; `now` in seconds since the host booted.

    A lock counts while its run lives. Whether a process of the asking machine lives is known there: `gone` names one
    that does not. Another machine's run is believed for as long as its lock says, from its last sign of life.
    """
    if lock is None:
        return "take", ""
    if lock["run"] == me["run"]:
        return "renew", ""
    if lock["run"] == gone:
        return "take over", "its process has ended"
    if force:
        return "take over", "speedtest_break_lock was set"
    neighbours = all(lock.get(key) == me.get(key) for key in PROCESSES)
    if not neighbours and not 0 <= now - lock["renewed"] <= lock["lease"]:
        return "take over", "it has shown no sign of life since %s" % lock["renewed_at"]
    return "refuse", ""


def renewed(lock: Lock | None, me: Lock, now: float, clock: str) -> Lock:
    """The lock as a run writes it; it keeps since when it has held it."""
    since = lock["since"] if lock and lock["run"] == me["run"] else clock
    return dict(me, since=since, renewed=now, renewed_at=clock)


def parsed(text: str) -> Lock | None:
    """A lock's content; None where a hand has made it something else, which holds nobody up."""
    try:
        lock = json.loads(text)
    except ValueError:
        return None
    words, numbers = ("run", "who", "what", "since", "renewed_at"), ("pid", "renewed", "lease")
    whole = isinstance(lock, dict) and all(
        [isinstance(lock.get(key), str) for key in words] + [isinstance(lock.get(key), (int, float)) for key in numbers]
    )
    return lock if whole else None


@contextlib.contextmanager
def alone(folder: str) -> Iterator[int]:
    """The lock's directory, while nobody else looks at it or changes it. Raises OSError."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder, 0o700)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        found = os.fstat(handle)
        if found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise OSError("%s: seen owner %d, mode %o; remove it" % (folder, found.st_uid, stat.S_IMODE(found.st_mode)))
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle
    finally:
        os.close(handle)


def held(folder: str) -> Lock | None:
    """The lock as it stands; nothing is made or waited for."""
    return parsed((read_file(folder, LOCK) or {}).get("text") or "")


def take(folder: str, me: Lock, gone: str, force: bool) -> dict[str, Any]:
    """Take or renew the lock: what was done, why, and whose lock stood there before."""
    now, clock = time.clock_gettime(time.CLOCK_BOOTTIME), time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    with alone(folder) as handle:
        lock = held(folder)
        done, why = decide(lock, me, now, gone, force)
        if done != "refuse":
            content = json.dumps(renewed(lock, me, now, clock)).encode()
            new = os.open(LOCK + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600, dir_fd=handle)
            with os.fdopen(new, "wb") as stream:
                stream.write(content)
            os.rename(LOCK + ".new", LOCK, src_dir_fd=handle, dst_dir_fd=handle)
    return {"done": done, "why": why, "before": lock}


def name_of(lookup: Callable[[int], Any], number: int) -> str:
    try:
        return str(lookup(number)[0])
    except KeyError:
        return str(number)


def opened(folder: str, name: str) -> int:
    """A handle of what `name` is below `folder`, no link followed and nothing waited for. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    *parents, last = name.split("/")
    for flags, part in [*((os.O_DIRECTORY, parent) for parent in parents), (os.O_NONBLOCK, last)]:
        try:
            below = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | flags, dir_fd=handle)
        finally:
            os.close(handle)
        handle = below
    return handle


def read_file(folder: str, name: str) -> dict[str, Any] | None:
    """Kind, owner, group, mode, text; None where there is nothing; `problem` where it is nothing to be trusted."""
    try:
        handle = opened(folder, name)
    except FileNotFoundError:
        return None
    except OSError as error:
        linked = error.errno in (errno.ELOOP, errno.ENOTDIR)
        return {"problem": "a link, or no directory on the way" if linked else error.strerror or str(error)}
    try:
        return content(handle)
    finally:
        os.close(handle)


def content(handle: int) -> dict[str, Any]:
    """What an open handle is of."""
    found = os.fstat(handle)
    state = {
        "owner": name_of(pwd.getpwuid, found.st_uid),
        "group": name_of(grp.getgrgid, found.st_gid),
        "mode": "%04o" % stat.S_IMODE(found.st_mode),
    }
    if stat.S_ISDIR(found.st_mode):
        return dict(state, kind="directory")
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        return {"problem": "no regular file of its own"}
    if found.st_size > LARGEST_READ:
        return {"problem": "%d bytes, more than %d" % (found.st_size, LARGEST_READ)}
    with os.fdopen(handle, "rb", closefd=False) as stream:
        return dict(state, kind="file", text=stream.read(LARGEST_READ).decode(errors="replace"))


def main(wanted: dict[str, Any]) -> None:
    """Take the lock where that is wanted, read, and print both as a line of JSON."""
    try:
        if wanted["take"]:
            lock = take(FOLDER, wanted["me"], wanted.get("gone", ""), wanted["force"])
        else:
            lock = {"done": "looked", "why": "", "before": held(FOLDER)}
    except OSError as error:
        print(json.dumps({"failed": True, "msg": "the fleet's lock cannot be taken: %s" % error}))
        return
    # nothing is read on behalf of a run that must not go on
    reads = [] if lock["done"] == "refuse" else wanted["read"]
    files = {os.path.join(item["folder"], item["name"]): read_file(item["folder"], item["name"]) for item in reads}
    print(json.dumps({"lock": lock, "files": files}))
