"""http: one request; the time is from the first packet to the answer's headers, redirections included.

At most MOST_HEAD bytes are read, never the page itself. Certificates are verified. Written on sockets, since
http.client costs a node more time to load than the request takes.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from contextlib import closing
from functools import lru_cache
from urllib.parse import urljoin, urlsplit

from speedtest_logger.errors import ProbeError
from speedtest_logger.probes.contract import Answer, Job, Means, reason_of, resolve, said, version_of

MOST_HEAD = 16_384  # bytes of a status line and its headers
MOST_REDIRECTIONS = 3
PORTS = {"http": 80, "https": 443}
REDIRECTIONS = (301, 302, 303, 307, 308)


class Http:
    """See contract.Probe."""

    def run(self, job: Job, means: Means) -> Answer:
        """GET, and follow a few redirections."""
        answer = Answer(1)
        began = time.monotonic()
        deadline = began + job.seconds
        try:
            status = _follow(job, means, answer, lambda: deadline - time.monotonic())
        except ProbeError as error:
            answer.reason, answer.message = error.reason, said(error)
        except ssl.SSLError as error:
            answer.reason, answer.message = "tls_failed", said(getattr(error, "verify_message", "") or error.reason)
        except OSError as error:
            answer.reason, answer.message = reason_of(error), said(error.strerror or error)
        else:
            if 200 <= status < 400:
                answer.times_ms.append((time.monotonic() - began) * 1000)
            else:
                answer.reason, answer.message = "bad_answer", f"the server says {status}"
        return answer


def _follow(job: Job, means: Means, answer: Answer, left: Callable[[], float]) -> int:
    """The status of the last answer."""
    url = job.target
    for _ in range(MOST_REDIRECTIONS + 1):
        status, location = _ask(url, job, means, answer, left)
        if status not in REDIRECTIONS or not location:
            return status
        url = urljoin(url, location)
    raise ProbeError("bad_answer", f"more than {MOST_REDIRECTIONS} redirections")


def _ask(url: str, job: Job, means: Means, answer: Answer, left: Callable[[], float]) -> tuple[int, str | None]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        place = parts.netloc.rpartition("@")[2]
        request = (
            f"GET {path} HTTP/1.1\r\nHost: {place}\r\nUser-Agent: speedtest-logger\r\nAccept: */*\r\n"
            "Connection: close\r\n\r\n"
        ).encode("ascii")
    except (KeyError, ValueError) as error:
        raise ProbeError("bad_answer", f"led to {url!r:.100}, which cannot be asked") from error
    family, there = resolve(host, job.family, port)
    answer.ip_family = version_of(family)
    with closing(means.socket(family, socket.SOCK_STREAM)) as plain:
        plain.settimeout(_some(left()))
        plain.connect(there)
        if parts.scheme == "http":
            return _exchange(plain, request, left)
        with context().wrap_socket(plain, server_hostname=host) as secure:
            return _exchange(secure, request, left)


@lru_cache
def context() -> ssl.SSLContext:
    """With the system's certificates; they take a while to load."""
    return ssl.create_default_context()


def _some(left: float) -> float:
    if left <= 0:
        raise TimeoutError("no answer in time")
    return left


def _exchange(stream: socket.socket, request: bytes, left: Callable[[], float]) -> tuple[int, str | None]:
    """Status and Location of the answer. Raises ProbeError for what is no answer of HTTP."""
    stream.settimeout(_some(left()))
    stream.sendall(request)
    head = b""
    while b"\r\n\r\n" not in head and len(head) < MOST_HEAD:
        stream.settimeout(_some(left()))
        got = stream.recv(MOST_HEAD - len(head))
        if not got:
            break
        head += got
    first, *lines = head.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if b"\r\n" not in head or not words[0].startswith("HTTP/1.") or len(words) < 2 or not _is_status(words[1]):
        raise ProbeError("bad_answer", f"the server answered {said(first)[:80]!r}, which is not HTTP")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(words[1]), headers.get("location")


def _is_status(text: str) -> bool:
    return len(text) == 3 and text.isascii() and text.isdigit()


PROBE = Http()
