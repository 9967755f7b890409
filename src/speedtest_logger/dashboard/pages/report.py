"""The evidence report of a line, as `speedtest-archive report` writes it."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import time

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from speedtest_logger.archive.read.local_time import Zone
from speedtest_logger.archive.report import report
from speedtest_logger.archive.report.page import Plan
from speedtest_logger.dashboard.pages.line import line_of
from speedtest_logger.dashboard.pages.period import period_of

router = APIRouter()


@router.get("/line/{location}/report")
def show_report(request: Request, location: str) -> Response:
    """The page that needs nothing else; its clocks are those of the line's own zone."""
    figures, now = request.app.state.figures, time.time()
    promised = line_of(figures, location).plan
    period = period_of(request.query_params, now, Zone.named(request.app.state.settings.time_zone), "30d")
    archive = figures.source.archive.only(location=location)
    page = io.BytesIO()
    plan = Plan(*(value and value / 1e6 for value in (promised.download, promised.upload)))
    zone = report.zone_of(archive, location)
    report.write_to(archive, (period.start, period.end), plan, page, None, zone=zone)
    return Response(
        page.getvalue(),
        media_type="text/html; charset=utf-8",
        headers={"Content-Security-Policy": policy_of(page.getvalue())},
    )


def policy_of(page: bytes) -> str:
    """What a page may do that has its style in it: have just that style, and nothing else."""
    styles = re.findall(rb"<style>(.*?)</style>", page, re.DOTALL)
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(style).digest()).decode()}'" for style in styles)
    return (
        f"default-src 'none'; style-src {hashes or chr(39) + 'none' + chr(39)}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox"
    )
