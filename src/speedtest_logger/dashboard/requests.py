"""Requests counted and timed, by the template of their route: no path that somebody makes up is a series of its own."""

from __future__ import annotations

import re
import time

import prometheus_client
from fastapi import FastAPI
from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from speedtest_logger.dashboard.guard import OPEN_MOUNTS, routes_of
from speedtest_logger.metrics import BY_NAME

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
OTHER = "other"
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)  # s

# when a counter began needs no series of its own
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]


class Requests:
    """The counts of an application: `app.state.requests`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        total, duration = BY_NAME["http_requests_total"], BY_NAME["http_request_duration_seconds"]
        self.total = Counter(total.name, total.text, total.labels, registry=self.registry)
        self.duration = Histogram(
            duration.name, duration.text, duration.labels, registry=self.registry, buckets=BUCKETS
        )
        self._routes: list[tuple[re.Pattern[str], str]] = []

    def know(self, app: FastAPI) -> None:
        """Learn the templates of an application's routes."""
        paths = dict.fromkeys(route.path for route in routes_of(app) if route.path not in OPEN_MOUNTS)
        self._routes = [(compile_path(path)[0], path) for path in paths]

    def template(self, path: str) -> str:
        """The template that a path is of; `other` for one that is of none."""
        if mount := next((mount for mount in OPEN_MOUNTS if path.startswith(f"{mount}/")), None):
            return mount
        return next((template for pattern, template in self._routes if pattern.match(path)), OTHER)

    def count(self, method: str, path: str, code: int, seconds: float) -> None:
        """Count an answer."""
        known = method if method in METHODS else OTHER
        route = self.template(path)
        self.total.labels(known, route, str(code)).inc()
        self.duration.labels(known, route).observe(seconds)

    def text(self) -> str:
        """What was counted, for Prometheus."""
        return prometheus_client.generate_latest(self.registry).decode()


class Counted:
    """Middleware outside of all others: whatever answers is counted, once the answer is sent."""

    def __init__(self, app: ASGIApp, requests: Requests) -> None:
        self.app, self.requests = app, requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, code = time.perf_counter(), 0

        async def counting(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, counting)
        finally:
            if code:  # else nobody waited for the answer
                self.requests.count(scope["method"], scope["path"], code, time.perf_counter() - began)
