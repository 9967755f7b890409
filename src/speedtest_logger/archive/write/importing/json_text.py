"""Objects of JSON out of text in which other programs may have written too."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from typing import Any

from speedtest_logger.archive.write.importing.text import PIECE, Problem

LONGEST_OBJECT = 16 << 20
PROGRESS = ("teststart", "ping", "download", "upload", "testserver", "config")  # types of Ookla's lines beside results
DECODER = json.JSONDecoder()
_SEPARATORS = re.compile(r"[\s,\[\]\ufeff]*")
_TEXT = re.compile(r"[^\s,\[\]{}]")


def objects(stream: io.TextIOWrapper) -> Iterator[tuple[int, dict[str, Any] | Problem | str]]:
    """Objects in a text with their lines; for what is none what is wrong with it, or what it is.

    Arrays are taken apart, pages of an API and tables of a dump too. Any line between may be another program's.
    """
    text = _Window(stream)
    while text.skip_separators():
        if text.here() != "{":
            if text.skip_line():
                yield text.line, "line of text"
            continue
        line = text.line
        try:
            value = text.decode()
        except (ValueError, RecursionError) as error:
            said = getattr(error, "msg", str(error))
            yield line, Problem(f"it cannot be read ({said[:60]}): {text.rest_of_line()[:80]!r}")
            text.skip_line(whole=True)
            continue
        yield from ((line, each) for each in unwrapped(value))


class _Window:
    """The part of a text that is looked at: grown where an object goes on, and what was read let go."""

    def __init__(self, stream: io.TextIOWrapper) -> None:
        self._stream, self._buffer, self._place, self._ended, self.line = stream, "", 0, False, 1

    def _grow(self) -> bool:
        if self._ended:
            return False
        more = self._stream.read(max(PIECE, len(self._buffer) - self._place))
        self._ended = not more
        self._buffer, self._place = self._buffer[self._place :] + more, 0
        return not self._ended

    def _go(self, place: int) -> None:
        self.line += self._buffer.count("\n", self._place, place)
        self._place = place

    def skip_separators(self) -> bool:
        """Go on to what is none; whether there is anything."""
        while True:
            found = _SEPARATORS.match(self._buffer, self._place)
            self._go(found.end() if found else self._place)
            if self._place < len(self._buffer):
                return True
            if not self._grow():
                return False

    def here(self) -> str:
        """The character at which it stands."""
        return self._buffer[self._place]

    def rest_of_line(self) -> str:
        """From here to the end of the line."""
        return self._buffer[self._place : self._end_of_line()]

    def _end_of_line(self) -> int:
        while (end := self._buffer.find("\n", self._place)) < 0 and len(self._buffer) - self._place < LONGEST_OBJECT:
            if not self._grow():
                return len(self._buffer)
        return end + 1 if end >= 0 else len(self._buffer)

    def skip_line(self, *, whole: bool = False) -> bool:
        """Go on to the next line, or (not `whole`) to an object in this one; whether there was text."""
        end = self._end_of_line()
        inside = -1 if whole else self._buffer.find('{"', self._place + 1, end)
        stop = inside if inside >= 0 else end
        was_text = _TEXT.search(self._buffer, self._place, stop) is not None
        self._go(stop)
        return was_text

    def decode(self) -> Any:
        """The object that begins here. Raises ValueError, RecursionError where it is none."""
        while True:
            try:
                value, end = DECODER.raw_decode(self._buffer, self._place)
            except (ValueError, RecursionError):
                another = self._buffer.find("\n{", self._place + 1) >= 0
                if another or len(self._buffer) - self._place > LONGEST_OBJECT or not self._grow():
                    raise
                continue
            self._go(end)
            return value


def unwrapped(value: Any) -> Iterator[Any]:
    """What an object wraps; for progress, headers and the like what it is."""
    if not isinstance(value, dict):
        return
    inner = value.get("data", value.get("reports"))
    if isinstance(inner, list) and "created_at" not in value:
        yield from (each if isinstance(each, dict) else "other value" for each in inner)
    elif isinstance(inner, dict) and set(value) <= {"data", "message", "links", "meta"}:
        yield inner
    elif set(value) == {"data"} or "event" in value or _is_progress(value):
        yield "line of progress"
    else:
        yield value


def _is_progress(value: dict[str, Any]) -> bool:
    kind = str(value.get("type")).lower()
    if kind == "log":
        return value.get("level") != "error"
    return (kind in PROGRESS and "timestamp" in value) or (kind in ("header", "database") and len(value) < 5)
