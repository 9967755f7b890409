"""backup and restore with restic, a program of its own (Debian package `restic`).

restic's own variables say where to and with which password: RESTIC_REPOSITORY, RESTIC_PASSWORD_FILE, AWS_… and so on
(restic.readthedocs.io). What is saved is one moment of the archive: months and inbox are linked under the writer's
lock, so every receipted record is in the one or the other, and the manifest fits the months. Then changes go on while
restic works.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speedtest_logger.archive import index, manifest, store, verify
from speedtest_logger.archive.layout import Layout
from speedtest_logger.errors import SpeedtestError, StorageError, UsageError
from speedtest_logger.record import utc_text
from speedtest_logger.spool import write_durably

TAG = "speedtest-archive"
LINKED = ("archive", "inbox", "raw", "raw-inbox", "quarantine")
COPIED = ("manifest", "state")


@dataclass(frozen=True)
class Keep:
    """How many snapshots stay."""

    daily: int = 7
    weekly: int = 5
    monthly: int = 24


def backup(layout: Layout, keep: Keep) -> dict[str, Any]:
    """Save one moment of the archive; returns the snapshot's id and what it holds, as state/backup.json has it then.

    Raises UsageError where restic or its repository is missing, StorageError with restic's own words; the failure is
    kept too, until a backup succeeds.
    """
    failure = layout.state / "backup-failure.json"
    try:
        outcome = _save(layout, keep)
    except SpeedtestError as error:
        write_durably(failure, json.dumps({"at": utc_text(time.time()), "message": str(error)}).encode())
        raise
    write_durably(layout.state / "backup.json", json.dumps(outcome).encode())
    failure.unlink(missing_ok=True)
    return outcome


def _save(layout: Layout, keep: Keep) -> dict[str, Any]:
    began = time.monotonic()
    _initialise()
    folder = stage(layout)
    try:
        said = restic("backup", "--json", "--tag", TAG, "--host", TAG, ".", cwd=folder)
        summary = json.loads(said.strip().splitlines()[-1])
        times = [word for name, count in vars(keep).items() for word in (f"--keep-{name}", str(count))]
        restic("forget", "--quiet", "--prune", "--host", TAG, "--tag", TAG, *times)
        restic("check", "--quiet")
    finally:
        shutil.rmtree(folder)
    return {
        "at": utc_text(time.time()),
        "snapshot": summary["snapshot_id"],
        "files": summary["total_files_processed"],
        "bytes": summary["total_bytes_processed"],
        "added_bytes": summary["data_added"],
        "manifest_line": manifest.head(layout)[0],
        "seconds": round(time.monotonic() - began, 1),
    }


def last(layout: Layout) -> dict[str, Any]:
    """The last backup, and its failure where one failed since: {"at": …, "failure": {"at": …, "message": …}}."""
    found: dict[str, Any] = {}
    for name, into in (("backup", found), ("backup-failure", found.setdefault("failure", {}))):
        with suppress(FileNotFoundError, ValueError):
            into.update(json.loads((layout.state / f"{name}.json").read_text(encoding="utf-8")))
    return found


def stage(layout: Layout) -> Path:
    """One moment of the archive as links and copies in a folder of its own."""
    folder = layout.root / "backup"
    with store.single_writer(layout, "backup", wait=300):
        make_empty(folder)
        for name in LINKED:
            shutil.copytree(layout.root / name, folder / name, copy_function=_link, ignore=_unfinished)
        for name in COPIED:  # the manifest is added to in place: a link would go on changing
            shutil.copytree(layout.root / name, folder / name, ignore=_unfinished)
    return folder


def make_empty(folder: Path) -> None:
    """A folder of the owner's with nothing in it."""
    if folder.exists():  # a crash left it
        shutil.rmtree(folder)
    folder.mkdir(mode=0o700)


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except FileNotFoundError:  # a delivery that was refused halfway
        return target
    return target


def _unfinished(_: str, names: list[str]) -> list[str]:
    return [name for name in names if name.startswith((".", "reading-")) or name.endswith(".lock") or name == "writing"]


def restore(layout: Layout, snapshot: str = "latest") -> dict[str, Any]:
    """Bring a snapshot into an archive without months and prove it by its manifest; returns what came.

    What nodes delivered before or meanwhile stays in the inbox.

    Raises UsageError where the archive is not empty, StorageError where restic fails or the manifest does not fit.
    """
    folder = layout.root / "restore"  # it is there where a restore was interrupted: then this one goes on
    if not folder.exists() and layout.month_files():
        raise UsageError(
            f"{layout.archive} holds records: nothing was changed. To have both, export them (speedtest-archive "
            "export --format parquet FILE), remove archive/ and manifest/, restore, then import FILE"
        )
    found = find(snapshot)
    layout.prepare()
    make_empty(folder)
    restic("restore", "--quiet", found["id"], "--target", str(folder))
    _take_place(folder, layout)
    shutil.rmtree(folder)
    index.rebuild(layout)
    findings = verify.verify(layout)
    if findings:
        raise StorageError(f"what was restored is not as its manifest says: {findings[0].file}: {findings[0].problem}")
    return {
        "snapshot": found["short_id"],
        "of": found["time"],
        "months": len(layout.month_files()),
        "rows": sum(state.rows for state in manifest.state(layout).values()),
        "inbox_files": sum(1 for _ in layout.inbox.glob("*/*.jsonl")),
    }


def find(snapshot: str) -> dict[str, Any]:
    """A snapshot's `id`, `short_id` and `time`, as restic says them. Raises UsageError where there is none."""
    found: list[dict[str, Any]] = json.loads(restic("snapshots", "--json", "--host", TAG, "--tag", TAG, snapshot))
    if not found:
        raise UsageError(f"the repository has no snapshot '{snapshot}' of an archive")
    return found[-1]


def _take_place(source: Path, layout: Layout) -> None:
    """Move what came to where it belongs, file by file: what was delivered meanwhile stays."""
    for name in (*LINKED, *COPIED):
        for file in sorted((source / name).rglob("*")):
            target = layout.root / file.relative_to(source)
            if file.is_dir():
                target.mkdir(mode=0o750, parents=True, exist_ok=True)
            else:
                os.replace(file, target)


def _initialise() -> None:
    """Make the repository where there is none yet."""
    if not os.environ.get("RESTIC_REPOSITORY"):
        raise UsageError("RESTIC_REPOSITORY is not set: a directory, sftp:user@host:/path or s3:https://host/bucket")
    try:
        restic("cat", "config")
    except StorageError as error:
        if "config" not in str(error):
            raise
        restic("init")


def restic(*words: str, cwd: Path | None = None) -> str:
    """Run restic; returns what it printed. Raises UsageError where it is missing, StorageError with its words."""
    given = shlex.split(os.environ.get("SPEEDTEST_RESTIC_OPTIONS", ""))
    options = [word for option in given for word in ("-o", option)]
    try:
        done = subprocess.run(
            ["restic", *options, *words], cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise UsageError("restic is not installed: apt install restic") from error
    if done.returncode != 0:
        raise StorageError(f"restic {words[0]}: {(done.stderr or done.stdout).strip()[-600:]}")
    return done.stdout
