"""What nodes delivered and nobody took in yet; lines that are damaged are kept with the reason and block nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from speedtest_logger.archive.format.layout import Layout, ulid
from speedtest_logger.files import Identity, identities, read_bounded, write_durably
from speedtest_logger.record import utc_text

MOST_BYTES = 256_000_000  # of a delivery: four times what receive takes


@dataclass
class Damaged:
    """A receipted line that is no record any more."""

    file: Path
    line: bytes
    error: Exception


@dataclass
class Waiting:
    """Files of a node that are judged as one, and their bytes."""

    files: list[Path]
    size: int


def chunks(inbox: Path, most: int, without: Collection[Path] = ()) -> Iterator[list[Path]]:
    """As `waiting`, the files only."""
    return (chunk.files for chunk in waiting(inbox, most, without))


def waiting(inbox: Path, most: int, without: Collection[Path] = (), turn: int = 1 << 62) -> Iterator[Waiting]:
    """A node's files, oldest first and some `most` bytes at a time: many small files are judged as one.

    Nodes take turns of some `turn` bytes, and who has least to say is first: nobody waits for another one's flood.
    """
    found = sorted((f, i) for f, i in identities(inbox.glob("*/*.jsonl")).items() if f not in without)
    nodes = [list(_cut(files, most)) for _, files in groupby(found, key=lambda entry: entry[0].parent)]
    nodes.sort(key=lambda chunks: sum(chunk.size for chunk in chunks))
    while nodes:
        for chunks in nodes:
            size = 0
            while chunks and size < turn:
                size += chunks[0].size
                yield chunks.pop(0)
        nodes = [chunks for chunks in nodes if chunks]


def _cut(files: Iterable[tuple[Path, Identity]], most: int) -> Iterator[Waiting]:
    chunk = Waiting([], 0)
    for file, found in files:
        chunk.files.append(file)
        chunk.size += found.size
        if chunk.size >= most:
            yield chunk
            chunk = Waiting([], 0)
    if chunk.files:
        yield chunk


def contents(files: list[Path]) -> dict[Path, bytes]:
    """What is in files; one that a running ingest took away is left out, for its rows are in the dataset by then."""
    found = {}
    for file in files:
        with suppress(FileNotFoundError):
            found[file] = read_bounded(file, MOST_BYTES)
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
