"""backup and restore with restic, a program of its own (Debian package `restic`).

restic's own variables say where to and with which password: RESTIC_REPOSITORY, RESTIC_PASSWORD_FILE, AWS_… and so on
(restic.readthedocs.io). What is saved is one moment of the archive: months and inbox are linked under the writer's
lock, so every receipted record is in the one or the other, and the manifest fits the months. Then changes go on while
restic works.

Two accounts share the work: who owns the archive links that moment into work/backup, and takes in what comes back; who
owns <root>/backups holds repository and password, reads that folder, and hands out what is to come back. Neither can do
what the other can: the account that nodes log into cannot delete a backup.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from speedtest_logger import accounts, env_file
from speedtest_logger.accounts import Owner
from speedtest_logger.archive.care import repository, steps
from speedtest_logger.archive.format.layout import MONTH_FILE, Layout, month_of
from speedtest_logger.errors import SpeedtestError, StorageError, UsageError
from speedtest_logger.files import SAFELY, kind_of, read_bounded, write_durably
from speedtest_logger.record import utc_text

TAG = "speedtest-archive"
DUMPS_TAG = "speedtest-database"  # of snapshots that hold the database's dumps, and nothing of the archive
ENV_FILE = Path("/etc/speedtest-archive/backup.env")
REPOSITORY = "RESTIC_REPOSITORY"
UNREAD = "restic dump: its end was not read"
NOT_INSTALLED = "restic is not installed: apt install restic"
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
    from speedtest_logger.archive.write import store

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
    from speedtest_logger.archive.ledger import manifest

    began = time.monotonic()
    folder = layout.work / "backup"
    accounts.owner_of(layout.work)
    accounts.owner_of(folder)
    _initialise()
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


def restore(layout: Layout, snapshot: str = "latest") -> dict[str, Any]:
    """Bring a snapshot into an archive without months and prove it by its manifest; returns what came.

    What nodes delivered before or meanwhile stays in the inbox.

    Raises UsageError where the archive is not empty, StorageError where restic fails or the manifest does not fit.
    """
    owner = accounts.owner_of(layout.archive)
    steps.run(owner, lambda: _begin(layout))
    found = steps.run(saver_of(layout), lambda: find(snapshot), as_root=take_credentials)
    bring(layout, ["--archive", "tar", found["id"], "/"], lambda stream: _unpack(layout, stream))
    return {"snapshot": found["short_id"], "of": found["time"], **steps.run(owner, lambda: _finish(layout))}


def _begin(layout: Layout) -> None:
    folder = layout.work / "restore"  # it is there where a restore was interrupted: then this one goes on
    if not kind_of(folder) and layout.month_files():
        raise UsageError(
            f"{layout.archive} holds records: nothing was changed. To keep both, export them (speedtest-archive "
            "export --format parquet FILE), remove archive/ and manifest/, restore, then import FILE"
        )
    layout.prepare()
    make_empty(folder)


def _unpack(layout: Layout, stream: BinaryIO) -> None:
    from speedtest_logger.archive.care.unpack import unpack

    unpack(stream, layout.work / "restore", (*LINKED, *COPIED, "fleet"))


def _finish(layout: Layout) -> dict[str, Any]:
    from speedtest_logger.archive.care import verify
    from speedtest_logger.archive.ledger import index, manifest

    folder = layout.work / "restore"
    _take_place(folder, layout)
    shutil.rmtree(folder)
    index.rebuild(layout)
    findings = verify.verify(layout)
    if findings:
        raise StorageError(f"what was restored is not as its manifest says: {findings[0].file}: {findings[0].problem}")
    return {
        "months": len(layout.month_files()),
        "rows": sum(state.rows for state in manifest.state(layout).values()),
        "inbox_files": sum(1 for _ in layout.inbox.glob("*/*.jsonl")),
    }


def _take_place(source: Path, layout: Layout) -> None:
    """Move what came to where it belongs, file by file: what was delivered meanwhile stays."""
    for name in (*LINKED, *COPIED):
        for file in sorted((source / name).rglob("*")):
            target = layout.root / file.relative_to(source)
            if file.is_dir():
                target.mkdir(mode=0o750, parents=True, exist_ok=True)
            else:
                os.replace(file, target)
    schedule = source / "fleet" / SCHEDULE
    if schedule.exists():  # fleet/ is root's: site.yml takes it over from here
        os.replace(schedule, layout.state / f"restored-{SCHEDULE}")


def restore_month(layout: Layout, name: str, snapshot: str = "latest") -> dict[str, Any]:
    """Put a month back as it was in a backup; returns how many rows it has, and the days that are not as they were.

    What lies there is kept in the quarantine; rows that only it has, where it can be read, are taken over. Raises
    UsageError where nothing differs or the snapshot has no such file, StorageError where restic fails.
    """
    month_checked(name)
    owner, folder = accounts.owner_of(layout.archive), layout.work / "restore-month"
    found = steps.run(saver_of(layout), lambda: find(snapshot), as_root=take_credentials)
    steps.run(owner, lambda: str(make_empty(folder)))
    try:
        try:
            bring(layout, [found["id"], f"/archive/{name}"], lambda stream: _keep(stream, folder / MONTH_FILE))
        except UsageError as error:
            raise UsageError(
                f"snapshot {found['short_id']} of {found['time']} has no {name}: choose another, --snapshot"
            ) from error
        came = steps.run(owner, lambda: _put_back(layout, name))
    finally:
        steps.run(owner, lambda: remove(folder))
    return {"snapshot": found["short_id"], "of": found["time"], **came}


def month_checked(name: str) -> None:
    """Raise UsageError for what is no month's name."""
    try:
        month_of(name)
    except ValueError as error:
        raise UsageError(f"{error}: they look like location=home/year=2026/month=01/{MONTH_FILE}") from error


def _keep(stream: BinaryIO, file: Path) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | SAFELY, 0o640), "wb") as target:
        shutil.copyfileobj(stream, target, 1 << 20)


def _put_back(layout: Layout, name: str) -> dict[str, Any]:
    from speedtest_logger.archive.care import repair
    from speedtest_logger.archive.write import store

    with store.single_writer(layout, "restore", wait=300):
        return repair.put_back(layout, name, layout.work / "restore-month" / MONTH_FILE)


class _UnreadError(StorageError):
    """Who should read what restic dumps does not any more."""


def bring(layout: Layout, what: list[str], receive: Callable[[BinaryIO], None]) -> None:
    """Have restic dump something into a stream that `receive` reads as the archive's owner.

    Raises StorageError, UsageError where the snapshot has no such file.
    """
    owner = accounts.owner_of(layout.archive)
    reading, writing = os.pipe()
    if not accounts.is_another(owner):
        with os.fdopen(reading, "rb") as stream, _dumping(writing, what):
            receive(stream)
        return
    receiver = steps.start(owner, lambda: _receive(reading, writing, receive))
    dumper = steps.start(saver_of(layout), lambda: _dump(reading, writing, what), as_root=take_credentials)
    os.close(reading)
    os.close(writing)
    try:
        dumper.result()
    except BrokenPipeError as error:
        receiver.result()  # who reads no more says why
        raise StorageError(UNREAD) from error
    except SpeedtestError:
        with suppress(SpeedtestError):  # what came was torn, for restic failed
            receiver.result()
        raise
    receiver.result()


def _receive(reading: int, writing: int, receive: Callable[[BinaryIO], None]) -> None:
    os.close(writing)  # or the stream would never end
    with os.fdopen(reading, "rb") as stream:
        receive(stream)


def _dump(reading: int, writing: int, what: list[str]) -> None:
    os.close(reading)  # or nobody would hear that the reader is gone
    try:
        with _dumping(writing, what):
            pass
    except _UnreadError as error:
        raise BrokenPipeError from error  # as the step is told


@contextmanager
def _dumping(writing: int, what: list[str]) -> Iterator[None]:
    """Restic at work, and how it ended."""
    command = ["dump", *what]
    try:
        process = subprocess.Popen(
            _command(*command), stdin=subprocess.DEVNULL, stdout=writing, stderr=subprocess.PIPE, env=credentials()
        )
    except FileNotFoundError as error:
        raise UsageError(NOT_INSTALLED) from error
    finally:
        os.close(writing)
    try:
        yield
    finally:
        said = process.communicate()[1].decode(errors="replace").strip()[-600:]
    if process.returncode == -signal.SIGPIPE:
        raise _UnreadError(UNREAD)
    if process.returncode != 0:
        raise UsageError(said) if "not found in snapshot" in said else StorageError(f"restic dump: {said}")


def find(snapshot: str) -> dict[str, Any]:
    """A snapshot's `id`, `short_id` and `time`, as restic says them. Raises UsageError where there is none."""
    said = restic("snapshots", "--json", "--host", TAG, "--tag", TAG, "--", snapshot)
    found: list[dict[str, Any]] = json.loads(said)
    if not found:
        raise UsageError(f"the repository has no snapshot '{snapshot}' of an archive")
    return found[-1]


def _initialise() -> None:
    """Make the repository where there is none yet."""
    try:
        restic("cat", "config")
    except StorageError as error:
        if "config" not in str(error):
            raise
        restic("init")


def restic(*words: str, cwd: Path | None = None) -> str:
    """Run restic; returns what it printed. Raises UsageError where it is missing, StorageError with its words."""
    try:
        done = subprocess.run(
            _command(*words),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            env=credentials(),
        )
    except FileNotFoundError as error:
        raise UsageError(NOT_INSTALLED) from error
    if done.returncode != 0:
        raise StorageError(f"restic {words[0]}: {(done.stderr or done.stdout).strip()[-600:]}")
    return done.stdout


def _command(*words: str) -> list[str]:
    environment = credentials()
    if not environment.get(REPOSITORY):
        raise UsageError("RESTIC_REPOSITORY is not set: a directory, sftp:user@host:/path or s3:https://host/bucket")
    repository.check(environment)
    given = shlex.split(environment.get("SPEEDTEST_RESTIC_OPTIONS", ""))
    return ["restic", *(word for option in given for word in ("-o", option)), *words]


def take_credentials() -> None:
    """Where root started this by hand, have what the unit would have from its file, before root's rights are gone."""
    os.environ.update(credentials())


def credentials() -> dict[str, str]:
    """The environment, and for root, below it, what the unit has from its file."""
    if os.geteuid() != 0 or REPOSITORY in os.environ or not kind_of(ENV_FILE):
        return dict(os.environ)
    return {**env_file.read(ENV_FILE), **os.environ}
