"""What nodes delivered and nobody took in yet; lines that are damaged are kept with the reason and block nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from speedtest_logger.archive.layout import Layout, ulid
from speedtest_logger.archive.snapshot import identities
from speedtest_logger.record import utc_text
from speedtest_logger.spool import write_durably


@dataclass
class Damaged:
    """A receipted line that is no record any more."""

    file: Path
    line: bytes
    error: Exception


def chunks(inbox: Path, most: int) -> Iterator[list[Path]]:
    """A node's files, oldest first and some `most` bytes at a time: many small files are judged as one."""
    waiting = sorted(identities(inbox.glob("*/*.jsonl")).items())
    for _, files in groupby(waiting, key=lambda entry: entry[0].parent):
        chunk: list[Path] = []
        size = 0
        for file, found in files:
            chunk.append(file)
            size += found.size
            if size >= most:
                yield chunk
                chunk, size = [], 0
        if chunk:
            yield chunk


def contents(files: list[Path]) -> dict[Path, bytes]:
    """What is in files; one that a running ingest took away is left out, for its rows are in the dataset by then."""
    found = {}
    for file in files:
        with suppress(FileNotFoundError):
            found[file] = file.read_bytes()
    return found


def keep_damaged(layout: Layout, damaged: Damaged) -> None:
    """Keep a damaged line with its reason."""
    folder = layout.quarantine / damaged.file.parent.name
    folder.mkdir(mode=0o750, exist_ok=True)
    entry = {
        "at": utc_text(time.time()),
        "file": damaged.file.name,
        "reason": getattr(damaged.error, "reason", "bad_json"),
        "message": str(damaged.error)[:300],
        "line": damaged.line.decode(errors="backslashreplace"),
    }
    write_durably(folder / f"{ulid()}.jsonl", (json.dumps(entry) + "\n").encode())
