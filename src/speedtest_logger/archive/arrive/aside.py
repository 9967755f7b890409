"""What ingest could not take in lies in quarantine/<node>/, until a person looks or it is too old.

    <ulid>.different_record.jsonl   a line per record whose run is in the dataset with another content, and in what
    <file>, <file>.reason           a delivery at which ingest failed again and again
    overflow.json                   what was no more kept, for the node had too much there: how often, since when

What was looked at is removed by hand; `problems` speaks of what is there.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from speedtest_logger.archive.format.layout import Layout, ulid
from speedtest_logger.files import read_bounded, sync_directory, write_durably
from speedtest_logger.record import utc_text

DIFFERENT = "different_record"
RAW_LIMIT = "raw_limit"
OVERFLOW = "overflow.json"
REASON = ".reason"
WORDS = {
    DIFFERENT: "records that differ from the stored record of their run were not kept",
    RAW_LIMIT: "runs' raw output was not kept: beyond the limits raw_day_mb or raw_mb",
}


@dataclass(frozen=True)
class Different:
    """A record whose run is there with another content.

    `words` is the SHA-256 of its own raw output, where that is not the stored record's too.
    """

    node: str
    run_id: str
    message: str
    row: dict[str, Any]
    words: str | None = None


@dataclass
class Aside:
    """What lies in a node's quarantine: different records, failed deliveries, and what was only counted."""

    different: int = 0
    latest: str | None = None
    failed: int = 0
    counted: dict[str, dict[str, Any]] | None = None


def keep(layout: Layout, records: list[Different], most_bytes: int) -> None:
    """Keep different records, each once; beyond so many bytes of a node they are only counted. Durable afterwards."""
    for node, found in groupby(sorted(records, key=lambda record: record.node), key=lambda record: record.node):
        _keep(layout.quarantine / node, list(found), most_bytes)


def _keep(folder: Path, records: list[Different], most_bytes: int) -> None:
    folder.mkdir(mode=0o750, exist_ok=True)
    known = {entry["sha256"] for entry in _entries(folder)}
    room = most_bytes - sum(_disk_bytes(file) for file in folder.iterdir())
    lines, over = [], 0
    for record in records:
        text = json.dumps(record.row, ensure_ascii=False, separators=(",", ":"))
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        if sha256 in known:  # the same delivery again, or a crash before its file was removed
            continue
        known.add(sha256)
        entry = {"at": utc_text(time.time()), "reason": DIFFERENT, "message": record.message, "sha256": sha256}
        line = json.dumps({**entry, "run_id": record.run_id, "line": text}, ensure_ascii=False) + "\n"
        room -= len(line.encode())
        if room >= 0:
            lines.append(line)
        else:
            over += 1
    if lines:
        write_durably(folder / f"{ulid()}.{DIFFERENT}.jsonl", "".join(lines).encode())
        sync_directory(folder.parent)
    if over:
        count(folder, DIFFERENT, over)


def count(folder: Path, reason: str, times: int) -> None:
    """Count what is not kept of a node."""
    folder.mkdir(mode=0o750, exist_ok=True)
    counted, now = _counted(folder), utc_text(time.time())
    before = counted.get(reason, {"count": 0, "since": now})
    counted[reason] = {**before, "count": before["count"] + times, "last": now}
    write_durably(folder / OVERFLOW, json.dumps(counted).encode())


def set_aside(layout: Layout, file: Path, why: str, most_bytes: int) -> bool:
    """Move a delivery at which ingest fails out of its way, with the reason; False where the node has too much there.

    Then it stays, is not read, and counts as waiting: its node can deliver no more, and keeps what it has.
    """
    folder = layout.quarantine / file.parent.name
    folder.mkdir(mode=0o750, exist_ok=True)
    lying = sum(_disk_bytes(found.with_name(found.name.removesuffix(REASON))) for found in folder.glob(f"*{REASON}"))
    if lying + _disk_bytes(file) > most_bytes:
        return False
    target = folder / f"{file.parent.parent.name}-{file.name}"
    reason = f"{utc_text(time.time())} {file.relative_to(layout.root)}: {why}\n"
    write_durably(target.with_name(target.name + REASON), reason.encode())
    with suppress(FileNotFoundError):
        os.replace(file, target)
    for changed in (folder.parent, folder, file.parent):
        sync_directory(changed)
    return True


def of(layout: Layout) -> dict[str, Aside]:
    """What lies in quarantine, of each node that has something there."""
    found = {}
    for folder in sorted(layout.quarantine.iterdir()) if layout.quarantine.is_dir() else []:
        lies = Aside()
        with suppress(OSError):  # of another account, or removed meanwhile
            lies = _look(folder)
        if lies != Aside():
            found[folder.name] = lies
    return found


def _look(folder: Path) -> Aside:
    different = [entry["message"] for entry in _entries(folder)]
    failed = sum(1 for _ in folder.glob(f"*{REASON}"))
    return Aside(len(different), different[-1] if different else None, failed, _counted(folder) or None)


def count_files(layout: Layout) -> int:
    """How many files lie in quarantine that nobody has looked at; their reasons are none. Raises OSError."""
    folders = (folder for folder in layout.quarantine.iterdir() if folder.is_dir())
    names = (file.name for folder in folders for file in folder.iterdir())
    return sum(not name.endswith(REASON) and name != OVERFLOW for name in names)


def problems(layout: Layout) -> list[str]:
    """What lies in quarantine, in words."""
    found = []
    for node, lies in of(layout).items():
        said = []
        if lies.different:
            said.append(
                f"{_times(lies.different, 'record')} in quarantine that the archive has with other content; "
                f"the last: {lies.latest}"
            )
        if lies.failed:
            said.append(f"{_times(lies.failed, 'delivery')} in quarantine at which ingest failed again and again")
        for reason, entry in (lies.counted or {}).items():
            said.append(f"{entry['count']} {WORDS.get(reason, reason)} ({entry['since']} to {entry['last']})")
        found += [f"node {node}: {words}; see {layout.quarantine / node}, and remove it there" for words in said]
    return found


def _times(count: int, word: str) -> str:
    plural = f"{word[:-1]}ies lie" if word.endswith("y") else f"{word}s lie"
    return f"1 {word} lies" if count == 1 else f"{count} {plural}"


def _entries(folder: Path) -> Iterator[dict[str, Any]]:
    for file in sorted(folder.glob(f"*.{DIFFERENT}.jsonl")):
        with suppress(OSError, ValueError, KeyError):
            for line in read_bounded(file).splitlines():
                entry = json.loads(line)
                yield {"sha256": entry["sha256"], "message": entry["message"]}


def _counted(folder: Path) -> dict[str, dict[str, Any]]:
    try:
        content: dict[str, dict[str, Any]] = json.loads(read_bounded(folder / OVERFLOW))
        return {reason: entry for reason, entry in content.items() if {"count", "since", "last"} <= set(entry)}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _disk_bytes(file: Path) -> int:
    try:
        return file.stat().st_blocks * 512
    except FileNotFoundError:
        return 0
