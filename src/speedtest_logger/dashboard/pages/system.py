"""The system itself: whether the archive is well, part by part, and what nodes say of themselves."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass

import duckdb
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse

from speedtest_logger.dashboard import render
from speedtest_logger.dashboard.figures import Node
from speedtest_logger.dashboard.pages.shown import duration, size
from speedtest_logger.errors import SpeedtestError

router = APIRouter()
CLOCK_WRONG = 1.0  # s
DISK_LOW = 500_000_000  # bytes
SILENT_SLOTS = 3  # after so many without a sign a node is silent
QUIET = 900  # s that any node may be silent


@dataclass(frozen=True)
class Row:
    """A node, and what is wrong with it in words."""

    node: Node
    wrong: list[str]


def wrong_with(node: Node, now: float) -> list[str]:
    """What somebody should look at; what a node does not say is not judged."""
    found = []
    seen = max((at for at in (node.last_seen, node.last and node.last.at) if at), default=None)
    if node.interval and seen is None:
        found.append("nothing was heard of it yet")
    elif node.interval and seen and now - seen > max(SILENT_SLOTS * node.interval, QUIET):
        found.append(f"silent for {duration(now - seen)}")
    if node.outbox:
        found.append(f"{node.outbox:,} records wait on it")
    if node.clock_offset is not None and abs(node.clock_offset) >= CLOCK_WRONG:
        found.append(f"its clock is {abs(node.clock_offset):.0f} s {'fast' if node.clock_offset > 0 else 'slow'}")
    if node.disk_free is not None and node.disk_free < DISK_LOW:
        found.append(f"{size(node.disk_free)} of its disk are free")
    if node.bundle_error:
        found.append(f"it is not as its bundle says: {node.bundle_error}")
    return found


@router.get("/system")
def show_system(request: Request) -> HTMLResponse:
    """Parts and nodes, what is wrong first."""
    figures, now = request.app.state.figures, time.time()
    parts = sorted(figures.system(), key=lambda part: part.ok)
    nodes: list[Node] = []
    with suppress(SpeedtestError, OSError, duckdb.Error):  # the parts say what is wrong
        nodes = figures.nodes()
    rows = sorted((Row(node, wrong_with(node, now)) for node in nodes), key=lambda row: not row.wrong)
    heard = []
    with suppress(OSError):
        heard = figures.probes_heard()
    versions = sorted({node.version for node in nodes if node.version})
    return render.page(request, "system.html.j2", now=now, parts=parts, rows=rows, versions=versions, heard=heard)
