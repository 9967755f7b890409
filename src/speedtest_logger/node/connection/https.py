"""Deliveries over https: the node's own token, a certificate that must fit, and what went wrong in plain words.

One request and one answer, all of it within the time that a push has, however slowly the other side talks.
"""

from __future__ import annotations

import errno
import gzip
import http.client
import io
import json
import socket
import ssl
import time
from contextlib import suppress
from http import HTTPStatus

from speedtest_logger import __version__, files
from speedtest_logger.errors import DeliveryError
from speedtest_logger.node.config import Settings
from speedtest_logger.node.connection.words import MOST_ANSWER_BYTES, printable

PATH = "/deliver"
CONNECT_SECONDS = 20
CHUNK = 65_536
TOKEN_BYTES = 200
PACKED, JSON = "Content-Type: application/jsonl\r\nContent-Encoding: gzip\r\n", "Content-Type: application/json\r\n"
# What OpenSSL says of a certificate (X509_V_ERR_…), and what that means here.
EXPIRED, NOT_YET, OTHER_NAME = 10, 9, 62
CERTIFICATES = {
    EXPIRED: "its certificate has expired, or this node's clock is wrong",
    NOT_YET: "its certificate is not valid yet, or this node's clock is wrong",
    OTHER_NAME: "its certificate is for another name",
}
# What an answer's status means, where no archive says more.
MEANINGS: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "the archive host does not know this node's token: run site.yml for both",
    HTTPStatus.NOT_FOUND: "what listens on {host} port {port} takes no deliveries: run site.yml for the archive host",
    HTTPStatus.METHOD_NOT_ALLOWED: "what listens on {host} port {port} takes no deliveries",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "the delivery is larger than the archive host takes",
    HTTPStatus.TOO_MANY_REQUESTS: "the archive host asks to wait",
    HTTPStatus.MISDIRECTED_REQUEST: "what listens on {host} port {port} has another name",
    **dict.fromkeys(
        (HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT),
        "the front of the archive host answers, and what receives behind it does not: systemctl status "
        "speedtest-receive-http there",
    ),
}
REACHING = {
    errno.ECONNREFUSED: "nothing listens on {host} port {port}",
    errno.EHOSTUNREACH: "there is no route to {host}",
    errno.ENETUNREACH: "there is no route to {host}",
}


def exchange(settings: Settings, lines: bytes) -> object:
    """Lines up, an answer down. Raises DeliveryError with what went wrong, TimeoutError."""
    deadline = time.monotonic() + settings.push_timeout_seconds
    request = made(settings, token(settings), gzip.compress(lines, 6, mtime=0))
    with connected(settings, context(settings), deadline) as stream:
        heard = conversed(stream, request, deadline)
    return understood(settings, heard)


def token(settings: Settings) -> str:
    """The node's token. Raises DeliveryError."""
    try:
        found = files.read_bounded(files.in_mount(settings.token_file), TOKEN_BYTES).decode().strip()
    except (OSError, ValueError) as error:
        words = getattr(error, "strerror", None) or error
        raise DeliveryError(
            f"this node's token {settings.token_file} cannot be read ({words}): run site.yml"
        ) from error
    if not found.isascii() or not found.isalnum():
        raise DeliveryError(f"this node's token {settings.token_file} is none: remove it and run site.yml")
    return found


def context(settings: Settings) -> ssl.SSLContext:
    """Whom this node trusts: the system's authorities, or only those of a file. Raises DeliveryError."""
    file = str(settings.ca_file) if settings.ca_file else None
    try:
        made_for = ssl.create_default_context(cafile=file)
    except (OSError, ValueError) as error:
        words = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise DeliveryError(f"the certificates in {file} cannot be read ({words}): run site.yml") from error
    made_for.minimum_version = ssl.TLSVersion.TLSv1_2
    if file:
        made_for.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # a pinned certificate need be no authority's
    return made_for


def made(settings: Settings, token: str, body: bytes, path: str = "") -> bytes:
    """The request: records, packed; to another `path` what is no delivery, as it is."""
    host, port = settings.archive_host or "", settings.archive_port
    name = f"[{host}]" if ":" in host else host
    head = (
        f"POST {path or PATH} HTTP/1.1\r\n"
        f"Host: {name if port == 443 else f'{name}:{port}'}\r\n"
        f"Authorization: Bearer {token}\r\n"
        f"{JSON if path else PACKED}"
        f"Content-Length: {len(body)}\r\n"
        f"User-Agent: speedtest-logger/{__version__}\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + body


def connected(settings: Settings, trusting: ssl.SSLContext, deadline: float) -> ssl.SSLSocket:
    """A connection to who has proved to be the archive host. Raises DeliveryError, TimeoutError."""
    host, port = settings.archive_host or "", settings.archive_port
    try:
        plain = socket.create_connection((host, port), min(CONNECT_SECONDS, left(deadline)))
    except socket.gaierror as error:
        raise DeliveryError(f"the name {host} cannot be resolved ({error.strerror})") from error
    except TimeoutError as error:
        raise DeliveryError(f"{host} port {port} does not answer") from error
    except OSError as error:
        words = REACHING.get(error.errno or 0, "{host} port {port} cannot be reached").format(host=host, port=port)
        raise DeliveryError(f"{words} ({error.strerror})") from error
    try:
        plain.settimeout(left(deadline))
        return trusting.wrap_socket(plain, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        plain.close()
        where = settings.ca_file or "the system's certificates"
        words = CERTIFICATES.get(error.verify_code, f"its certificate is not trusted by {where}")
        raise DeliveryError(f"{host} port {port}: {words} ({printable(error.verify_message)})") from error
    except TimeoutError:
        plain.close()
        raise
    except OSError as error:
        plain.close()
        why = getattr(error, "reason", None) or error.strerror or error
        raise DeliveryError(f"what listens on {host} port {port} speaks no TLS with this node ({why})") from error


def left(deadline: float) -> float:
    """Seconds until then. Raises TimeoutError where there are none."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds


def conversed(stream: ssl.SSLSocket, request: bytes, deadline: float) -> bytes:
    """The request up, all that comes down. Raises DeliveryError, TimeoutError."""
    heard = bytearray()
    broken = None
    try:
        for start in range(0, len(request), CHUNK):
            stream.settimeout(left(deadline))
            stream.sendall(request[start : start + CHUNK])
    except TimeoutError:
        raise
    except OSError as error:  # who refuses need not listen to the end, and may have said why
        broken = error
    try:
        while True:
            stream.settimeout(left(deadline))
            chunk = stream.recv(CHUNK)
            if not chunk:
                break
            heard += chunk
            if len(heard) > MOST_ANSWER_BYTES:
                raise DeliveryError(f"the archive's answer is longer than {MOST_ANSWER_BYTES} bytes")
    except TimeoutError:
        raise
    except OSError as error:
        broken = broken or error
    if not heard and broken:
        words = broken.strerror or broken
        raise DeliveryError(f"the connection to the archive host ended before it answered ({words})") from broken
    return bytes(heard)


class Heard:
    """What came down, as http.client wants to read it."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def makefile(self, _: str) -> io.BytesIO:
        """See socket.socket."""
        return io.BytesIO(self.content)


def answered(heard: bytes) -> tuple[http.client.HTTPResponse, bytes]:
    """An answer of HTTP, and its content. Raises DeliveryError for what is none."""
    try:
        response = http.client.HTTPResponse(Heard(heard), method="POST")  # type: ignore[arg-type]
        response.begin()
        return response, response.read()
    except (http.client.HTTPException, ValueError, OSError) as error:
        raise DeliveryError(f"no receipt: this is no answer of HTTP: {printable(repr(heard[:200]))}") from error


def understood(settings: Settings, heard: bytes) -> object:
    """The archive's answer. Raises DeliveryError for anything else."""
    response, content = answered(heard)
    if response.status in range(300, 400):
        place = printable(response.headers.get("Location", ""))
        raise DeliveryError(f"no receipt (HTTP {response.status}): it is said to be at {place!r}: not followed")
    with suppress(ValueError, RecursionError):
        answer = json.loads(content)
        ours = isinstance(answer, dict) and ("refused" in answer or response.status == HTTPStatus.OK)
        if ours and response.status != HTTPStatus.UNAUTHORIZED:
            return answer
    words = MEANINGS.get(response.status)
    said = words.format(host=settings.archive_host, port=settings.archive_port) if words else repr(content[:200])
    raise DeliveryError(f"no receipt (HTTP {response.status}): {printable(said)}")
