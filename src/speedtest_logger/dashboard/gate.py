"""What holds for every request, before any route: names, origins, time, and the headers of every answer."""

from __future__ import annotations

import asyncio
import traceback
from http.cookies import SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from speedtest_logger import domains
from speedtest_logger.dashboard import problems
from speedtest_logger.dashboard.guard import cookie_name
from speedtest_logger.dashboard.settings import Settings
from speedtest_logger.log import Log

SECONDS = 60.0  # until an answer has to begin, the time in which the request arrives included
SAFE = ("GET", "HEAD", "OPTIONS")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, no-cache",
}


class Gate:
    """Outermost of the application's own layers. A header that a route sets itself stays as it is."""

    def __init__(self, app: ASGIApp, settings: Settings, log: Log, hosts: frozenset[str] | None) -> None:
        self.app = app
        self.settings = settings
        self.log = log
        self.hosts = hosts  # None: any

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        answer = _Answer(send)
        if refusal := self.refusal(connection):
            await refusal(scope, receive, answer.send)
            return
        try:
            async with asyncio.timeout(SECONDS if scope["type"] == "http" else None) as answer.deadline:
                await self.app(scope, receive, answer.send)
        except TimeoutError as error:
            late = answer.deadline is not None and answer.deadline.expired()
            await self.fail(connection, receive, answer, error, 503 if late else 500)
        except ClientDisconnect:  # there is nobody to answer, and nothing to tell
            return
        except Exception as error:  # whatever it is: it must not reach whoever asked
            await self.fail(connection, receive, answer, error, 500)

    async def fail(
        self, connection: HTTPConnection, receive: Receive, answer: _Answer, error: Exception, status: int
    ) -> None:
        """Log an error that nobody expected, and answer as far as that is still possible."""
        answer.deadline = None
        said = "".join(traceback.format_exception(error))[-2_000:]
        self.log.event("error", "failed", path=connection.url.path, error=repr(error)[:300], traceback=said)
        if answer.begun:
            raise error  # the server closes the connection: half an answer must not look like a whole one
        detail = "this took too long" if status == 503 else "this did not work: the dashboard's log says why"
        await problems.answer(connection, status, detail)(connection.scope, receive, answer.send)

    def refusal(self, connection: HTTPConnection) -> Response | None:
        """The answer to a request that no route is to see."""
        if self.hosts is not None and host_of(connection.headers.get("host", "")) not in self.hosts:
            return problems.answer(
                connection, 421, "the dashboard is not reached under this name: add it to SPEEDTEST_DASHBOARD_HOSTS"
            )
        changes = connection.scope["type"] == "websocket" or connection.scope["method"] not in SAFE
        if changes and not self.may_come_from(connection):
            return problems.answer(connection, 403, "only the dashboard's own pages and programs may ask for this")
        return None

    def may_come_from(self, connection: HTTPConnection) -> bool:
        """Whether a page of our own asks, or one that CORS_ORIGINS names, or no page: a program without our cookie."""
        origin = connection.headers.get("origin")
        if origin is None:
            return cookie_name(connection) not in SimpleCookie(connection.headers.get("cookie", ""))
        parts = urlsplit(origin)
        own = parts.scheme in ("http", "https") and parts.netloc.lower() == connection.headers.get("host", "").lower()
        return own or origin in self.settings.cors_origins


class _Answer:
    """What goes back: with headers, and known whether it has begun."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.begun = False
        self.deadline: asyncio.Timeout | None = None

    async def send(self, message: Message) -> None:
        """See ASGI."""
        if message["type"] in ("http.response.start", "websocket.http.response.start"):
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        if message["type"] in ("http.response.start", "websocket.http.response.start", "websocket.accept"):
            self.begun = True
            if self.deadline is not None and not self.deadline.expired():
                self.deadline.reschedule(None)
        if message["type"] == "websocket.close":
            self.begun = True
        await self._send(message)


def hosts_of(settings: Settings, *, users: bool) -> frozenset[str] | None:
    """Names under which the dashboard may be asked; None: any.

    Without users, a web page that has its own name lead to this machine could have a browser read everything.
    """
    if users and not settings.hosts and not settings.front:
        return None
    front = [settings.front] if settings.front else []
    return frozenset(name.lower() for name in (*front, *settings.hosts, *domains.LOOPBACK, settings.bind))


def host_of(header: str) -> str:
    """The name in a Host header, without port and brackets."""
    name = header.rpartition("]")[0].removeprefix("[") if header.startswith("[") else header.partition(":")[0]
    return name.lower().removesuffix(".")
