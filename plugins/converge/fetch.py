"""What a node fetches: a file of a bounded size, in a bounded time, from a web server or a folder."""

from __future__ import annotations

import hashlib
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from plugins.converge.bundle import RefusedError
from speedtest_logger.files import open_regular

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
    return b"".join(served(base, name, most_bytes, seconds))


def saved(parts: Iterator[bytes], sha256: str, file: Path) -> None:
    """Write what comes into a file of root's. Raises RefusedError where it is not what that SHA-256 is of."""
    digest = hashlib.sha256()
    with file.open("xb") as stream:
        for part in parts:
            digest.update(part)
            stream.write(part)
    if digest.hexdigest() != sha256:
        raise RefusedError(f"{file.name} is not what was promised: its SHA-256 is {digest.hexdigest()}, not {sha256}")


def served(base: str, name: str, most_bytes: int, seconds: float) -> Iterator[bytes]:
    """The file of that name, in parts, from where bundles are. Raises as `fetched`."""
    if base.startswith("file:"):
        return from_folder(Path(unquote(urlsplit(base).path)) / name, most_bytes)
    opener = urllib.request.build_opener(_NoRedirect)
    return from_web(f"{base.rstrip('/')}/{quote(name)}", opener, most_bytes, seconds)


def from_elsewhere(url: str, most_bytes: int, seconds: float) -> Iterator[bytes]:
    """What is published at a URL, in parts, wherever that leads: who asks knows its SHA-256. Raises as `fetched`."""
    return from_web(url, urllib.request.build_opener(), most_bytes, seconds)


def from_web(url: str, opener: urllib.request.OpenerDirector, most_bytes: int, seconds: float) -> Iterator[bytes]:
    """What a web server answers, in parts."""
    deadline = time.monotonic() + seconds
    if urlsplit(url).scheme not in ("http", "https"):
        raise RefusedError(f"{url}: a URL of http, https or file is expected")
    headers = {"User-Agent": "speedtest-converge", "Accept-Encoding": "identity"}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310  (the scheme is checked)
    try:
        with opener.open(request, timeout=SILENCE_SECONDS) as answer:
            yield from read(answer, url, most_bytes, deadline)
    except (OSError, HTTPException, ValueError) as error:
        raise UnreachableError(f"{url}: {error}") from error


def read(answer: Any, url: str, most_bytes: int, deadline: float) -> Iterator[bytes]:
    """An answer's body, in parts."""
    size, promised = 0, answer.headers.get("Content-Length")
    while part := answer.read1(CHUNK):
        size += len(part)
        if size > most_bytes:
            raise RefusedError(f"{url}: it has more than {most_bytes} bytes")
        if time.monotonic() > deadline:
            raise UnreachableError(f"{url}: it took too long; {size} bytes had come")
        yield part
    if promised is not None and promised != str(size):
        raise UnreachableError(f"{url}: {size} of {promised} bytes came")


def from_folder(file: Path, most_bytes: int) -> Iterator[bytes]:
    """A file's bytes, in parts; a link or a pipe is none."""
    try:
        with open_regular(file, most_bytes) as stream:
            left = most_bytes
            while part := stream.read(CHUNK):
                left -= len(part)
                if left < 0:  # it grew meanwhile
                    raise RefusedError(f"{file}: it has more than {most_bytes} bytes")
                yield part
    except FileNotFoundError as error:
        raise UnreachableError(f"{file}: there is no such file") from error
    except OSError as error:
        raise RefusedError(f"{file}: {error.strerror or error}") from error
