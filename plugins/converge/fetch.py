"""What a node fetches: a file of a bounded size, in a bounded time, from a web server or a folder."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from plugins.converge.bundle import RefusedError
from speedtest_logger.files import read_bounded

SILENCE_SECONDS = 30  # without a byte
CHUNK = 1 << 16


class UnreachableError(Exception):
    """Nothing was fetched this time; the next run tries again."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Whoever answers for the URL does not send the node elsewhere, to its router's pages for instance."""

    def redirect_request(self, *_: Any) -> None:
        return None


def fetched(base: str, name: str, most_bytes: int, seconds: float) -> bytes:
    """The file of that name. Raises UnreachableError, or RefusedError for one that is too large or is no file."""
    if base.startswith("file:"):
        return from_folder(Path(unquote(urlsplit(base).path)) / name, most_bytes)
    url = f"{base.rstrip('/')}/{quote(name)}"
    deadline = time.monotonic() + seconds
    if urlsplit(url).scheme not in ("http", "https"):
        raise RefusedError(f"{url}: a URL of http, https or file is expected")
    headers = {"User-Agent": "speedtest-converge", "Accept-Encoding": "identity"}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310  (the scheme is checked)
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=SILENCE_SECONDS) as answer:
            return read(answer, url, most_bytes, deadline)
    except (OSError, HTTPException, ValueError) as error:
        raise UnreachableError(f"{url}: {error}") from error


def read(answer: Any, url: str, most_bytes: int, deadline: float) -> bytes:
    """An answer's body."""
    parts, size, promised = [], 0, answer.headers.get("Content-Length")
    while part := answer.read1(CHUNK):
        parts.append(part)
        size += len(part)
        if size > most_bytes:
            raise RefusedError(f"{url}: it has more than {most_bytes} bytes")
        if time.monotonic() > deadline:
            raise UnreachableError(f"{url}: it took too long; {size} bytes had come")
    if promised is not None and promised != str(size):
        raise UnreachableError(f"{url}: {size} of {promised} bytes came")
    return b"".join(parts)


def from_folder(file: Path, most_bytes: int) -> bytes:
    """A file's bytes; a link or a pipe is none."""
    try:
        return read_bounded(file, most_bytes)
    except FileNotFoundError as error:
        raise UnreachableError(f"{file}: there is no such file") from error
    except OSError as error:
        raise RefusedError(f"{file}: {error.strerror or error}") from error
