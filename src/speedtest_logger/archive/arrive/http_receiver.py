"""What becomes of a connection over which deliveries come: request after request, judged and answered.

A request's token says whose delivery it is, before a byte of its body is read. Bodies come in beside each other at no
more than their memory; those that are whole and short are judged one after the other and made durable together
(group_commit). One that takes long has a thread of its own: a long one, and each where several hosts share the archive.
One delivery of a node at a time, as over ssh.
"""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import os
import tempfile
import time
import traceback
import zlib
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http import HTTPStatus
from typing import IO, Any

from speedtest_logger import invitation, registry, wire
from speedtest_logger.archive.arrive import handover, http_request
from speedtest_logger.archive.arrive import limits as limits_of
from speedtest_logger.archive.arrive.enrolment import UNKNOWN, Enrolments, Refusals, tell
from speedtest_logger.archive.arrive.group_commit import GroupCommit
from speedtest_logger.archive.arrive.http_request import BadRequestError, Request
from speedtest_logger.archive.arrive.limits import Limits
from speedtest_logger.archive.arrive.receive import FOR_NOW, Stream, ended, steps
from speedtest_logger.archive.arrive.standing import MB
from speedtest_logger.archive.arrive.tokens import Tokens
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.errors import RefusedError
from speedtest_logger.files import AT_ONCE, LATER, Sync, write_durably

CONNECTIONS = 2_000
THREADS = 16  # of deliveries that take long
IN_MEMORY = 64_000  # bytes of a body; a longer one goes into a file that has no name
SHORT = 256_000  # bytes of one that others wait for, unpacked: 0.1 s at most
CHUNK = 65_536
HEAD_SECONDS = 10
IDLE_SECONDS = 65  # that a connection is kept: longer than a front keeps its own
LINGER_SECONDS = 2  # that is listened to who was refused and sends on, so that the answer reaches them
STATUS = {
    **dict.fromkeys((*FOR_NOW, "storage"), HTTPStatus.SERVICE_UNAVAILABLE),
    "busy": HTTPStatus.TOO_MANY_REQUESTS,
    "rate_limited": HTTPStatus.TOO_MANY_REQUESTS,
    "too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "too_slow": HTTPStatus.REQUEST_TIMEOUT,
    "failed": HTTPStatus.INTERNAL_SERVER_ERROR,
    "unknown_invitation": HTTPStatus.UNAUTHORIZED,
    "used_invitation": HTTPStatus.GONE,
    "expired_invitation": HTTPStatus.GONE,
    "other_node": HTTPStatus.FORBIDDEN,
    "known_token": HTTPStatus.CONFLICT,
}
Answer = tuple[HTTPStatus, dict[str, Any]]


class InTime:
    """A stream whose lines come before a deadline: a body that takes long to judge is ended."""

    def __init__(self, stream: Stream, deadline: float) -> None:
        self.stream = stream
        self.deadline = deadline

    def readline(self, most: int, /) -> bytes:
        """See Stream. Raises RefusedError once it takes too long, and for a body that cannot be unpacked."""
        if time.monotonic() > self.deadline:
            raise RefusedError("too_slow", "the delivery took too long")
        try:
            return self.stream.readline(most)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise RefusedError("bad_gzip", f"the body cannot be unpacked: {error}") from error


class Receiver:
    """Takes deliveries on a socket."""

    def __init__(self, layout: Layout, tokens: Tokens, enrolments: Enrolments | None = None) -> None:
        self.layout = layout
        self.enrolments = enrolments
        self.tokens = enrolments or tokens
        self.paths = (invitation.PATH,) if enrolments else ()
        self.enrolling = asyncio.Lock()  # one at a time: of two who come by one invitation one is told so
        self.refusals = Refusals()
        inboxes = (layout.inbox, layout.raw_inbox, layout.log_inbox, layout.probe_inbox, layout.state)
        self.together = GroupCommit(inboxes)
        self.registry = registry.Reader()
        self.limits = limits_of.Reader(layout)
        self.pool = ThreadPoolExecutor(THREADS, thread_name_prefix="receive")
        self.under_way: set[str] = set()
        self.connections: set[asyncio.StreamWriter] = set()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection: request after request, until one of the two has enough."""
        if len(self.connections) >= CONNECTIONS:
            writer.close()
            return
        self.connections.add(writer)
        try:
            while await self.served(reader, writer):
                pass
        except (OSError, EOFError):  # a TimeoutError among them
            pass  # who does not talk on has gone
        finally:
            self.connections.discard(writer)
            writer.close()

    async def served(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer; returns whether another one may follow."""
        async with asyncio.timeout(IDLE_SECONDS):
            first = await reader.read(1)
        if not first:
            return False
        close, whole = True, False
        try:
            head = await self.head(first, reader)
            if path := http_request.probe(head):
                (status, content), whole = self.state(path), True
            else:
                request = http_request.parsed(head, *self.paths)
                served = self.enrolled if request.path == invitation.PATH else self.delivered
                (status, content), whole = await served(request, reader)
                close = request.close or not whole
        except BadRequestError as error:
            status, content = error.status, wire.refusal(error.reason, str(error))
        body = json.dumps(content).encode() + b"\n"
        writer.write(http_request.answer(status, body, close=close))
        async with asyncio.timeout(HEAD_SECONDS):
            await writer.drain()
        if close and not (whole and not writer.can_write_eof()):
            await linger(reader, writer)
        return not close

    def state(self, path: str) -> Answer:
        """What a cluster is told that asks whether this is alive, or ready for deliveries."""
        try:
            self.tokens.refresh()
        except OSError as error:
            return unready(path, f"the tokens cannot be read: {error.strerror}")
        if not os.access(self.layout.inbox, os.W_OK | os.X_OK):
            return unready(path, f"{self.layout.inbox} cannot be written")
        return HTTPStatus.OK, {"status": "healthy"}

    async def head(self, first: bytes, reader: asyncio.StreamReader) -> bytes:
        """What a request says before its body. Raises BadRequestError."""
        try:
            async with asyncio.timeout(HEAD_SECONDS):
                rest = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError as error:
            most = f"more than {http_request.MOST_HEAD} bytes of headers"
            raise BadRequestError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "bad_request", most) from error
        return first + rest

    async def delivered(self, request: Request, reader: asyncio.StreamReader) -> tuple[Answer, bool]:
        """What becomes of a request, and whether its body was read to the end."""
        try:
            node = self.tokens.node_of(request.token)
        except OSError as error:
            return refused("storage", f"the archive host cannot read its tokens: {error.strerror}"), False
        if node is None:
            raise BadRequestError(HTTPStatus.UNAUTHORIZED, "unknown_token", "the archive does not know this token")
        limits = self.limits.read()
        if request.length > limits.payload_mb * MB:
            return refused("too_large", f"more than {limits.payload_mb} MB in one delivery"), False
        if node in self.under_way:
            return refused("busy", f"another delivery of node '{node}' is under way"), False
        self.under_way.add(node)
        deadline = time.monotonic() + limits.seconds
        try:
            with tempfile.SpooledTemporaryFile(IN_MEMORY, "w+b", dir=str(self.layout.work)) as body:
                try:
                    async with asyncio.timeout(limits.seconds):
                        await read_into(body, reader, request.length)
                except TimeoutError:
                    return refused("too_slow", "the delivery took too long"), False
                except OSError as error:  # the disk's: a connection that ends raises EOFError
                    return refused("storage", f"the archive host's disk failed: {error.strerror or error}"), False
                return await asyncio.shield(self.begun(node, body, request, deadline, limits)), True
        finally:
            self.under_way.discard(node)

    async def enrolled(self, request: Request, reader: asyncio.StreamReader) -> tuple[Answer, bool]:
        """What becomes of a node's first word, and whether its body was read to the end."""
        whole = False
        try:
            self.check_guest(request)
            async with asyncio.timeout(HEAD_SECONDS):
                body = await reader.readexactly(request.length)
            whole = True
            node = await self.taken(request.token, body)
        except RefusedError as error:
            if error.reason != "storage" and not self.refusals.tell(time.monotonic(), str(error)):
                return refused("rate_limited", "too many attempts were refused: wait a minute"), whole
            return refused(error.reason, str(error)), whole
        tell(f"node {node} has enrolled by its invitation")
        return (HTTPStatus.OK, {"enrolled": node}), whole

    def check_guest(self, request: Request) -> None:
        """Raise RefusedError for who is not invited, or has much to say, before a byte of it is read."""
        try:
            guest = self.enrolments.guest(request.token) if self.enrolments else None
        except OSError as error:
            raise RefusedError("storage", f"the archive host cannot read its invitations: {error.strerror}") from error
        if guest is None:
            raise RefusedError("unknown_invitation", UNKNOWN)
        if request.length > invitation.MOST_BODY or request.packed:
            raise RefusedError("too_large", f"an enrolment has {invitation.MOST_BODY} bytes at most, not packed")

    async def taken(self, secret: bytes, body: bytes) -> str:
        """The node that has come; its invitation is used on disk when this returns. Raises RefusedError."""
        assert self.enrolments is not None  # nobody is a guest without
        async with self.enrolling:
            try:
                node, kept = self.enrolments.judged(secret, body, time.time())
                keeps = asyncio.get_running_loop().run_in_executor(self.pool, write_durably, self.enrolments.kept, kept)
                await asyncio.shield(keeps)
            except OSError as error:
                why = f"the archive host's disk failed: {error.strerror or error}"
                raise RefusedError("storage", why) from error
        return node

    def begun(
        self, node: str, body: IO[bytes], request: Request, deadline: float, limits: Limits
    ) -> asyncio.Future[Answer]:
        """What becomes of a body that is whole."""
        body.seek(0)
        content = short(body, request) if request.length <= IN_MEMORY else None
        if content is not None and not handover.is_shared(self.layout):
            lines = InTime(io.BytesIO(content), deadline)
            return self.together.take(self.judged(node, lines, limits, LATER))
        body.seek(0)
        lines = InTime(gzip.GzipFile(mode="rb", fileobj=body) if request.packed else body, deadline)
        judging = self.judged(node, lines, limits, AT_ONCE)
        return asyncio.get_running_loop().run_in_executor(self.pool, ended, judging)

    def judged(self, node: str, lines: InTime, limits: Limits, sync: Sync) -> Generator[None, None, Answer]:
        """Receive a delivery; yields where `receive.steps` does."""
        try:
            receipt = yield from steps(self.layout, node, lines, limits, sync, self.registry.read)
            return HTTPStatus.OK, receipt
        except RefusedError as error:
            return refused(error.reason, str(error))
        except MemoryError:
            return refused("too_large", "it needs more memory than there is")
        except OSError as error:
            return refused("storage", f"the archive host's disk failed: {error.strerror or error}")
        except Exception:  # whatever it is: the journal has it, and others are served
            traceback.print_exc()
            return refused("failed", "the archive host failed at this delivery: its journal says how")


def unready(path: str, why: str) -> Answer:
    """The answer to a question while no delivery could be taken: to start this again would not help."""
    status = HTTPStatus.SERVICE_UNAVAILABLE if path == http_request.READY else HTTPStatus.OK
    return status, {"status": "degraded", "why": why}


def refused(reason: str, message: str) -> Answer:
    """The answer to a delivery that is refused as a whole."""
    return STATUS.get(reason, HTTPStatus.UNPROCESSABLE_ENTITY), wire.refusal(reason, message)


def short(body: IO[bytes], request: Request) -> bytes | None:
    """A body's lines; None where there are more than SHORT, or they cannot be unpacked."""
    if not request.packed:
        return body.read()
    unpacking = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)  # with the header and the checksum of gzip
    try:
        content = unpacking.decompress(body.read(), SHORT)
    except zlib.error:
        return None
    return content if unpacking.eof and not unpacking.unused_data else None


async def read_into(body: IO[bytes], reader: asyncio.StreamReader, length: int) -> None:
    """Read a body of so many bytes. Raises EOFError where it ends before."""
    while length:
        chunk = await reader.read(min(CHUNK, length))
        if not chunk:
            raise EOFError
        body.write(chunk)
        length -= len(chunk)


async def linger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Let who was answered finish what they were sending, for a moment, so that they come to read."""
    with suppress(OSError):
        if writer.can_write_eof():  # TLS ends both ways at once
            writer.write_eof()

        async with asyncio.timeout(LINGER_SECONDS):
            while await reader.read(CHUNK):
                pass
