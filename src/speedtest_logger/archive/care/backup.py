"""backup with restic, a program of its own (Debian package `restic`); restore.py brings back.

What is saved is one moment of the archive: months and inbox are linked under the writer's lock, so every receipted
record is in the one or the other, and the manifest fits the months. Then changes go on while restic works.

Two accounts share the work: who owns the archive links that moment into work/backup, and takes in what comes back; who
owns <root>/backups holds repository and password, reads that folder, and hands out what is to come back. Neither can do
what the other can: the account that nodes log into cannot delete a backup.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speedtest_logger import accounts
from speedtest_logger.accounts import Owner
from speedtest_logger.archive.care import steps
from speedtest_logger.archive.care.repository import DUMPS_TAG, TAG, initialise, restic, take_credentials
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.ledger import manifest
from speedtest_logger.archive.write import store
from speedtest_logger.errors import SpeedtestError
from speedtest_logger.files import SAFELY, kind_of, read_bounded, write_durably
from speedtest_logger.record import utc_text

LINKED = ("archive", "inbox", "raw", "raw-inbox", "logs", "log-inbox", "probes", "probe-inbox", "quarantine")
COPIED = ("manifest", "state")
SCHEDULE = "schedule.json"
SCHEDULE_BYTES = 64_000_000
COPIED_BYTES = 4_000_000_000  # of one file of the manifest


@dataclass(frozen=True)
class Keep:
    """How many snapshots stay."""

    daily: int = 7
    weekly: int = 5
    monthly: int = 24


def saver_of(layout: Layout) -> Owner:
    """Who has the repository: the owner of the folder that says what became of backups; without it the archive's."""
    return accounts.owner_of(layout.backups if kind_of(layout.backups) else layout.archive)


def backup(layout: Layout, keep: Keep) -> dict[str, Any]:
    """Save one moment of the archive; returns the snapshot's id and what it holds, as `last` has it then.

    Raises UsageError where restic or its repository is missing, StorageError with restic's message; the failure is
    kept too, until a backup succeeds. Root has each step done by the account whose it is.
    """
    owner = accounts.owner_of(layout.archive)
    steps.run(owner, lambda: stage(layout))
    try:
        outcome: dict[str, Any] = steps.run(saver_of(layout), lambda: save(layout, keep), as_root=take_credentials)
    finally:
        steps.run(owner, lambda: unstage(layout))
    return outcome


def stage(layout: Layout) -> int:
    """Link and copy one moment of the archive into work/backup; returns how many files. A failure is kept."""
    with _failure_kept(layout.state / "backup-failure.json"), store.single_writer(layout, "backup", wait=300):
        folder = make_empty(layout.work / "backup")
        for name in (*LINKED, *COPIED):
            if kind_of(layout.root / name):
                accounts.owner_of(layout.root / name)
                _take(layout.root / name, folder / name, copied=name in COPIED)
        schedule = layout.fleet / SCHEDULE
        if kind_of(schedule):
            (folder / "fleet").mkdir(mode=0o750)
            write_durably(folder / "fleet" / SCHEDULE, read_bounded(schedule, SCHEDULE_BYTES))
        return sum(len(files) for _, _, files in os.walk(folder))


def _take(source: Path, target: Path, *, copied: bool) -> None:
    """A folder's files and folders under another name; the manifest is added to in place: a link would go on changing.

    What is neither, links among them, is nothing of ours. Whoever saves may read what its group may read.
    """
    target.mkdir(mode=0o750)
    with os.scandir(source) as entries:
        for entry in entries:
            place = Path(entry.path)
            if _unfinished(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                _take(place, target / entry.name, copied=copied)
            elif entry.is_file(follow_symlinks=False):
                with suppress(FileNotFoundError):  # a delivery that was refused halfway
                    if copied:
                        write_copy(place, target / entry.name)
                    else:
                        os.link(place, target / entry.name, follow_symlinks=False)


def write_copy(source: Path, target: Path) -> None:
    """Copy a small file; its time stays, so that it is known by it."""
    content = read_bounded(source, COPIED_BYTES)
    found = source.lstat()
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | SAFELY, 0o640), "wb") as stream:
        stream.write(content)
    os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))


def _unfinished(name: str) -> bool:
    return name.startswith((".", "reading-")) or name.endswith(".lock") or name == "writing"


def make_empty(folder: Path) -> Path:
    """A folder of this account's with nothing in it."""
    remove(folder)  # a crash left it
    folder.mkdir(mode=0o750, parents=True)
    return folder


def remove(folder: Path) -> None:
    """Remove a folder, or what somebody put in its place."""
    if kind_of(folder) == "a directory":
        shutil.rmtree(folder)
    else:
        folder.unlink(missing_ok=True)


def unstage(layout: Layout) -> None:
    """Empty work/backup again: what is linked there is not freed when a month is replaced."""
    remove(layout.work / "backup")


def save(layout: Layout, keep: Keep) -> dict[str, Any]:
    """Save what is in work/backup. Returns and raises as `backup` does."""
    layout.backups.mkdir(mode=0o750, exist_ok=True)
    failure = layout.backups / "failure.json"
    with _failure_kept(failure):
        outcome = _saved(layout, keep)
        write_durably(layout.backups / "last.json", json.dumps(outcome).encode())
    return outcome


@contextmanager
def _failure_kept(file: Path) -> Iterator[None]:
    """Remember a failure until there is none."""
    try:
        yield
    except (SpeedtestError, OSError) as error:
        said = {"at": utc_text(time.time()), "message": str(error)}
        with suppress(OSError):  # it is said all the same
            write_durably(file, json.dumps(said).encode())
        raise
    file.unlink(missing_ok=True)


def _saved(layout: Layout, keep: Keep) -> dict[str, Any]:
    began = time.monotonic()
    folder = layout.work / "backup"
    accounts.owner_of(layout.work)
    accounts.owner_of(folder)
    initialise()
    said = restic("backup", "--json", "--tag", TAG, "--host", TAG, ".", cwd=folder)
    summary = json.loads(said.strip().splitlines()[-1])
    tags = [TAG, *_save_dumps(layout)]
    times = [word for name, count in vars(keep).items() for word in (f"--keep-{name}", str(count))]
    for tag in tags:
        restic("forget", "--quiet", "--prune", "--host", TAG, "--tag", tag, *times)
    restic("check", "--quiet")
    return {
        "at": utc_text(time.time()),
        "snapshot": summary["snapshot_id"],
        "files": summary["total_files_processed"],
        "bytes": summary["total_bytes_processed"],
        "added_bytes": summary["data_added"],
        "manifest_line": manifest.head(Layout(folder))[0],
        "seconds": round(time.monotonic() - began, 1),
    }


def _save_dumps(layout: Layout) -> list[str]:
    """Save the dumps of the database that follows the archive, where there are some; returns the tag that they got."""
    folder = layout.database / "dumps"
    if kind_of(folder) is None or not any(folder.glob("*.dump")):
        return []
    accounts.owner_of(folder)
    restic("backup", "--quiet", "--tag", DUMPS_TAG, "--host", TAG, ".", cwd=folder)
    return [DUMPS_TAG]


def last(layout: Layout) -> dict[str, Any]:
    """The last backup, and its failure where one failed since: {"at": …, "failure": {"at": …, "message": …}}."""
    found: dict[str, Any] = {}
    failures = [_read(layout.backups / "failure.json"), _read(layout.state / "backup-failure.json")]
    found.update(_read(layout.backups / "last.json") or _read(layout.state / "backup.json"))  # of a version before
    found["failure"] = max(failures, key=lambda failure: str(failure.get("at", "")))
    return found


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_bounded(file))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
