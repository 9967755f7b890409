"""The manifest: what every file and day of the dataset held after every change, in a chain of SHA-256.

manifest/open.jsonl has one line per change since the last midnight (UTC), manifest/chain.jsonl one line per earlier
day of changes, with what its lines amounted to. Each line names the SHA-256 of the line before it, so no line can be
altered or taken out without breaking all later ones. A line is written before its files take their place:

    {"seq", "at", "previous", "verb", "schema_version", "files": {NAME: {"sha256", "bytes", "rows", "days"} or null}}

`days` gives rows and SHA-256 of the days that the change touched; `was` is the SHA-256 that the file had before, `new`
marks one that was not there; null is a file that was pruned. Where `was` is not what the line before left, the file had
been changed by somebody else: `altered` names the days that were written again on that, which proves them no more.
`accepted` marks a file that a person had the chain go on from as it was found; `why` is what the person said.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.ledger.entry import Entry
from speedtest_logger.errors import StorageError
from speedtest_logger.files import open_regular, open_to_append, sync_directory
from speedtest_logger.record import SCHEMA_VERSION, utc_text

GENESIS = "0" * 64
NO_LINE = (ValueError, KeyError, TypeError, AttributeError)  # what Line.of raises
LINE_BYTES = 64_000_000  # a day of changes of 100,000 months
NUMBER = re.compile(rb'\{"seq": ?(\d+),')
Files = dict[str, Entry]


@dataclass(frozen=True)
class Line:
    """A change of the archive, or those of a day that is over: `count` of them; `last` is the last one's SHA-256."""

    seq: int
    at: str
    previous: str
    verb: str
    content: dict[str, Any]
    schema_version: int = 1
    why: str | None = None
    count: int = 1
    last: str | None = None

    @cached_property
    def files(self) -> Files:
        """What it says of each file. Raises one of NO_LINE where that is no entry."""
        return {name: Entry.of_json(entry) for name, entry in self.content.items()}

    @classmethod
    def of(cls, raw: bytes) -> Line:
        """A line as it lies on disk. Raises one of NO_LINE for what is none."""
        content = json.loads(raw)
        return cls(
            int(content["seq"]),
            content["at"],
            content["previous"],
            content["verb"],
            content["files"],
            content.get("schema_version", 1),
            content.get("why"),
            content.get("lines", 1),
            content.get("last"),
        )


class Head(NamedTuple):
    """The last line, its number and its SHA-256; None, 0 and zeros before the first."""

    seq: int
    sha256: str
    line: Line | None


class Raw(NamedTuple):
    """A line as bytes: of the chain or still open, its place in its file, and its number (-1 where it has none)."""

    content: bytes
    is_sealed: bool
    place: int
    seq: int

    @property
    def sha256(self) -> str:
        """What the next line names."""
        return hashlib.sha256(self.content).hexdigest()


@dataclass
class FileState:
    """What the manifest says that a file holds now.

    `altered` is None, or the file was not always as it had been left: then it has days, each with the time (ISO 8601,
    UTC) at which it was written again on what nothing proved. The other days' digests hold as they are.
    """

    sha256: str
    size: int
    rows: int
    days: dict[str, tuple[int, str]] = field(default_factory=dict)
    altered: dict[str, str] | None = None
    accepted: bool = False


def _open_file(layout: Layout) -> Path:
    return layout.manifest / "open.jsonl"


def _chain_file(layout: Layout) -> Path:
    return layout.manifest / "chain.jsonl"


def _lines(file: Path) -> Iterator[bytes]:
    """The complete lines of a file, one in memory at a time; a torn last line never took effect."""
    with _reading(file) as stream:
        yield from _lines_of(stream, file)


def _lines_of(stream: BinaryIO, file: Path) -> Iterator[bytes]:
    while line := stream.readline(LINE_BYTES):
        if line.endswith(b"\n"):
            yield line[:-1]
        elif len(line) == LINE_BYTES:
            raise _too_long(file)


@contextmanager
def _reading(file: Path) -> Iterator[BinaryIO]:
    """The file open, or an empty one where there is none. Raises StorageError for what is no file."""
    try:
        stream: BinaryIO = open_regular(file)
    except FileNotFoundError:
        stream = io.BytesIO()
    except OSError as error:
        raise StorageError(f"{file}: {error.strerror}") from error
    with stream:
        yield stream


def _too_long(file: Path) -> StorageError:
    return StorageError(f"{file}: a line of more than {LINE_BYTES} bytes: run speedtest-archive verify")


def last_line(file: Path) -> bytes | None:
    """A file's last complete line, None where there is none; reads from the end."""
    with _reading(file) as stream:
        size, span = stream.seek(0, os.SEEK_END), 1 << 16
        while True:
            stream.seek(max(0, size - span))
            tail = stream.read()
            tail = tail[: tail.rfind(b"\n") + 1]
            lines = tail.splitlines()
            if len(lines) > 1 or (lines and span >= size):
                return lines[-1]
            if span >= size:
                return None
            if span >= LINE_BYTES:
                raise _too_long(file)
            span *= 4


def head(layout: Layout) -> Head:
    """The last line. Raises StorageError."""
    raw = last_line(_open_file(layout)) or last_line(_chain_file(layout))
    if raw is None:
        return Head(0, GENESIS, None)
    try:
        line = Line.of(raw)
    except NO_LINE as error:
        raise StorageError(
            f"{layout.manifest}: the last line cannot be read ({error}): run speedtest-archive verify"
        ) from error
    return Head(line.seq, hashlib.sha256(raw).hexdigest(), line)


def append(layout: Layout, verb: str, files: Files, why: str | None = None) -> None:
    """Add a line; it is durable when this returns. Raises OSError and leaves no half line."""
    _seal_earlier_day(layout)
    last = head(layout)
    line = {
        "seq": last.seq + 1,
        "at": utc_text(time.time()),
        "previous": last.sha256,
        "verb": verb,
        "schema_version": SCHEMA_VERSION,
        **({"why": why} if why else {}),
        "files": _to_json(files),
    }
    _write_line(_open_file(layout), line)


def _write_line(file: Path, content: dict[str, Any]) -> None:
    with open_to_append(file) as stream:
        end = stream.seek(0, os.SEEK_END)
        if end and not _ends_with_a_line(file, end):  # a line that was torn never took effect
            end = sum(len(line) + 1 for line in _lines(file))
            stream.truncate(end)
        try:
            stream.write(json.dumps(content, separators=(",", ":")).encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
            if end == 0:  # a new file's name must last too
                sync_directory(file.parent)
        except OSError:  # whoever hears of it takes the change back
            os.ftruncate(stream.fileno(), end)
            raise


def _ends_with_a_line(file: Path, size: int) -> bool:
    with _reading(file) as stream:
        stream.seek(size - 1)
        return stream.read(1) == b"\n"


def _seal_earlier_day(layout: Layout) -> None:
    """Condense the open lines into one line of the chain once their day is over."""
    file = _open_file(layout)
    line = last_line(file)
    if line is None:
        return
    last = json.loads(line)
    sealed = json.loads(last_line(_chain_file(layout)) or b'{"seq": 0}')
    if last["seq"] > sealed["seq"]:
        if last["at"][:10] >= utc_text(time.time())[:10]:
            return
        previous = last_line(_chain_file(layout))
        content = {
            "seq": last["seq"],
            "previous": hashlib.sha256(previous).hexdigest() if previous else GENESIS,
            "last": hashlib.sha256(line).hexdigest(),
            **_condensed(file),
        }
        _write_line(_chain_file(layout), content)
    file.unlink()  # sealed now, or before a crash
    sync_directory(layout.manifest)


def _condensed(file: Path) -> dict[str, Any]:
    """What a file's lines amount to."""
    count, version = 0, 0
    verbs: set[str] = set()
    times: list[str] = []
    why: list[str] = []
    files: Files = {}
    for line in map(Line.of, _lines(file)):
        count += 1
        verbs.add(line.verb)
        version = max(version, line.schema_version)
        times = [*times[:1], line.at]
        why += [line.why] if line.why is not None else []
        _add(files, line)
    about = {"from": times[0], "at": times[-1], "lines": count, "verb": ",".join(sorted(verbs))}
    reasons = {"why": "; ".join(why)} if why else {}
    return {**about, "schema_version": version, **reasons, "files": _to_json(files)}


def _to_json(files: Files) -> dict[str, Any]:
    return {name: entry.to_json() for name, entry in files.items()}


def _add(files: Files, line: Line) -> None:
    """Add a later line to what earlier ones amount to."""
    for name, entry in line.files.items():
        files[name] = entry.after(files.get(name), line.at)


def lines(layout: Layout) -> Iterator[Raw]:
    """All lines as bytes, oldest first. Each comes once, though a day is sealed meanwhile, or a crash left it open."""
    with _reading(_open_file(layout)) as still_open:  # first: what is sealed from now on is read as open lines
        sealed = 0
        for place, content in enumerate(_lines(_chain_file(layout)), 1):
            yield (raw := Raw(content, True, place, _number(content)))
            sealed = max(sealed, raw.seq)
        for place, content in enumerate(_lines_of(still_open, _open_file(layout)), 1):
            if (number := _number(content)) > sealed or number < 0:
                yield Raw(content, False, place, number)


def _number(content: bytes) -> int:
    found = NUMBER.match(content)
    return int(found[1]) if found else -1


def history(layout: Layout) -> Iterator[Line]:
    """All lines, oldest first. Raises StorageError for one that cannot be read."""
    for raw in lines(layout):
        yield parsed(layout, raw)


def parsed(layout: Layout, raw: Raw) -> Line:
    """A line that was read. Raises StorageError."""
    try:
        line = Line.of(raw.content)
        _ = line.files  # read now: who follows is told here
    except NO_LINE as error:
        file = _chain_file(layout) if raw.is_sealed else _open_file(layout)
        raise StorageError(f"{file}, line {raw.place} cannot be read: {error}") from error
    return line


def state(layout: Layout) -> dict[str, FileState]:
    """What each file of the dataset should hold. Raises StorageError for a line that cannot be read."""
    files: Files = {}
    for line in history(layout):
        _add(files, line)
    return {
        name: FileState(facts.sha256, facts.size, facts.rows, facts.days, entry.altered, entry.accepted)
        for name, entry in files.items()
        if (facts := entry.facts)
    }


def broken_links(layout: Layout) -> list[str]:
    """What is wrong with the chain itself, in words; nothing where every line follows from the one before."""
    problems, previous, number = [], GENESIS, 0
    for file in (_chain_file(layout), _open_file(layout)):
        for place, line in enumerate(_lines(file), 1):
            try:
                content = json.loads(line)
                follows, count = content["previous"] == previous, content["seq"]
            except (ValueError, KeyError, TypeError):
                problems.append(f"{file.name}, line {place}: not a line of a manifest")
                continue
            if not follows:
                problems.append(f"{file.name}, line {place}: it does not follow from the line before it")
            if count <= number:
                problems.append(f"{file.name}, line {place}: number {count} after {number}")
            previous, number = hashlib.sha256(line).hexdigest(), count
    return problems
