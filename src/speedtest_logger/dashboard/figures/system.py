"""How the archive itself is: each part with a sentence, what is wrong first."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb

from speedtest_logger import registry
from speedtest_logger.archive.arrive import aside
from speedtest_logger.dashboard.figures.source import Source
from speedtest_logger.dashboard.figures.types import Part
from speedtest_logger.errors import SpeedtestError
from speedtest_logger.files import read_bounded
from speedtest_logger.record import unix_time

INGEST_LATE = 180  # s
BACKUP_LATE = 36 * 3600
DISK_FULL = 0.05  # of a disk that is free at least


def parts(source: Source, now: float) -> list[Part]:
    """All parts; those that are not well first."""
    asked: dict[str, Callable[[], Iterator[Part]]] = {
        "archive": lambda: _archive(source),
        "registry": lambda: _registry(source),
        "ingest": lambda: _ingest(source, now),
        "inbox": lambda: _inbox(source, now),
        "quarantine": lambda: _quarantine(source),
        "backup": lambda: _backup(source, now),
        "verify": lambda: _verify(source),
        "disk": lambda: _disk(source),
    }
    return sorted((part for name, ask in asked.items() for part in _told(source, name, ask)), key=lambda part: part.ok)


def _told(source: Source, name: str, ask: Callable[[], Iterator[Part]]) -> list[Part]:
    """What is known of a part; that it cannot be looked at is an answer too."""
    try:
        return list(ask())
    except duckdb.Error as error:
        sentence = source.broken or str(error).partition("\n")[0]
        return [Part("rollups", ok=False, sentence=f"{sentence}: they are made again as soon as that can be")]
    except OSError as error:
        return [Part(name, ok=False, sentence=f"{error.filename or name}: {error.strerror or error}")]
    except SpeedtestError as error:
        return [Part(name, ok=False, sentence=str(error))]


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


def _archive(source: Source) -> Iterator[Part]:
    for folder in (source.layout.archive, source.layout.manifest, source.layout.state):
        os.scandir(folder).close()
    source.rollups.refresh()
    ((records,),) = source.rollups.reading().execute("SELECT count(*) FROM slot").fetchall()
    of_recent, of_all = "SELECT epoch_ms(max(started_at)) FROM recent", "SELECT max(started) FROM slot"
    last = next(
        (at for sql in (of_recent, of_all) for (at,) in source.rollups.reading().execute(sql).fetchall() if at), 0
    )
    figures = {"records": records, "last_record": last // 1000 if last else None}
    yield Part("archive", ok=True, sentence=f"{records:,} records", figures=figures)


def _registry(source: Source) -> Iterator[Part]:
    nodes = len(source.known().current)
    there = any(os.path.lexists(source.layout.root / place) for place in registry.PLACES)
    if not there and (nodes or any(source.layout.state.glob("nodes/*.json"))):  # only Ansible's nodes deliver
        sentence = f"{registry.PLACES[0]} is missing, so nobody knows which tests are due: run site.yml"
        yield Part("registry", ok=False, sentence=sentence)
    elif nodes:
        yield Part("registry", ok=True, sentence=f"{nodes:,} nodes have a schedule")


def _ingest(source: Source, now: float) -> Iterator[Part]:
    state = _read(source.layout.state / "ingest.json")
    at = _time(state.get("at"))
    damaged = state.get("damaged") or []
    if at is None:
        yield Part("ingest", ok=not source.schedules(), sentence="nothing was ingested yet")
    elif now - at > INGEST_LATE and source.schedules():
        yield Part("ingest", ok=False, sentence="does not run: see speedtest-ingest.service", since=at)
    else:
        sentence = f"cannot write to {'; '.join(map(str, damaged))}" if damaged else "runs"
        yield Part("ingest", ok=not damaged, sentence=sentence, since=at)


def _inbox(source: Source, now: float) -> Iterator[Part]:
    files, oldest = 0, now
    for folder in _folders(source.layout.inbox):
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


def _quarantine(source: Source) -> Iterator[Part]:
    try:
        found = aside.problems(source.layout)
    except PermissionError:
        return  # it is the archive's own business: its command line says it
    yield Part("quarantine", ok=not found, sentence="; ".join(found) or "empty", figures={"problems": len(found)})


def _backup(source: Source, now: float) -> Iterator[Part]:
    if not source.layout.backups.is_dir():
        yield Part("backup", ok=True, sentence="none is made: the inventory names no repository")
        return
    last, failure = (_read(source.layout.backups / f"{name}.json") for name in ("last", "failure"))
    at, failed = _time(last.get("at")), _time(failure.get("at"))
    if failed and (at is None or failed > at):
        yield Part("backup", ok=False, sentence=f"the last one failed: {failure.get('message', '')}", since=failed)
    elif at is None:
        yield Part("backup", ok=False, sentence="none was made yet")
    else:
        late = now - at > BACKUP_LATE
        yield Part("backup", ok=not late, sentence="the last one is too old" if late else "made", since=at)


def _verify(source: Source) -> Iterator[Part]:
    state = _read(source.layout.state / "verify.json")
    at, count = _time(state.get("at")), state.get("count", 0)
    if at is None:
        yield Part("verify", ok=True, sentence="nobody has run it yet: speedtest-archive verify")
    else:
        sentence = f"{count} findings: speedtest-archive verify names them" if count else "all is as it was left"
        yield Part("verify", ok=not count, sentence=sentence, since=at, figures={"findings": count})


def _disk(source: Source) -> Iterator[Part]:
    try:
        found = shutil.disk_usage(source.layout.root)
    except OSError as error:
        yield Part("disk", ok=False, sentence=str(error))
        return
    figures = {"free_bytes": found.free, "total_bytes": found.total}
    share = found.free / found.total
    yield Part("disk", ok=share > DISK_FULL, sentence=f"{share:.0%} of it is free", figures=figures)
