"""What went wrong, for whom it is: a page in a browser, problem details (RFC 9457) for a program."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import duckdb
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.websockets import WebSocket

from speedtest_logger.dashboard import render
from speedtest_logger.errors import NotReadyError, SpeedtestError, StorageError, UsageError

MEDIA_TYPE = "application/problem+json"
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
OF_PROGRAMS = ("/api/", "/ws", "/health", "/metrics", "/static/", "/auth")
SCHEMA = {
    "title": "Problem",
    "description": "What went wrong (RFC 9457).",
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "const": "about:blank"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["where", "what"],
                "properties": {"where": {"type": "string"}, "what": {"type": "string"}},
            },
        },
    },
}


def for_people(connection: HTTPConnection) -> bool:
    """Whether a browser shows the answer to somebody."""
    return (
        connection.scope["type"] == "http"
        and not connection.url.path.startswith(OF_PROGRAMS)
        and "text/html" in connection.headers.get("accept", "")
    )


def answer(
    connection: HTTPConnection, status: int, detail: str, headers: Mapping[str, str] | None = None, **more: Any
) -> Response:
    """A page or problem details."""
    title = HTTPStatus(status).phrase
    if for_people(connection):
        if status == HTTPStatus.UNAUTHORIZED and connection.scope["method"] in ("GET", "HEAD"):
            return RedirectResponse(f"/login?next={quote(path_of(connection), safe='')}", 303)
        return render.page(connection, "error.html.j2", status, headers, heading=title, detail=detail)
    content = {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}
    return JSONResponse(content, status, headers, MEDIA_TYPE)


def path_of(connection: HTTPConnection) -> str:
    """What was asked for, without the host."""
    query = connection.url.query
    return connection.url.path + (f"?{query}" if query else "")


def add_to(app: FastAPI) -> None:
    """Have what is raised in any route answered."""

    async def of_http(connection: HTTPConnection, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return answer(connection, error.status_code, str(error.detail), error.headers)

    async def of_input(connection: HTTPConnection, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return _of_errors(connection, error.errors())

    async def of_socket(connection: WebSocket, error: Exception) -> None:
        assert isinstance(error, WebSocketRequestValidationError)
        await connection.send_denial_response(_of_errors(connection, error.errors()))

    async def of_ours(connection: HTTPConnection, error: Exception) -> Response:
        if isinstance(error, UsageError):
            return answer(connection, 400, str(error))
        if isinstance(error, NotReadyError):
            return answer(connection, 503, str(error), {"Retry-After": "5"})
        app.state.log.event("error", "failed", path=connection.url.path, error=str(error))
        return answer(connection, 503, f"{what_of(connection, error)} just now: the dashboard's log says why")

    app.add_exception_handler(HTTPException, of_http)
    app.add_exception_handler(RequestValidationError, of_input)
    app.add_exception_handler(WebSocketRequestValidationError, of_socket)
    for kind in (SpeedtestError, OSError, duckdb.Error):
        app.add_exception_handler(kind, of_ours)


def _of_errors(connection: HTTPConnection, errors: Sequence[Any]) -> Response:
    """What is wrong with a question: where, which value was seen, and what is expected."""
    wrong = [{"where": ".".join(map(str, each["loc"])), "what": _what(each)} for each in errors]
    return answer(connection, 422, "; ".join(f"{each['where']}: {each['what']}" for each in wrong[:5]), errors=wrong)


def _what(error: Mapping[str, Any]) -> str:
    seen = error.get("input") if error["loc"][:1] in (("query",), ("path",)) else None  # a form may have a password
    return f"{error['msg']}, and not {seen[:40]!r}" if isinstance(seen, str) else str(error["msg"])


def what_of(connection: HTTPConnection, error: Exception) -> str:
    """What did not work, as far as anybody may know."""
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return "the disk is full: nothing can be kept"
    if connection.scope.get("method") not in ("GET", "HEAD", None):
        return "this could not be kept"
    if isinstance(error, duckdb.Error):
        return "the figures cannot be made"
    return "the archive cannot be read" if isinstance(error, (StorageError, OSError)) else "this did not work"
