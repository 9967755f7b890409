"""The evidence report of a line, as `speedtest-archive report` writes it: the same for a page and the API."""

from __future__ import annotations

import base64
import hashlib
import io
import re

from starlette.responses import HTMLResponse

from speedtest_logger.archive.read.local_time import Zone
from speedtest_logger.archive.report import report
from speedtest_logger.dashboard.figures import Figures
from speedtest_logger.dashboard.limits import check_slots, in_turn
from speedtest_logger.dashboard.period import Period

MOST_SLOTS = 500_000


def report_of(figures: Figures, location: str, period: Period, zone: str | None = None) -> HTMLResponse:
    """A page that needs nothing else, on the clocks of a zone, or else of the line's own.

    Raises UsageError for a period in which nothing was tested, or with too many slots; NotReadyError.
    """
    check_slots(figures, period, location, None, MOST_SLOTS)
    archive = figures.source.archive.only(location=location)
    page = io.BytesIO()
    with in_turn():
        clocks = Zone.named(zone) if zone else report.zone_of(archive, location)
        plan = report.planned(archive, location)
        report.write_to(archive, (period.start, period.end), plan, page, None, zone=clocks)
    return HTMLResponse(page.getvalue(), headers={"Content-Security-Policy": policy_of(page.getvalue())})


def policy_of(page: bytes) -> str:
    """What a page may do that has its style in it: have just that style, and nothing else."""
    styles = re.findall(rb"<style>(.*?)</style>", page, re.DOTALL)
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(style).digest()).decode()}'" for style in styles)
    return (
        f"default-src 'none'; style-src {hashes or chr(39) + 'none' + chr(39)}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox"
    )
