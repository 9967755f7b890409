#!/usr/bin/python
"""Make directories, files and links what they should be, all of a host in one remote call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_files
short_description: Make directories, files and links what they should be, all in one remote call
description:
  - Each item names its C(path); all but links have an C(owner), a C(group) and a C(mode). What is right is not touched.
  - A new file is complete, has its owner and mode, and its checker C(validate) has seen it, before it replaces the old.
options:
  absent: {type: list, elements: str, default: [], description: "What must not be there, with all that lies in it."}
  directories: {type: list, elements: dict, default: [], description: "Directories; missing parents are root's."}
  files: {type: list, elements: dict, default: [], description: "Files with C(content), and C(validate), its checker."}
  attributes: {type: list, elements: dict, default: [], description: Files that something else makes.}
  links: {type: list, elements: dict, default: [], description: Symbolic links with their C(target).}
  moves: {type: list, elements: dict, default: [], description: "Directories that come from their C(source) at once."}
notes:
  - It runs as root in directories of accounts that may be hostile. Nothing is changed through a link, and no file that
    has another name besides. It stops at the first item that cannot be made.
author: The speedtest-telemetry maintainers (!UNKNOWN)
"""
EXAMPLES = r"""
- name: The folder is there
  speedtest.telemetry.host_files:
    directories: [{path: /etc/speedtest-telemetry, owner: root, group: root, mode: "0755"}]
"""
RETURN = r"""
done: {description: Paths that were changed., returned: success, type: list, elements: str}
"""

import contextlib
import ctypes
import grp
import json
import os
import pwd
import secrets
import shlex
import stat
import subprocess
from collections.abc import Callable
from typing import Any

LARGEST_SHOWN = 100_000  # bytes of what a file was before
ANSWERS = ("done", "shown", "failed", "msg")
OPEN = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
Item = dict[str, Any]


class RefusedError(Exception):
    """Something else stands there, or cannot be made."""


def opened(path: str, kind: int = 0) -> int | None:
    """A descriptor of what stands there, of which every later question is asked; None where nothing stands."""
    try:
        return os.open(path, os.O_RDONLY | OPEN | kind)
    except FileNotFoundError:
        return None


def owned(descriptor: int, item: Item, check: bool) -> bool:
    """Give an open file or directory its owner, group and mode; whether something differed."""
    seen = os.fstat(descriptor)
    owner, group, mode = pwd.getpwnam(item["owner"]).pw_uid, grp.getgrnam(item["group"]).gr_gid, int(item["mode"], 8)
    right_owner = (seen.st_uid, seen.st_gid) == (owner, group)
    if right_owner and stat.S_IMODE(seen.st_mode) == mode:
        return False
    if not check:
        if not right_owner:
            os.fchown(descriptor, owner, group)
        os.fchmod(descriptor, mode)  # after it: a new owner clears bits
    return True


def make_directory(item: Item, check: bool) -> bool:
    path = item["path"]
    descriptor = opened(path, os.O_DIRECTORY)
    if descriptor is None:
        if check:
            return True
        os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
        os.mkdir(path, 0o700)
        descriptor = os.open(path, os.O_RDONLY | OPEN | os.O_DIRECTORY)
        with closing(descriptor):
            owned(descriptor, item, check)
        return True
    with closing(descriptor):
        return owned(descriptor, item, check)


@contextlib.contextmanager
def closing(descriptor: int) -> Any:
    try:
        yield
    finally:
        os.close(descriptor)


def give_attributes(item: Item, check: bool) -> bool:
    """Owner and mode of a regular file with one name; no other is touched."""
    descriptor = opened(item["path"])
    if descriptor is None:
        if check:
            return True
        raise RefusedError("is missing")
    with closing(descriptor):
        refuse_strange(descriptor)
        return owned(descriptor, item, check)


def refuse_strange(descriptor: int) -> None:
    seen = os.fstat(descriptor)
    if not stat.S_ISREG(seen.st_mode):
        raise RefusedError("is no regular file")
    if seen.st_nlink != 1:
        raise RefusedError(f"is a file with {seen.st_nlink} names (hard links)")


def text_before(path: str, largest: int) -> bytes | None:
    """What a regular file holds, no more than `largest` bytes and one; None where nothing or a link stands."""
    if os.path.islink(path) or (descriptor := opened(path)) is None:
        return None
    with os.fdopen(descriptor, "rb") as stream:
        refuse_strange(descriptor)
        return stream.read(largest + 1)


def drop_ins(path: str) -> str | None:
    """The folder of systemd's drop-ins that a file lies in: it comes with its first file, and goes with its last."""
    folder = os.path.dirname(path)
    return folder if os.path.dirname(folder) == "/etc/systemd/system" and folder.endswith(".d") else None


def write_file(item: Item, check: bool) -> bool:
    """One whose content is right keeps its inode; any other is replaced by a complete one, a link as well."""
    if (beside := drop_ins(item["path"])) and not check and not os.path.isdir(beside):
        make_directory({"path": beside, "owner": "root", "group": "root", "mode": "0755"}, check)
    content = item["content"].encode()
    if text_before(item["path"], len(content)) == content:
        return give_attributes(item, check)
    if check:
        return True
    folder, name = os.path.split(item["path"])
    temporary = f"{folder}/.{name}.{secrets.token_hex(4)}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | OPEN, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            owned(descriptor, item, check)
            os.fsync(descriptor)
        validate(item, temporary)
        os.replace(temporary, item["path"])
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    return True


def validate(item: Item, temporary: str) -> None:
    """Let the checker see the new file under its temporary name. Raises RefusedError with the checker's words."""
    if "validate" not in item:
        return
    argv = [word.replace("%s", temporary) for word in shlex.split(item["validate"])]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise RefusedError(f"its new content is refused by `{item['validate']}`, the old one stays: {words}")


def point_link(item: Item, check: bool) -> bool:
    """A link takes the place of a file, never that of a directory."""
    path = item["path"]
    if os.path.islink(path) and os.readlink(path) == item["target"]:
        return False
    if not check:
        temporary = f"{path}.{secrets.token_hex(4)}"
        os.symlink(item["target"], temporary)
        try:
            os.replace(temporary, path)
        except OSError:
            os.unlink(temporary)
            raise
    return True


def remove(item: Item, check: bool) -> bool:
    """A link is removed itself, never what it leads to; nor does anything below a directory lead out of it."""
    try:
        seen = os.lstat(item["path"])
    except (FileNotFoundError, NotADirectoryError):
        return False
    if check:
        return True
    if not stat.S_ISDIR(seen.st_mode):
        os.unlink(item["path"])
        if beside := drop_ins(item["path"]):
            with contextlib.suppress(OSError):  # others' drop-ins stay, and so does it
                os.rmdir(beside)
        return True
    for _, folders, names, folder in os.fwalk(item["path"], topdown=False):
        for name in [*names, *folders]:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            (os.rmdir if stat.S_ISDIR(found.st_mode) else os.unlink)(name, dir_fd=folder)
    os.rmdir(item["path"])
    return True


def move(item: Item, check: bool) -> bool:
    """A directory takes the place of another one, which goes: in one step, so that there always is one."""
    path, source = item["path"], item["source"]
    if not check:
        if os.path.lexists(path):
            exchange(source, path)
            remove({"path": source}, check)
        else:
            os.rename(source, path)
    return True


def exchange(one: str, other: str) -> None:
    """Have two paths of a file system swap what is there; Python has no function for it."""
    at, swap = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    if ctypes.CDLL(None, use_errno=True).renameat2(at, os.fsencode(one), at, os.fsencode(other), swap):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


MAKERS: dict[str, Callable[[Item, bool], bool]] = {
    "absent": remove,
    "directories": make_directory,
    "files": write_file,
    "attributes": give_attributes,
    "links": point_link,
    "moves": move,
}


def difference(item: Item) -> dict[str, str]:
    """A file's content before and after, as Ansible shows it."""
    before = text_before(item["path"], LARGEST_SHOWN) or b""
    shown = before.decode(errors="replace") if len(before) <= LARGEST_SHOWN else "(too long to be shown)\n"
    return {"before_header": item["path"], "before": shown, "after_header": item["path"], "after": item["content"]}


def make(wanted: dict[str, Any]) -> dict[str, Any]:
    """Make them in the order of MAKERS; what was done."""
    check = wanted["check"]
    wanted = {**wanted, "absent": [{"path": path} for path in wanted.get("absent", [])]}
    done: list[str] = []
    shown: list[dict[str, str]] = []
    for name, maker in MAKERS.items():
        for item in wanted.get(name, []):
            try:
                before = difference(item) if name == "files" and wanted["diff"] else None
                changed = maker(item, check)
            except (OSError, KeyError, RefusedError) as error:
                words = error.strerror if isinstance(error, OSError) else str(error).strip("'")
                return {"failed": True, "msg": f"{item['path']}: {words}", "done": done}
            if changed:
                done += [item["path"]] if item["path"] not in done else []
                shown += [before] if before else []
    return {"done": done, "shown": shown}


def main(wanted: dict[str, Any]) -> None:
    """Print what was done, as a line of JSON."""
    print(json.dumps(make(wanted)))
