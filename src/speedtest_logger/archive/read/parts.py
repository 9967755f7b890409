"""How the archive itself is, part by part: each with a sentence."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speedtest_logger.archive.arrive import aside
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.read import followed
from speedtest_logger.record import unix_time

INGEST_LATE = 180  # s
BACKUP_LATE = 36 * 3600
FOLLOWER_LATE = 26 * 3600  # its calendar may name an hour of the day
DISK_FULL = 0.05  # of a disk that is free at least


@dataclass(frozen=True)
class Part:
    """A part of the system and whether it is well, with a sentence and since when."""

    name: str
    ok: bool
    sentence: str
    since: int | None = None
    figures: dict[str, Any] = field(default_factory=dict)


def _time(value: object) -> int | None:
    try:
        return int(unix_time(str(value)))
    except ValueError:
        return None


def ingest(layout: Layout, now: float, *, expected: bool) -> Iterator[Part]:
    """Whether receipted records reach the Parquet files; `expected`: somebody delivers."""
    state = followed.read(layout.state / "ingest.json")
    at = _time(state.get("at"))
    damaged = state.get("damaged") or []
    if at is None:
        yield Part("ingest", ok=not expected, sentence="nothing was ingested yet")
    elif now - at > INGEST_LATE and expected:
        yield Part("ingest", ok=False, sentence="does not run: see speedtest-ingest.service", since=at)
    else:
        sentence = f"cannot write to {'; '.join(map(str, damaged))}" if damaged else "runs"
        yield Part("ingest", ok=not damaged, sentence=sentence, since=at)


def inbox(layout: Layout, now: float) -> Iterator[Part]:
    """Whether deliveries wait for ingest too long."""
    files, oldest = 0, now
    for folder in _folders(layout.inbox):  # one for each node: thousands
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(".jsonl"):
                    files += 1
                    oldest = min(oldest, entry.stat(follow_symlinks=False).st_mtime)
    waits = now - oldest
    ok = waits < INGEST_LATE + 60
    sentence = f"{files:,} {'delivery waits' if files == 1 else 'deliveries wait'} for ingest" if files else "empty"
    yield Part("inbox", ok=ok, sentence=sentence, since=int(oldest) if files else None, figures={"deliveries": files})


def _folders(place: Path) -> list[str]:
    if not place.is_dir():
        return []
    with os.scandir(place) as entries:
        return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]


def quarantine(layout: Layout) -> Iterator[Part]:
    """Whether something lies in the quarantine that a person should look at."""
    try:
        found = aside.problems(layout)
    except PermissionError:
        return  # it is the archive's own business: its command line says it
    yield Part("quarantine", ok=not found, sentence="; ".join(found) or "empty", figures={"problems": len(found)})


def backup(layout: Layout, now: float, oldest: float = BACKUP_LATE) -> Iterator[Part]:
    """Whether there is a backup that is young enough (`oldest` in s), where any is made."""
    if not layout.backups.is_dir():
        yield Part("backup", ok=True, sentence="none is made: the inventory names no repository")
        return
    last, failure = (followed.read(layout.backups / f"{name}.json") for name in ("last", "failure"))
    at, failed = _time(last.get("at")), _time(failure.get("at"))
    figures = {"last": at} if at else {}
    if failed and (at is None or failed > at):
        sentence = f"the last one failed: {failure.get('message', '')}"
        yield Part("backup", ok=False, sentence=sentence, since=failed, figures=figures)
    elif at is None:
        yield Part("backup", ok=False, sentence="none was made yet")
    else:
        late = now - at > oldest
        sentence = "the last one is too old" if late else "made"
        yield Part("backup", ok=not late, sentence=sentence, since=at, figures=figures)


def database(layout: Layout, now: float, oldest: float = FOLLOWER_LATE) -> Iterator[Part]:
    """Whether the database follows the archive, where the inventory has one; `oldest` in s."""
    if layout.database.is_dir():
        sync, dump = (followed.read(layout.database / name) for name in (followed.SYNC, followed.DUMP))
        failing = ((sync, "it does not follow the archive"), (dump, "it cannot be dumped"))
        yield _follower("database", "database", sync, failing, "it follows the archive", now - oldest)


def store(layout: Layout, now: float, oldest: float = FOLLOWER_LATE) -> Iterator[Part]:
    """Whether the object store has what the archive does, where the inventory names one; `oldest` in s."""
    if layout.store.is_dir():
        publish, maintain = (followed.read(layout.store / name) for name in (followed.PUBLISH, followed.MAINTAIN))
        address = publish.get("address", "")
        failing = ((publish, f"cannot publish to {address}"), (maintain, f"cannot tidy {address} up"))
        yield _follower("store", "publish", publish, failing, f"published to {address}", now - oldest)


def _follower(
    name: str,
    unit: str,
    last: dict[str, Any],
    failing: Iterable[tuple[dict[str, Any], str]],
    well: str,
    oldest: float,
) -> Part:
    """How a place that follows the archive is, by what its jobs left; `oldest`: Unix time of a last one that counts."""
    at = _time(last.get("at"))
    figures = {"last": at} if at else {}
    for job, words in failing:
        if since := job.get("failing_since"):
            return Part(name, ok=False, sentence=f"{words}: {job.get('why', '')}", since=_time(since), figures=figures)
    if at is None:
        return Part(name, ok=False, sentence=f"it has nothing yet: see speedtest-{unit}.service")
    if at < oldest:
        sentence = f"nothing is carried there any more: see speedtest-{unit}.timer"
        return Part(name, ok=False, sentence=sentence, since=at, figures=figures)
    return Part(name, ok=True, sentence=well, since=at, figures=figures)


def verify(layout: Layout) -> Iterator[Part]:
    """What the last verify found."""
    state = followed.read(layout.state / "verify.json")
    at, count = _time(state.get("at")), state.get("count", 0)
    if at is None:
        yield Part("verify", ok=True, sentence="nobody has run it yet: speedtest-archive verify")
    else:
        sentence = f"{count} findings: speedtest-archive verify names them" if count else "all is as it was left"
        yield Part("verify", ok=not count, sentence=sentence, since=at, figures={"findings": count})


def disk(layout: Layout) -> Iterator[Part]:
    """How much of the archive's disk is free."""
    try:
        found = shutil.disk_usage(layout.root)
    except OSError as error:
        yield Part("disk", ok=False, sentence=str(error))
        return
    figures = {"free_bytes": found.free, "total_bytes": found.total}
    share = found.free / found.total
    yield Part("disk", ok=share > DISK_FULL, sentence=f"{share:.0%} of it is free", figures=figures)
