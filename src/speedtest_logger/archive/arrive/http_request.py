"""Requests of one kind: POST /deliver with a length, a token, and a body that may be packed. Anything else is refused.

Of the same form is POST /enrol, where nodes are invited: with an invitation, and a body of some bytes.

But for two questions that a cluster asks each process of its own: /livez and /readyz, which no front hands on.

So strict that a front and this side cannot understand one request differently: no chunks, no folded or repeated
headers, no second length.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus

PATH = "/deliver"
LIVE, READY = "/livez", "/readyz"
MOST_HEAD = 16_384  # bytes of a request's line and headers
MOST_HEADERS = 64
REQUEST = re.compile(rb"([A-Z]{1,20}) (\S{1,2000}) HTTP/1\.1")
HEADER = re.compile(rb"([A-Za-z0-9!#$%&'*+.^_`|~-]+):[ \t]*([\x20-\x7e\t\x80-\xff]*?)[ \t]*")
LENGTH = re.compile(rb"[0-9]{1,12}")
BEARER = re.compile(rb"Bearer ([\x21-\x7e]+)")
ONCE = (b"content-length", b"content-encoding", b"authorization", b"host", b"connection")


class BadRequestError(Exception):
    """A request that is not taken, with the status that says why."""

    def __init__(self, status: HTTPStatus, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


@dataclass(frozen=True)
class Request:
    """What a request's head says."""

    token: bytes
    length: int
    packed: bool
    close: bool
    path: str = PATH


def probe(head: bytes) -> str | None:
    """Which of a cluster's questions a head asks, None where it asks none."""
    return next((path for path in (LIVE, READY) if head.startswith(f"GET {path} HTTP/1.1\r\n".encode())), None)


def parsed(head: bytes, *more: str) -> Request:
    """A request's head, up to its empty line; `more`: paths besides /deliver. Raises BadRequestError."""
    line, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    match = REQUEST.fullmatch(line)
    if match is None:
        raise BadRequestError(HTTPStatus.BAD_REQUEST, "bad_request", "not a request of HTTP/1.1")
    path = match[2].decode(errors="replace")
    if path not in (PATH, *more):
        raise BadRequestError(HTTPStatus.NOT_FOUND, "bad_request", f"there is only {' and '.join((PATH, *more))}")
    if match[1] != b"POST":
        raise BadRequestError(HTTPStatus.METHOD_NOT_ALLOWED, "bad_request", "deliveries come by POST")
    headers = _headers(lines)
    if b"transfer-encoding" in headers:
        raise BadRequestError(HTTPStatus.LENGTH_REQUIRED, "bad_request", "a delivery comes in one piece with a length")
    length = headers.get(b"content-length")
    if length is None:
        raise BadRequestError(HTTPStatus.LENGTH_REQUIRED, "bad_request", "a delivery says how long it is")
    if not LENGTH.fullmatch(length):
        raise BadRequestError(HTTPStatus.BAD_REQUEST, "bad_request", "Content-Length is no length")
    encoding = headers.get(b"content-encoding", b"identity")
    if encoding not in (b"gzip", b"identity"):
        raise BadRequestError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "bad_request", "a body is packed by gzip or not")
    token = BEARER.fullmatch(headers.get(b"authorization", b""))
    if token is None:
        raise BadRequestError(HTTPStatus.UNAUTHORIZED, "unknown_token", "a delivery needs its node's token")
    close = headers.get(b"connection", b"").lower() == b"close"
    return Request(token[1], int(length), encoding == b"gzip", close, path)


def _headers(lines: list[bytes]) -> dict[bytes, bytes]:
    if len(lines) > MOST_HEADERS:
        raise BadRequestError(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "bad_request", f"more than {MOST_HEADERS} headers"
        )
    headers: dict[bytes, bytes] = {}
    for line in lines:
        match = HEADER.fullmatch(line)
        if match is None:
            raise BadRequestError(HTTPStatus.BAD_REQUEST, "bad_request", "a header that is none")
        name = match[1].lower()
        if name in headers and name in ONCE:
            raise BadRequestError(HTTPStatus.BAD_REQUEST, "bad_request", f"{name.decode()} comes twice")
        headers[name] = match[2]
    return headers


def answer(status: HTTPStatus, content: bytes, *, close: bool) -> bytes:
    """An answer with JSON in it."""
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n"
        "Cache-Control: no-store\r\n"
        f"{'WWW-Authenticate: Bearer' + chr(13) + chr(10) if status is HTTPStatus.UNAUTHORIZED else ''}"
        f"Connection: {'close' if close else 'keep-alive'}\r\n\r\n"
    )
    return head.encode() + content
