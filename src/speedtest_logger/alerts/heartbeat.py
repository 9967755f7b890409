"""A sign of life for somebody outside: where it stays away, they shout, though nothing here can any more."""

from __future__ import annotations

from http.client import HTTPException
from urllib.request import Request, build_opener

from speedtest_logger import __version__
from speedtest_logger.log import Log

PATIENCE = 10  # s


def beat(url: str, log: Log) -> None:
    """Ask for an address, which may be a secret. That nobody answers is said, and stops nothing."""
    request = Request(url, headers={"User-Agent": f"speedtest-alerts/{__version__}"})  # noqa: S310  (http and https only)
    try:
        with build_opener().open(request, timeout=PATIENCE) as answer:
            answer.read(1000)
    except (OSError, HTTPException, ValueError) as error:
        log.event("warning", "no_heartbeat", why=str(getattr(error, "reason", error))[:100])
