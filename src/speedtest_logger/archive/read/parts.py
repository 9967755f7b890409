"""How the archive itself is, part by part: each with a sentence."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speedtest_logger.archive.arrive import aside
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.files import read_bounded
from speedtest_logger.record import unix_time

INGEST_LATE = 180  # s
BACKUP_LATE = 36 * 3600
STORE_LATE = 26 * 3600  # its calendar may name an hour of the day
DISK_FULL = 0.05  # of a disk that is free at least


@dataclass(frozen=True)
class Part:
    """A part of the system and whether it is well, with a sentence and since when."""

    name: str
    ok: bool
    sentence: str
    since: int | None = None
    figures: dict[str, Any] = field(default_factory=dict)


def _read(file: Path) -> dict[str, Any]:
    """A small file of the archive's; empty where there is none, or none that makes sense."""
    try:
        content = json.loads(read_bounded(file))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _time(value: object) -> int | None:
    try:
        return int(unix_time(str(value)))
    except ValueError:
        return None


def ingest(layout: Layout, now: float, *, expected: bool) -> Iterator[Part]:
    """Whether receipted records reach the Parquet files; `expected`: somebody delivers."""
    state = _read(layout.state / "ingest.json")
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
    for folder in _folders(layout.inbox):
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(".jsonl"):
                    files += 1
                    oldest = min(oldest, entry.stat(follow_symlinks=False).st_mtime)
    waits = now - oldest
    ok = waits < INGEST_LATE + 60
    sentence = f"{files:,} deliveries wait for ingest" if files else "empty"
    yield Part("inbox", ok=ok, sentence=sentence, since=int(oldest) if files else None, figures={"deliveries": files})


def _folders(place: Path) -> list[Path]:
    return [folder for folder in place.iterdir() if folder.is_dir()] if place.is_dir() else []


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
    last, failure = (_read(layout.backups / f"{name}.json") for name in ("last", "failure"))
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


def store(layout: Layout, now: float, oldest: float = STORE_LATE) -> Iterator[Part]:
    """Whether the object store has what the archive does, where the inventory names one; `oldest` in s."""
    if not layout.store.is_dir():
        return
    state = _read(layout.store / "state.json")
    publish, maintain = (_mapping(state, name) for name in ("publish", "maintain"))
    at, address = _time(publish.get("at")), state.get("address", "")
    figures = {"last": at} if at else {}
    for done, words in ((publish, f"cannot publish to {address}"), (maintain, f"cannot tidy {address} up")):
        if failing := _mapping(done, "failing"):
            sentence, since = f"{words}: {failing.get('why', '')}", _time(failing.get("since"))
            yield Part("store", ok=False, sentence=sentence, since=since, figures=figures)
            return
    late = at is None or now - at > oldest
    sentence = "nothing was published yet: see speedtest-publish.service" if at is None else f"published to {address}"
    if at and late:
        sentence = "publishing does not run: see speedtest-publish.timer"
    yield Part("store", ok=not late, sentence=sentence, since=at, figures=figures)


def _mapping(content: dict[str, Any], name: str) -> dict[str, Any]:
    """A part of a file's content; empty where it is none."""
    found = content.get(name)
    return found if isinstance(found, dict) else {}


def verify(layout: Layout) -> Iterator[Part]:
    """What the last verify found."""
    state = _read(layout.state / "verify.json")
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
