"""What clients may take of the server by being many or slow: connections, time, and memory.

uvicorn bounds a request once it has arrived as a whole. Here is bounded what comes before and after: connections on
which nothing comes, headers that come letter by letter, answers that nobody takes. Where there are as many connections
as there may be, the one that has waited longest without a request makes room: who asks is answered, whoever else holds
how many sockets open.
"""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import Callable
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

CONNECTIONS = 2_048  # at once
HEADER_SECONDS = 10.0  # in which a request's header has to be there, from the connection or its first letter on
TAKING_SECONDS = 120.0  # in which a client has to take what is sent to it
MOST_BUFFERED = 200_000_000  # bytes that wait to be taken, of all clients together
OTHER_FILES = 512  # descriptors of the archive's files, of the rollups, and of what else there is
SWEEP_TICKS = 10  # of uvicorn, a tenth of a second each


class Bounded(H11Protocol):
    """A connection that knows since when its client owes it the header of a request."""

    owes_since: float | None = None
    takes_since: float | None = None

    @property
    def idle(self) -> dict[Bounded, None]:
        """The server's connections without a request, that one first that has waited for longest."""
        found: dict[Bounded, None] = vars(self.server_state).setdefault("idle", {})
        return found

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """See asyncio.Protocol."""
        super().connection_made(transport)
        self.owes_since = self.loop.time()
        if len(self.connections) > CONNECTIONS:
            next(iter(self.idle), self).end()
        if not self.transport.is_closing():
            self.idle[self] = None

    def end(self) -> None:
        """Close it now; what was still to be sent is not."""
        self.idle.pop(self, None)
        self.connections.discard(self)
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self.idle.pop(self, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        before = self.cycle
        if self.owes_since is None and not self.is_asked:
            self.owes_since = self.loop.time()
        super().data_received(data)
        if self.cycle is not before:
            self.owes_since = None
            self.idle.pop(self, None)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """It is a WebSocket from now on, which has bounds of its own."""
        self.idle.pop(self, None)
        super().handle_websocket_upgrade(event)

    def on_response_complete(self) -> None:
        """The connection is kept for another request for uvicorn's own time."""
        self.owes_since = None
        self.idle[self] = None
        super().on_response_complete()

    @property
    def is_asked(self) -> bool:
        """Whether a request is under way."""
        return self.cycle is not None and not self.cycle.response_complete


class Server(uvicorn.Server):
    """uvicorn's, which looks each second at who keeps it waiting; `begun` hears when it answers and heeds signals."""

    def __init__(self, config: uvicorn.Config, begun: Callable[[], None] | None = None) -> None:
        super().__init__(config)
        self.begun = begun

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn."""
        await super().startup(sockets=sockets)
        if self.begun and not self.should_exit:
            self.begun()

    async def on_tick(self, counter: int) -> bool:
        """See uvicorn."""
        if counter % SWEEP_TICKS == 0:
            sweep(self.server_state.connections, asyncio.get_running_loop().time())
        return await super().on_tick(counter)


def sweep(connections: set[Any], now: float) -> None:
    """End the connections of clients that owe a header, or do not take what they asked for, for too long."""
    sizes: list[tuple[int, asyncio.Transport]] = []
    for each in list(connections):
        transport = each.transport
        if transport is None or (transport.is_closing() and not transport.get_write_buffer_size()):
            continue
        owes = getattr(each, "owes_since", None)
        size = transport.get_write_buffer_size()
        each.takes_since = (getattr(each, "takes_since", None) or now) if size else None
        if (owes is not None and now - owes > HEADER_SECONDS) or (size and now - each.takes_since > TAKING_SECONDS):
            transport.abort()
        elif size:
            sizes.append((size, transport))
    too_much = sum(size for size, _ in sizes) - MOST_BUFFERED
    for size, transport in sorted(sizes, key=lambda entry: -entry[0]):
        if too_much <= 0:
            break
        transport.abort()
        too_much -= size


def raise_limits() -> None:
    """Let the process have as many descriptors open as connections and files need, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
        )
