"""The API for programs: /api/v1 and /api/status. It answers questions, and keeps annotations; it starts no test."""

from __future__ import annotations

from fastapi import APIRouter

from speedtest_logger.dashboard.api import alerts, charts, fleet, logs, notes, probes, records, slots


def add_to(router: APIRouter) -> None:
    """Add all routes."""
    for part in (fleet, records, charts, slots, alerts, notes, logs, probes):
        router.include_router(part.router, prefix="/api")
