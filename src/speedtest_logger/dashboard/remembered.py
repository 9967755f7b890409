"""Answers that are asked for again while nothing has changed are made once.

One is kept for whom it was made, and for as long as all is the same that it was made from: the archive, the registry,
what was delivered since, the notes, what is wrong with them, what alerts found, and the minute. Who asks while one is
made waits for it. Who says `Cache-Control: no-cache`, as browsers do where a page is loaded anew by force, is answered
anew (RFC 9111, 5.2.1.4).
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

import duckdb
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import State
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from speedtest_logger.dashboard.figures import kept as kept_
from speedtest_logger.errors import SpeedtestError
from speedtest_logger.files import identity

LARGEST, TOGETHER = 1_000_000, 32_000_000  # bytes of one answer, and of all
PATHS = ("/line/", "/fleet", "/compare", "/outages", "/alerts", "/kiosk", "/badge/", "/api/v1/")  # and the first page
OF_ALERTS = ("/alerts", "/api/v1/alerts")  # change whenever alerts are evaluated, and the others do not
REPORT = "/report"  # is large, and asked for once
ALONE = ("/api/v1/logs", "/api/v1/probes")  # change while nothing else does
OF_THE_ANSWER = ("host", "accept", "accept-encoding")  # headers that make it another one


class Remembered:
    """Middleware: inside of what refuses, outside of what compresses."""

    def __init__(self, app: ASGIApp, state: State) -> None:
        self.app, self.state = app, state
        self.kept: OrderedDict[Hashable, list[Message]] = OrderedDict()
        self.size = 0
        self._version: Hashable = None
        self._figures: tuple[float, Hashable] = (-math.inf, None)  # when their version was asked for, and it
        self._making: dict[Hashable, asyncio.Event] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        key = await self.key_of(scope)
        if key is not None and key not in self.kept and (making := self._making.get(key)):
            await making.wait()
        if key is None or key in self._making:
            await self.app(scope, receive, send)
        elif found := self.kept.get(key):
            self.kept.move_to_end(key)
            for message in found:
                await send(dict(message))
        else:
            self._making[key] = made = asyncio.Event()
            try:
                await self.app(scope, receive, _Answer(self, key, send).take)
            finally:
                if self._making.get(key) is made:
                    self.done(key)

    async def key_of(self, scope: Scope) -> Hashable:
        """What an answer depends on; None where it is not to be kept."""
        if scope["type"] != "http" or scope["method"] != "GET":
            return None
        connection = HTTPConnection(scope)
        path = connection.url.path
        kept = path == "/" or (path.startswith(PATHS) and not path.startswith(ALONE) and not path.endswith(REPORT))
        anew = "no-cache" in connection.headers.get("cache-control", "").lower()
        if not kept or anew or "if-none-match" in connection.headers:
            return None
        try:
            caller = self.state.guard.caller(connection)
            version = await self.version()
            alerts = await run_in_threadpool(self.state.figures.alerts_version) if path in OF_ALERTS else None
        except (HTTPException, SpeedtestError, OSError, duckdb.Error):  # the route says it
            return None
        if version != self._version:
            self._version = version
            self.kept.clear()
            self.size = 0
        headers = tuple(connection.headers.get(name) for name in OF_THE_ANSWER)
        address = (connection.url.scheme, scope.get("raw_path"), path, connection.url.query)
        return (version, alerts, caller, address, headers)

    async def version(self) -> Hashable:
        """Another value whenever an answer may be another one. Raises as the figures do.

        For FRESH_SECONDS only the archive is looked at, and neither the registry nor what is wrong.
        """
        asked, found = self._figures
        figures = self.state.figures
        if time.monotonic() - asked > kept_.FRESH_SECONDS or not figures.is_current():
            now = time.monotonic()
            found = await run_in_threadpool(figures.version)
            self._figures = now, found
        return (found, self.state.live.cursor, identity(self.state.notes.file))

    def keep(self, key: Hashable, messages: list[Message], size: int) -> None:
        """Keep an answer, and let the one go that was not asked for the longest."""
        self.kept[key] = messages
        self.size += size
        while self.size > TOGETHER:
            self.size -= size_of(self.kept.popitem(last=False)[1])

    def done(self, key: Hashable) -> None:
        """Let those go on who wait for an answer, whether it was kept or not."""
        self._making.pop(key).set()


class _Answer:
    """An answer held back until it is whole, so that who is slow to take it keeps nobody else waiting."""

    def __init__(self, memory: Remembered, key: Hashable, send: Send) -> None:
        self.memory, self.key, self.send = memory, key, send
        self.messages: list[Message] | None = []
        self.size = 0

    async def take(self, message: Message) -> None:
        """See ASGI."""
        if self.messages is None:
            await self.send(message)
            return
        self.messages.append(message)
        self.size += len(message.get("body", b""))
        whole = message["type"] == "http.response.body" and not message.get("more_body", False)
        if not whole and self.size <= LARGEST:
            return
        messages, self.messages = self.messages, None
        if whole and self.size <= LARGEST and may_be_kept(messages[0]):
            self.memory.keep(self.key, messages, self.size)
        self.memory.done(self.key)
        for each in messages:
            await self.send(dict(each))


def may_be_kept(start: Message) -> bool:
    """Whether it is an answer like the next one would be."""
    names: set[Any] = {name.lower() for name, _ in start.get("headers", [])}
    return bool(start.get("status") == 200) and b"set-cookie" not in names


def size_of(messages: list[Message]) -> int:
    """Bytes of an answer's body."""
    return sum(len(message.get("body", b"")) for message in messages)
