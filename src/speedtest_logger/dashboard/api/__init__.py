"""The API for programs: /api/v1 and /api/status. It answers questions, and keeps annotations; it starts no test."""

from __future__ import annotations

from fastapi import FastAPI

from speedtest_logger.dashboard.api import alerts, asked, charts, fleet, logs, notes, probes, records, slots


def add_to(app: FastAPI) -> None:
    """Add all routes to an application."""
    for part in (fleet, records, charts, slots, alerts, notes, logs, probes):
        app.include_router(part.router, prefix="/api")  # a router between would make each route anew
    app.add_exception_handler(asked.NotModified, asked.not_modified)
