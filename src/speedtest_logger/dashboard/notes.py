"""Notes on lines: `a new router`, `the provider was here`. JSON lines in the dashboard's own state."""

from __future__ import annotations

import json
import secrets
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from speedtest_logger.errors import StorageError, UsageError
from speedtest_logger.files import read_bounded, write_durably

LONGEST_TEXT = 500  # characters
EARLIEST = 946_684_800  # 2000-01-01
AHEAD = 366 * 86_400  # s: what is planned may be noted too
MOST_OF_LINE = 200
MOST = 2_000
MOST_BYTES = 16_000_000  # of the file: more than MOST notes can have


def check_time(at: float, now: float) -> None:
    """Raise UsageError for a time (Unix time, s) that a note cannot be about."""
    if not EARLIEST <= at <= now + AHEAD:
        raise UsageError("a note is about a time from the year 2000 on and within the next year")


@dataclass(frozen=True)
class Note:
    """A note: about which time (Unix time, s), by whom, None where nobody has to say; and when it was written."""

    id: str
    location: str
    at: int
    text: str
    who: str | None
    written: int

    @classmethod
    def read(cls, content: Any) -> Note:
        """The note of a line of the file. Raises ValueError or TypeError."""
        note = cls(**content)
        texts = (note.id, note.location, note.text, note.who or "")
        if not all(isinstance(text, str) for text in texts) or not all(
            type(at) is int for at in (note.at, note.written)
        ):
            raise ValueError("this is no note")
        return note


class Notes:
    """All notes. Each change replaces the file as a whole and is on disk before it is answered."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._lock = threading.Lock()

    def of(self, location: str | None, start: float | None = None, end: float | None = None) -> list[Note]:
        """The notes of a line or all of them, in a period perhaps, oldest first. Raises StorageError."""
        found = [note for note in self._read() if location in (None, note.location)]
        return [note for note in found if (start is None or start <= note.at) and (end is None or note.at < end)]

    def add(self, location: str, at: float, text: str, who: str | None, now: float) -> Note:
        """Write a note. Raises UsageError for one that is none, or one too many; StorageError."""
        said = " ".join(text.split())
        if not said or len(said) > LONGEST_TEXT:
            raise UsageError(f"a note has 1 to {LONGEST_TEXT} characters, this one {len(said):,}")
        if not said.isprintable():
            raise UsageError("a note is plain text: there are characters in it that cannot be shown")
        with self._lock:
            notes = self._read()
            if sum(note.location == location for note in notes) >= MOST_OF_LINE or len(notes) >= MOST:
                raise UsageError(
                    f"there are as many notes as there may be, {MOST_OF_LINE} on a line, {MOST:,} in all: delete some"
                )
            note = Note(secrets.token_hex(8), location, int(at), said, who, int(now))
            self._write([*notes, note])
        return note

    def delete(self, location: str, identity: str) -> bool:
        """Delete a line's note; returns whether there was one. Raises StorageError."""
        with self._lock:
            notes = self._read()
            kept = [note for note in notes if (note.location, note.id) != (location, identity)]
            if len(kept) < len(notes):
                self._write(kept)
        return len(kept) < len(notes)

    def _read(self) -> list[Note]:
        """All notes by their time. A damaged file is an error: what people wrote is not written over."""
        try:
            lines = read_bounded(self.file, MOST_BYTES).splitlines()
            return sorted((Note.read(json.loads(line)) for line in lines), key=lambda note: (note.at, note.id))
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise StorageError(f"{self.file}: the notes cannot be read: {error}") from error

    def _write(self, notes: list[Note]) -> None:
        content = "".join(json.dumps(asdict(note), ensure_ascii=False) + "\n" for note in notes)
        try:
            write_durably(self.file, content.encode(), 0o600)
        except OSError as error:
            raise StorageError(f"{self.file}: the note could not be written: {error}") from error
