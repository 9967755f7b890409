"""What alerts found, what was told of it, and how destinations take it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from speedtest_logger.dashboard.api.asked import ONCE, check_etag, figures_of
from speedtest_logger.dashboard.figures import Alerts
from speedtest_logger.dashboard.guard import may

router = APIRouter(prefix="/v1", dependencies=[Depends(may("read"))], tags=["alerts"])


def fresh(request: Request, response: Response) -> None:
    """Give the answer its ETag, which changes with each evaluation. Raises NotModified where the asker knows it."""
    known: Any = figures_of(request).alerts_version()
    check_etag(request, response, f"alerts-{'-'.join(map(str, known or ()))}")


@router.get("/alerts", dependencies=[Depends(fresh)], responses=ONCE["responses"])
def alerts(request: Request) -> Alerts:
    """Findings that last, the worst first; those that have ended, the newest first; destinations, by name."""
    return figures_of(request).alerts()
