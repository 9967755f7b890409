"""News as they come: what nodes deliver, and what becomes of lines, to every browser that looks, over WebSockets.

Each text is one JSON object, at most one a second besides the first ones:

    {"type": "hello", "cursor": N}                     the first one; what follows is newer than N
    {"type": "record", "cursor": N, "record": {...}, "records": [...], "lines": [...]}
                                                       what arrived: the newest record, and the last ones of them
    {"type": "status", "cursor": N, "lines": [...]}    figures are other ones; `lines` has those whose state is
    {"type": "reset", "cursor": N}                     to ?since=: what came meanwhile is not known any more
    {"type": "ping", "cursor": N}                      every 30 s
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Depends, Query, WebSocket
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import State as AppState
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from speedtest_logger.dashboard import problems
from speedtest_logger.dashboard.figures import Figures, State
from speedtest_logger.dashboard.guard import Guard, may
from speedtest_logger.errors import NotReadyError, SpeedtestError
from speedtest_logger.log import Log
from speedtest_logger.record import is_id, unix_time

router = APIRouter()
LOOK_SECONDS = 1.0
PING_SECONDS = 30.0
STATUS_SECONDS = 15.0  # that a line's state may be old where no record came in
MOST_CLIENTS = 1_000
MOST_WAITING = 8  # texts: who takes fewer is dropped
MOST_SAID = 20  # messages of a client, which has nothing to say
REFUSED, TOO_SLOW = 1008, 1013  # codes of WebSocket
KEPT = 1_000  # records that fill a gap
SHOWN = 100  # records in one text
FILE_BYTES = 1_000_000  # of one delivery: its end
TICK_BYTES = 4_000_000
RESTLESS_NS = 2_000_000_000  # a folder that changed so lately may change again within the same tick of its clock
COLUMNS = {"download": "download_bps", "upload": "upload_bps", "latency": "latency_ms"}


@dataclass
class Inbox:
    """The deliveries that wait for ingest, each read once; those that lay there before the first look never."""

    place: Path
    _seen: dict[str, tuple[int, set[str]]] = field(default_factory=dict)  # per node: when looked at, and its files
    _waiting: deque[Path] = field(default_factory=deque)
    _first: bool = True

    def news(self) -> list[dict[str, Any]]:
        """The records that came since the last call, as far as TICK_BYTES go; the rest comes with the next one."""
        for file in self._arrived():
            if not self._first:
                self._waiting.append(file)
        self._first = False
        found: list[dict[str, Any]] = []
        left = TICK_BYTES
        while self._waiting and left > 0:
            file = self._waiting.popleft()
            content = tail(file)
            left -= len(content)
            found += records_of(file.parent.name, content)
        return found

    def _arrived(self) -> Iterator[Path]:
        """Files that were not there before, folder by folder: only those that changed are looked into."""
        folders = {}
        with suppress(OSError), os.scandir(self.place) as entries:
            folders = {entry.name: entry for entry in entries if is_id(entry.name)}
        for gone in self._seen.keys() - folders.keys():
            del self._seen[gone]
        for node, folder in folders.items():
            before, known = self._seen.get(node, (0, set()))
            with suppress(OSError):
                changed = folder.stat(follow_symlinks=False).st_mtime_ns
                if changed == before and time.time_ns() - changed > RESTLESS_NS:
                    continue
                now = {name for name in os.listdir(folder.path) if name.endswith(".jsonl")}
                self._seen[node] = changed, now
                yield from (Path(folder.path, name) for name in sorted(now - known))


def tail(file: Path) -> bytes:
    """A delivery's whole lines, of a large one the last ones; none where ingest has taken it already."""
    try:
        with open(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            stream.seek(max(0, size - FILE_BYTES))
            content = stream.read(FILE_BYTES)
    except OSError:
        return b""
    return content if size <= FILE_BYTES else content.partition(b"\n")[2]


def records_of(node: str, content: bytes) -> Iterator[dict[str, Any]]:
    """What browsers are told of the records of a node's delivery; what is none is left to ingest."""
    for line in content.splitlines():
        try:
            row = json.loads(line)
            if row["node"] != node:
                continue
            yield {
                "node": node,
                "location": str(row["location"]),
                "at": int(unix_time(row["started_at"])),
                "status": str(row["status"]),
                "reason": row.get("reason"),
                **{name: _number(row.get(column)) for name, column in COLUMNS.items()},
                "run_id": str(row["run_id"]),
            }
        except (ValueError, TypeError, KeyError, RecursionError):
            continue


def _number(value: object) -> float | None:
    return value if isinstance(value, (int, float)) and math.isfinite(value) else None  # JSON knows no others


class Client:
    """A browser that looks, and what waits for it. Nothing runs for one that is told nothing: thousands may look."""

    __slots__ = ("_send", "_sending", "_stop", "code", "texts")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.code: int | None = None  # with which it was ended
        self._send: Callable[[str], Awaitable[None]] | None = None
        self._stop: Callable[[], None] | None = None
        self._sending: asyncio.Task[None] | None = None

    def begin(self, send: Callable[[str], Awaitable[None]], stop: Callable[[], None]) -> None:
        """Have what waits sent, and what comes; `stop` is called when it is ended."""
        self._send, self._stop = send, stop
        if self.code is None:
            self._go_on()
        else:
            stop()

    def tell(self, text: str) -> None:
        """Have a text sent; who has not taken the ones before is ended."""
        if len(self.texts) < MOST_WAITING:
            self.texts.append(text)
            self._go_on()
        else:
            self.end(TOO_SLOW)

    def end(self, code: int) -> None:
        """Have no more sent, and the connection closed with a code."""
        if self.code is None:
            self.code = code
            if self._stop:
                self._stop()

    def leave(self) -> None:
        """It is not there any more: what is being sent is not waited for."""
        if self._sending:
            self._sending.cancel()

    def _go_on(self) -> None:
        if self._send and not self._sending:
            self._sending = asyncio.create_task(self._send_all(self._send))

    async def _send_all(self, send: Callable[[str], Awaitable[None]]) -> None:
        try:
            while self.texts and self.code is None:
                await send(self.texts.pop(0))
        except (RuntimeError, OSError):  # it has left, or is leaving
            self.texts.clear()
        finally:
            self._sending = None


class Live:
    """One task that looks, and everybody who is told: `app.state.live`."""

    def __init__(self, figures: Figures, log: Log) -> None:
        self.figures, self.log = figures, log
        self.inbox = Inbox(figures.source.layout.inbox)
        self.cursor = self.first = int(time.time()) * 1_000  # larger than that of any process before
        self.ring: deque[tuple[int, dict[str, Any]]] = deque(maxlen=KEPT)
        self.clients: set[Client] = set()
        self._states: dict[str, tuple[State, int | None]] | None = None
        self._figures: str | None = None
        self._judged = 0.0
        self._told = time.monotonic()
        self._said: str | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End, and let everybody go."""
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        for client in self.clients:
            client.end(TOO_SLOW)

    async def _run(self) -> None:
        while True:
            begun = time.monotonic()
            try:
                records, lines = await run_in_threadpool(self.look)
                self.tell(records, lines)
                self._said = None
            except NotReadyError:
                pass
            except Exception as error:  # one bad look must not end all of them
                if repr(error) != self._said:
                    self.log.event("error", "live_failed", error=repr(error)[:300])
                self._said = repr(error)
            await asyncio.sleep(max(0.05, LOOK_SECONDS - (time.monotonic() - begun)))

    def look(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]] | None]:
        """The records that came, and the lines whose state changed; None where no figure is another one."""
        records = self.inbox.news()
        lines = None
        if self.clients:
            with suppress(SpeedtestError, OSError):  # pages say it, to whoever looks
                lines = self._changed()
        return records, lines

    def _changed(self) -> list[dict[str, Any]] | None:
        figures = self.figures.source.rollups.cursor()
        if figures == self._figures and time.monotonic() - self._judged < STATUS_SECONDS:
            return None
        found = self.figures.lines()
        states = {line.location: (line.state, line.since) for line in found}
        known, self._states = self._states, states
        other, self._figures = figures != self._figures, figures
        self._judged = time.monotonic()
        if known is None:
            return None
        changed = [
            {"location": line.location, "state": line.state, "since": line.since, "sentence": line.sentence}
            for line in found
            if known.get(line.location) != states[line.location]
        ]
        return changed if changed or other else None

    def tell(self, records: list[dict[str, Any]], lines: list[dict[str, Any]] | None) -> None:
        """Keep records for whoever comes back, and tell everybody who is there, in one text."""
        for record in records:
            self.cursor += 1
            self.ring.append((self.cursor, record))
        now = time.monotonic()
        if records:
            self._send(self._of_records(records, lines or []))
        elif lines is not None:
            self._send({"type": "status", "cursor": self.cursor, "lines": lines})
        elif now - self._told >= PING_SECONDS:
            self._send({"type": "ping", "cursor": self.cursor})
        else:
            return
        self._told = now

    def _of_records(self, records: list[dict[str, Any]], lines: list[dict[str, Any]]) -> dict[str, Any]:
        shown = records[-SHOWN:]
        newest = max(shown, key=lambda record: record["at"])
        return {"type": "record", "cursor": self.cursor, "record": newest, "records": shown, "lines": lines}

    def _send(self, message: dict[str, Any]) -> None:
        text = json.dumps(message)
        for client in self.clients:
            client.tell(text)

    def join(self, since: int | None) -> Client:
        """A new client, with what it is told first. Raises HTTPException 503 where there are too many."""
        if len(self.clients) >= MOST_CLIENTS:
            raise HTTPException(503, "too many browsers are looking just now", {"Retry-After": "30"})
        client = Client()
        client.tell(json.dumps({"type": "hello", "cursor": self.cursor}))
        if since is not None and since != self.cursor:
            client.tell(json.dumps(self.gap(since)))
        self.clients.add(client)
        return client

    def gap(self, since: int) -> dict[str, Any]:
        """What came since a cursor."""
        oldest = self.ring[0][0] - 1 if self.ring else self.cursor
        if not max(oldest, self.first) <= since <= self.cursor:
            return {"type": "reset", "cursor": self.cursor}
        return self._of_records([record for cursor, record in self.ring if cursor > since], [])

    def leave(self, client: Client) -> None:
        """Forget a client."""
        self.clients.discard(client)


@router.websocket("/ws", dependencies=[Depends(may("read"))])
async def follow(websocket: WebSocket, since: Annotated[int | None, Query(ge=0, lt=2**53)] = None) -> None:
    """Let a browser in that wants to be told what is new; `attend` goes on with it."""
    live: Live = websocket.app.state.live
    try:
        client = live.join(since)
    except HTTPException as error:
        await websocket.send_denial_response(
            problems.answer(websocket, error.status_code, str(error.detail), error.headers)
        )
        return
    websocket.state.client = client
    await websocket.accept()


async def attend(application: ASGIApp, state: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve a WebSocket, on which a browser stays once an application has let it in and has returned.

    Each of the application's layers would keep a frame as long as a browser looks, and something in the scope: together
    a third of what each browser takes.
    """
    before = set(scope)
    try:
        await application(scope, receive, send)
        if client := scope["state"].get("client"):
            for name in scope.keys() - before:
                del scope[name]
            await stay(client, partial(_may_still_look, state.guard, HTTPConnection(scope)), receive, send)
    finally:
        if client := scope["state"].get("client"):
            client.leave()
            state.live.leave(client)


async def stay(client: Client, may_look: Callable[[], bool], receive: Receive, send: Send) -> None:
    """Tell a browser what is new, until it leaves, falls behind, says too much, or may not look any more."""
    with anyio.CancelScope() as scope:
        client.begin(_sender(client, may_look, send), scope.cancel)
        if await _says_too_much(receive):
            client.end(REFUSED)
    if client.code:
        with suppress(RuntimeError, OSError), anyio.move_on_after(1):  # a slow one may not hear it
            await send({"type": "websocket.close", "code": client.code})


def _sender(client: Client, may_look: Callable[[], bool], send: Send) -> Callable[[str], Awaitable[None]]:
    """What sends a text; it ends who may not look any more: a session has ended, a key was taken away."""
    checked = time.monotonic()

    async def send_text(text: str) -> None:
        nonlocal checked
        if time.monotonic() - checked >= PING_SECONDS:
            checked = time.monotonic()
            if not may_look():
                client.end(REFUSED)
                return
        await send({"type": "websocket.send", "text": text})

    return send_text


def _may_still_look(guard: Guard, connection: HTTPConnection) -> bool:
    try:
        return "read" in guard.caller(connection).scopes
    except HTTPException:
        return False


async def _says_too_much(receive: Receive) -> bool:
    """Whether a client has said more than it may; otherwise it has left."""
    for _ in range(MOST_SAID):
        if (await receive())["type"] == "websocket.disconnect":
            return False
    return True
