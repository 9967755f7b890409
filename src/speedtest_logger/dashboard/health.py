"""Whether the archive can be read and is still being filled: what /health says to whoever asks."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from http.client import HTTPException
from typing import IO
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

from speedtest_logger import registry
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.ledger import manifest
from speedtest_logger.dashboard.settings import Settings
from speedtest_logger.errors import SpeedtestError
from speedtest_logger.files import STATE_BYTES, read_bounded
from speedtest_logger.record import unix_time

EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (nothing listens here)
PATIENCE = 5.0  # s
LEFT_OUT = 3  # runs of ingest in a row, until it counts as stopped


@dataclass(frozen=True)
class Health:
    """`scheduler` is running, stopped, or none: an archive that was made without Ansible has nothing that fills it."""

    scheduler: str
    why: str | None = None

    def to_json(self) -> dict[str, str]:
        """What /health answers."""
        said = {"status": "degraded" if self.why else "healthy", "scheduler": self.scheduler}
        return {**said, "why": self.why} if self.why else said


def health(settings: Settings) -> Health:
    """The archive's health. It costs three small files, whoever asks how often."""
    layout = Layout(settings.archive_dir)
    try:
        os.scandir(layout.archive).close()
        manifest.head(layout)
    except (OSError, SpeedtestError):  # what exactly is none of a stranger's business: `check` and the log say it
        return Health("stopped", "the archive cannot be read")
    if not any(os.path.lexists(layout.root / place) for place in registry.PLACES):
        return Health("none")
    if (ingested := last_ingest(layout)) is None:
        return Health("stopped", "nothing was ingested yet")
    age = time.time() - ingested
    if age > LEFT_OUT * settings.ingest_interval_seconds:
        return Health("stopped", f"the last ingest was {age / 60:.0f} min ago")
    return Health("running")


def ask(settings: Settings) -> dict[str, str]:
    """What the dashboard of these settings answers that runs on this machine."""
    host = EVERYWHERE.get(settings.bind, settings.bind)
    url = f"http://{f'[{host}]' if ':' in host else host}:{settings.port}/health"
    direct = build_opener(ProxyHandler({}))
    try:
        with direct.open(url, timeout=PATIENCE) as answer:
            return _said(answer)
    except HTTPError as error:
        with error:
            return _said(error)
    except (OSError, HTTPException) as error:
        return {"status": "unreachable", "why": f"{url}: {getattr(error, 'reason', error)}"}


def _said(answer: IO[bytes]) -> dict[str, str]:
    try:
        content = json.loads(answer.read(STATE_BYTES))
        more = {name: str(content[name]) for name in ("scheduler", "why") if name in content}
        return {"status": str(content["status"]), **more}
    except (ValueError, KeyError, TypeError, RecursionError):
        return {"status": "unreachable", "why": "something else answers there"}


def last_ingest(layout: Layout) -> float | None:
    """When ingest last ended well (Unix time, s), as it notes in state/ingest.json; None where it never did."""
    try:
        return unix_time(json.loads(read_bounded(layout.state / "ingest.json"))["at"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
