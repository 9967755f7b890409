"""Deliveries as tables: a node's files read and judged at once, some of them while others are being written."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from speedtest_logger.archive.arrive import inbox
from speedtest_logger.archive.format import json_lines
from speedtest_logger.archive.format.layout import is_sealed
from speedtest_logger.archive.format.schema import BATCH_SCHEMA
from speedtest_logger.errors import RecordError
from speedtest_logger.record import validate, without_impossible

CHUNK_BYTES = 8_000_000  # read and judged at once
LARGE_BYTES = 1_000_000  # of files: worth a reader that takes some time to start, and memory
WIDE_BYTES = 4_000  # of a line: several times what a node sends; then that reader needs more memory than it is worth
READERS = min(4, os.cpu_count() or 2)  # chunks that are read at the same time
READ_AHEAD = 4  # chunks that are read while a batch is written, and not more bytes than AHEAD_BYTES
AHEAD_BYTES = 64_000_000


@dataclass
class Chunk:
    """Some files of a node, judged: their rows as BATCH_SCHEMA and what in them is no record any more."""

    files: list[Path]
    size: int
    table: pa.Table
    damaged: list[inbox.Damaged]
    failure: str | None = None


def ahead(found: Iterator[inbox.Waiting], about_to_read: Callable[[list[Path]], None] | None = None) -> Iterator[Chunk]:
    """Files as chunks in their order; some are read while those before are written.

    `about_to_read` hears of files before anything reads them.
    """
    with ThreadPoolExecutor(READERS) as pool:
        coming: deque[tuple[inbox.Waiting, Future[Chunk]]] = deque()
        for waiting in found:
            while coming and sum(chunk.size for chunk, _ in coming) + waiting.size > AHEAD_BYTES:
                yield _arrived(*coming.popleft())
            if about_to_read:
                about_to_read(waiting.files)
            coming.append((waiting, pool.submit(read, waiting.files)))
            if len(coming) > READ_AHEAD:
                yield _arrived(*coming.popleft())
        while coming:
            yield _arrived(*coming.popleft())


def _arrived(waiting: inbox.Waiting, chunk: Future[Chunk]) -> Chunk:
    try:
        return chunk.result()
    except Exception as error:  # whatever it is: others are not to wait for it
        return Chunk(waiting.files, 0, BATCH_SCHEMA.empty_table(), [], cause(error))


def read_alone(files: list[Path]) -> Chunk:
    """The same at once. Raises UnreadableError."""
    try:
        return read(files)
    except OSError as error:
        raise UnreadableError(cause(error)) from error


def read(files: list[Path]) -> Chunk:
    """A node's files as one table, and what in them is no record any more (a torn or flipped disk)."""
    contents = inbox.contents(files)
    table = read_at_once(contents, files[0].parent.name)
    damaged: list[inbox.Damaged] = []
    if table is None:
        rows: list[dict[str, Any]] = []
        for file, content in contents.items():
            judge(file, content, rows, damaged)
        table = json_lines.to_table(rows)
    return Chunk(list(contents), sum(map(len, contents.values())), table, damaged)


def read_at_once(contents: dict[Path, bytes], node: str) -> pa.Table | None:
    """A node's files as one table, or None where something in them is not as receive would have it."""
    seals = {is_sealed(file.name, content) for file, content in contents.items()}
    if False in seals or any(content and not content.endswith(b"\n") for content in contents.values()):
        return None
    judged = seals == {True}
    lines = sum(content.count(b"\n") for content in contents.values())
    if judged and LARGE_BYTES <= sum(map(len, contents.values())) <= lines * WIDE_BYTES:
        return json_lines.read_deliveries(list(contents), lines, node)
    return json_lines.read_lines(b"".join(contents.values()), node, judged=judged)


def judge(file: Path, content: bytes, rows: list[dict[str, Any]], damaged: list[inbox.Damaged]) -> None:
    """Judge a receipted file line by line; one that was altered to other valid rows is kept in the quarantine too."""
    before = len(damaged)
    for line in content.splitlines():
        try:
            row = json.loads(line.decode())
            if not isinstance(row, dict):
                raise RecordError("bad_json", "a row must be an object")
            record = validate(without_impossible(row))
            if record.node != file.parent.name:
                raise RecordError("other_node", f"a row of node '{record.node}' in {file.parent.name}'s inbox")
        except (ValueError, RecursionError, RecordError) as error:
            damaged.append(inbox.Damaged(file, line, error))
        else:
            rows.append(record.to_row())
    if len(damaged) == before and is_sealed(file.name, content) is False:
        altered = RecordError("altered", "not the bytes that were receipted; its rows are valid and were taken in")
        damaged.append(inbox.Damaged(file, content, altered))


class UnreadableError(Exception):
    """A file that cannot be read; the disk is no more to blame than the file."""


def cause(error: Exception) -> str:
    """An exception in a few words."""
    return f"{type(error).__name__}: {error}"[:200]
