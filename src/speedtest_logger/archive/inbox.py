"""What nodes delivered and nobody took in yet; lines that are damaged are kept with the reason and block nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from speedtest_logger.archive.layout import Layout, ulid
from speedtest_logger.record import utc_text
from speedtest_logger.spool import write_durably


@dataclass
class Damaged:
    """A receipted line that is no record any more."""

    file: Path
    line: bytes
    error: Exception


def chunks(inbox: Path, most: int) -> Iterator[tuple[list[Path], list[bytes]]]:
    """A node's files and their contents, some `most` bytes at a time: many small files are judged as one.

    For a reader beside a running ingest: what that takes away between listing and reading is in the dataset by then.
    """
    waiting = sorted(inbox.glob("*/*.jsonl"))
    for _, files in groupby(waiting, key=lambda file: file.parent):
        chunk: list[Path] = []
        contents: list[bytes] = []
        size = 0
        for file in files:
            try:
                contents.append(file.read_bytes())
            except FileNotFoundError:
                continue
            chunk.append(file)
            size += len(contents[-1])
            if size >= most:
                yield chunk, contents
                chunk, contents, size = [], [], 0
        if chunk:
            yield chunk, contents


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
