"""GET /metrics: what Prometheus is told of nodes, archive and dashboard.

The text is made of PARTS; another one is added to that list. What cannot be asked just now is left out, and the rest
is told. The fleet's families have tens of thousands of samples, which are written as they stand: prometheus_client
takes 115 ms for those of 1,000 nodes, this 8 ms. It counts what the dashboard itself does.
"""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Callable, Iterable

import duckdb
from fastapi import APIRouter, Depends, Request
from starlette.responses import PlainTextResponse, Response

from speedtest_logger import __version__
from speedtest_logger.archive.arrive import aside
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.read import followed, told
from speedtest_logger.dashboard.counters import Counters
from speedtest_logger.dashboard.figures import Exported, Figures, Totals
from speedtest_logger.dashboard.guard import may
from speedtest_logger.dashboard.health import last_ingest
from speedtest_logger.dashboard.live import Live
from speedtest_logger.dashboard.requests import Requests
from speedtest_logger.errors import SpeedtestError
from speedtest_logger.files import identity
from speedtest_logger.log import Log
from speedtest_logger.metrics import BUILD_INFO, BY_NAME, MEASURED, family, labels
from speedtest_logger.record import unix_time

router = APIRouter()
MEDIA_TYPE = "text/plain; version=0.0.4"
OLDEST_SECONDS = 30.0  # that counters are
AHEAD_SECONDS = 20.0  # old, at which they are counted again before anybody asks
ASKED_SECONDS = 300.0  # for so long after the last question
BITS = 8  # of a byte
DIRECTIONS = ("received", "sent")
Samples = Iterable[tuple[str, float | None]]


class Metrics:
    """What `/metrics` tells: `app.state.metrics`."""

    def __init__(self, figures: Figures, live: Live, requests: Requests, counters: Counters, log: Log) -> None:
        self.figures, self.live, self.requests, self.counters, self.log = figures, live, requests, counters, log
        self._lock = threading.Lock()
        self._totals: Totals = {}
        self._bytes: int | None = None
        self._counted = self._asked = -ASKED_SECONDS
        self._said: str | None = None

    def text(self) -> str:
        """All parts; one that cannot be asked just now is left out, and /api/status says why."""
        self._asked = time.monotonic()
        texts = []
        for part in PARTS:
            try:
                texts.append(part(self))
            except (SpeedtestError, OSError, duckdb.Error):
                continue
        return "".join(texts)

    def totals(self, oldest: float | None = None) -> Totals:
        """The fleet's counters, so many seconds old at most. Raises as the figures do."""
        oldest = OLDEST_SECONDS if oldest is None else oldest
        if self._is_older(oldest):
            with self._lock:  # who takes older ones does not wait for the new ones
                if self._is_older(oldest):
                    self._totals = self._risen(self.figures.totals())
                    self._bytes = archive_bytes(self.figures.source.layout)
                    self._counted = time.monotonic()
        return self._totals

    def _is_older(self, oldest: float) -> bool:
        return time.monotonic() - self._counted > oldest

    def archive_bytes(self) -> int | None:
        """The archive's size, as it was when the counters were counted."""
        self.totals()
        return self._bytes

    def count_ahead(self) -> None:
        """Count anew what somebody will soon ask for, who then need not wait for it. Raises as the figures do."""
        if time.monotonic() - self._asked < ASKED_SECONDS:
            self.totals(AHEAD_SECONDS)

    def _risen(self, totals: Totals) -> Totals:
        """The same as counters that never fall."""
        risen = self.counters.risen({f"{kind} {node}": n for node, own in totals.items() for kind, n in own.items()})
        self.keep()
        return {node: {kind: risen[f"{kind} {node}"] for kind in own} for node, own in totals.items()}

    def keep(self, *, now: bool = False) -> None:
        """Keep the counters; that they cannot be is said once."""
        try:
            if self.counters.keep(now=now):
                self._said = None
        except OSError as error:
            said = f"{self.counters.file}: {error.strerror}"
            if said != self._said:
                self.log.event("error", "counters_not_kept", error=said)
            self._said = said


def archive_bytes(layout: Layout) -> int:
    """What the months of the archive have."""
    found = (identity(file) for file in layout.month_files())
    return sum(file.size for file in found if file)


def tell(name: str, samples: Samples) -> str:
    """A metric of the table."""
    return family(BY_NAME[name], samples)


def of_build(_: Metrics) -> str:
    """Which version of the dashboard this is."""
    known = labels(version=__version__, role="dashboard", python=platform.python_version())
    return family(BUILD_INFO, [(known, 1)])


def of_fleet(metrics: Metrics) -> str:
    """What the archive knows of each node."""
    nodes = [(labels(node=node.node, location=node.location), node) for node in metrics.figures.exported()]
    texts = [
        family(metric, ((of, _divided(node, column, by)) for of, node in nodes)) for metric, column, by in MEASURED
    ]
    gauges: dict[str, Callable[[Exported], float | None]] = {
        "speedtest_plan_download_bytes_per_second": lambda node: _bytes(node.plan.download),
        "speedtest_plan_upload_bytes_per_second": lambda node: _bytes(node.plan.upload),
        "speedtest_last_record_timestamp_seconds": lambda node: node.last.at if node.last else None,
        "speedtest_last_success_timestamp_seconds": lambda node: node.last.success if node.last else None,
        "speedtest_last_seen_timestamp_seconds": lambda node: node.seen,
        "speedtest_expected_interval_seconds": lambda node: node.interval,
    }
    texts += [tell(name, ((of, value(node)) for of, node in nodes)) for name, value in gauges.items()]
    totals = metrics.totals()
    counted = [(of, totals[node.node]) for of, node in nodes if node.node in totals]
    slots = ((f'{of},outcome="{kind}"', n) for of, own in counted for kind, n in own.items() if kind not in DIRECTIONS)
    moved = ((f'{of},direction="{way}"', own[way]) for of, own in counted for way in DIRECTIONS)
    return "".join([*texts, tell("speedtest_slots_total", slots), tell("speedtest_transferred_bytes_total", moved)])


def _divided(node: Exported, column: str, by: int) -> float | None:
    value = node.last.values.get(column) if node.last else None
    return None if value is None else value / by


def _bytes(bits: float | None) -> float | None:
    return None if bits is None else bits / BITS


def of_archive(metrics: Metrics) -> str:
    """How the archive itself is."""
    parts = {part.name: part.figures for part in metrics.figures.system()}
    layout = metrics.figures.source.layout
    values: dict[str, Callable[[], float | None]] = {
        "inbox_files": lambda: parts.get("inbox", {}).get("deliveries"),
        "quarantine_files": lambda: aside.count_files(layout),
        "last_ingest_timestamp_seconds": lambda: last_ingest(layout),
        "rows": lambda: parts.get("archive", {}).get("records"),
        "bytes": metrics.archive_bytes,
        "last_backup_timestamp_seconds": lambda: parts.get("backup", {}).get("last"),
        "last_publish_timestamp_seconds": lambda: parts.get("store", {}).get("last"),
        "verify_findings": lambda: parts.get("verify", {}).get("findings"),
    }
    return "".join(tell(f"speedtest_archive_{name}", [("", _asked(value))]) for name, value in values.items())


def _asked(value: Callable[[], float | None]) -> float | None:
    """A value; None where it cannot be had: the dashboard may not look into all that is the archive's own."""
    try:
        return value()
    except (SpeedtestError, OSError, duckdb.Error):
        return None


def of_database(metrics: Metrics) -> str:
    """Where the database that follows the archive has got to; nothing where there is none."""
    layout = metrics.figures.source.layout
    values: dict[str, Callable[[], float | None]] = {
        "last_sync_timestamp_seconds": lambda: _moment(followed.read(layout.database / followed.SYNC).get("at")),
        "lag_changes": lambda: followed.lag(layout),
        "last_dump_timestamp_seconds": lambda: _moment(followed.read(layout.database / followed.DUMP).get("at")),
    }
    return "".join(tell(f"speedtest_database_{name}", [("", _asked(value))]) for name, value in values.items())


def _moment(text: str | None) -> float | None:
    return None if text is None else unix_time(text)


def of_alerts(metrics: Metrics) -> str:
    """What lasts, and how destinations take their messages; nothing where nobody is told."""
    alerts = metrics.figures.alerts()
    firing = ((labels(**of), value) for of, value in told.firing(alerts, time.time()))
    sent = ((labels(**of), value) for of, value in told.notifications(alerts))
    return (
        tell("speedtest_alert_firing", firing)
        + tell("speedtest_alerts_last_evaluation_timestamp_seconds", [("", alerts.evaluated)])
        + tell("speedtest_notifications_total", sent)
    )


def of_dashboard(metrics: Metrics) -> str:
    """What the dashboard itself does."""
    clients = tell("speedtest_dashboard_clients", [("", len(metrics.live.clients))])
    return clients + metrics.requests.text()


PARTS: list[Callable[[Metrics], str]] = [of_build, of_fleet, of_archive, of_database, of_alerts, of_dashboard]


@router.get(
    "/metrics",
    dependencies=[Depends(may("metrics"))],
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus's text."}},
)
def show_metrics(request: Request) -> Response:
    """Metrics of nodes, archive and dashboard, for Prometheus."""
    metrics: Metrics = request.app.state.metrics
    return Response(metrics.text(), media_type=MEDIA_TYPE, headers={"Cache-Control": "no-store"})
