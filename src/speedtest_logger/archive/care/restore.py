"""restore: a snapshot of the archive, or one month of it, brought back and proved.

Who has the repository hands out what restic reads from it, as a stream; who owns the archive takes it in.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from speedtest_logger import accounts
from speedtest_logger.archive.care import repair, steps, verify
from speedtest_logger.archive.care.backup import COPIED, LINKED, SCHEDULE, make_empty, remove, saver_of
from speedtest_logger.archive.care.repository import UNREAD, UnreadError, dumping, find, take_credentials
from speedtest_logger.archive.care.unpack import unpack
from speedtest_logger.archive.format.layout import MONTH_FILE, Layout
from speedtest_logger.archive.ledger import index, manifest
from speedtest_logger.archive.write import store
from speedtest_logger.errors import SpeedtestError, StorageError, UsageError
from speedtest_logger.files import SAFELY, kind_of


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
    unpack(stream, layout.work / "restore", (*LINKED, *COPIED, "fleet"))


def _finish(layout: Layout) -> dict[str, Any]:
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
    repair.month_checked(name)
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


def _keep(stream: BinaryIO, file: Path) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | SAFELY, 0o640), "wb") as target:
        shutil.copyfileobj(stream, target, 1 << 20)


def _put_back(layout: Layout, name: str) -> dict[str, Any]:
    with store.single_writer(layout, "restore", wait=300):
        return repair.put_back(layout, name, layout.work / "restore-month" / MONTH_FILE)


def bring(layout: Layout, what: list[str], receive: Callable[[BinaryIO], None]) -> None:
    """Have restic dump something into a stream that `receive` reads as the archive's owner.

    Raises StorageError, UsageError where the snapshot has no such file.
    """
    owner = accounts.owner_of(layout.archive)
    reading, writing = os.pipe()
    if not accounts.is_another(owner):
        with os.fdopen(reading, "rb") as stream, dumping(writing, what):
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
        with dumping(writing, what):
            pass
    except UnreadError as error:
        raise BrokenPipeError from error  # as the step is told
