"""The web server: one process, one listening socket, told to stop by a signal."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from speedtest_logger import systemd
from speedtest_logger.dashboard import bounds, memory
from speedtest_logger.dashboard import settings as settings_
from speedtest_logger.dashboard.app import create_app
from speedtest_logger.dashboard.events import JsonLines, ServerLog
from speedtest_logger.dashboard.settings import PREFIX, Settings
from speedtest_logger.errors import EXIT_OK, UsageError

IDLE_SECONDS = 65  # that a connection is kept: longer than a front keeps its own
STOP_SECONDS = 5  # that open requests have when the process is told to stop
HEADER_BYTES = 16_384
SWITCH_SECONDS = 0.0005  # that a thread keeps others waiting: an answer goes through several, and Python's own is 5 ms
MESSAGE_BYTES = 4_096  # of what a browser says over its WebSocket


def serve(settings: Settings, tell: Callable[[str], None]) -> None:
    """Serve until told to stop; `tell` hears the address. Raises UsageError where it cannot be listened on."""
    log = JsonLines("debug" if settings.debug else settings.log_level)
    bounds.raise_limits()
    memory.share_arena()
    sys.setswitchinterval(SWITCH_SECONDS)
    listening = listen(settings.bind, settings.port)
    app = create_app(settings, log)
    logging.basicConfig(handlers=[ServerLog(log)], level=logging.DEBUG if settings.debug else logging.WARNING)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.front),  # nobody else may say whom they ask for
        forwarded_allow_ips=list(settings.front_addresses or ("127.0.0.1", "::1")),
        http=bounds.Bounded,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
        h11_max_incomplete_event_size=HEADER_BYTES,
        ws_max_size=MESSAGE_BYTES,
        ws_per_message_deflate=False,
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_OK))  # raised by the server again when all is done
    log.event("info", "started", address=address(listening), archive=str(settings.archive_dir))

    def begun() -> None:
        tell(address(listening))
        systemd.ready()

    with listening:
        try:
            bounds.Server(config, begun).run(sockets=[listening])
        finally:
            log.event("info", "stopped")


def for_work() -> FastAPI:
    """The application as the environment says, for a server that starts it anew whenever its source changes.

    uvicorn --reload --factory speedtest_logger.dashboard.server:for_work
    """
    settings = settings_.load(os.environ)
    settings_.make_state_dir(settings.state_dir)
    return create_app(settings, JsonLines("debug" if settings.debug else settings.log_level))


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens already, so that who is told the address can use it."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        listening = socket.create_server((host, port), family=family, backlog=bounds.CONNECTIONS)
    except OSError as error:
        why = str(error.strerror).partition(" (while")[0]
        raise UsageError(
            f"cannot listen on {host}, port {port} ({why}): set {PREFIX}BIND and {PREFIX}PORT, or --bind "
            "and --port, to an address that is free"
        ) from error
    # connections inherit it; asyncio sets it where a socket names its protocol, which this one does not. Without it an
    # answer's second part waits for the client to confirm the first one, which takes 40 ms
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def address(listening: socket.socket) -> str:
    """What to type into a browser."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
