"""Faults that take a quarter of an hour and more, as samples that would have been recorded.

A second Prometheus beside each deployed one judges them by the deployed rules, now: what is recorded goes on for a
minute. That a fault had lasted for a quarter of an hour before it started is recorded as Prometheus itself does.
"""

from __future__ import annotations

import base64
import gzip
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from fleet import attempt, on, wait_until
from prometheus import firing
from test_1_watched import CONFIG, MONITORS

FOLDER, SERVER = "/root/recorded", "http://127.0.0.1:9190"
SETTINGS = f"global: {{evaluation_interval: 1s}}\nrule_files: [{CONFIG}/rules/*.yml]\n"
HOUR, STEP = 3600, 5
SOON = 40  # s until one more fault begins, time enough to start the servers where there is no other work
MOST = 8 * SOON
LASTS, AFTER = 30, 40  # s of it, and of what is recorded after its end
INTERVAL = 60
SILENT, GROWING, DROPPING = (
    {(f"Speedtest{name}", "cellar")} for name in ("NodeSilent", "OutboxGrowing", "OutboxDropping")
)


class Times(NamedTuple):
    """When the node falls silent, when all is well again, and until when that is recorded; Unix times (s)."""

    fires: int
    ends: int
    last: int


def recorded(now: int, times: Times) -> str:
    """An hour of a node that falls silent soon, whose outbox grows, and which lost records an hour ago."""
    threshold = 900 + 3 * INTERVAL
    series: dict[str, Callable[[int], float]] = {
        "speedtest_expected_interval_seconds": lambda _: INTERVAL,
        "speedtest_last_seen_timestamp_seconds": lambda at: at if at >= times.ends else times.fires - threshold,
        "speedtest_logger_outbox_records": lambda at: 0 if at >= times.ends else 70 + (at - now) // 60,
        "speedtest_logger_outbox_dropped_total": lambda at: 7 if at < times.ends - HOUR else 9,
    }
    lines = []
    for name, value in series.items():
        kind = "counter" if name.endswith("_total") else "gauge"
        lines.append(f"# TYPE {name.removesuffix('_total')} {kind}")
        moments = range(now - HOUR - 300, times.last, STEP)
        lines += [f'{name}{{node="cellar",location="cellar"}} {value(at)} {at}' for at in moments]
    lines.append("# TYPE ALERTS_FOR_STATE gauge")
    labels = 'alertname="SpeedtestOutboxGrowing",node="cellar",location="cellar",severity="warning"'
    moments = range(now - 16 * 60, now, STEP)
    lines += [f"ALERTS_FOR_STATE{{{labels}}} {moments[0]} {at}" for at in moments]
    return "\n".join([*lines, "# EOF", ""])


def fires(monitor: str) -> set[tuple[str, str]]:
    """Which of the recorded faults a monitoring host's second Prometheus tells of."""
    return firing(monitor, SERVER) & (SILENT | GROWING | DROPPING)


@contextmanager
def served() -> Iterator[Times]:
    """Have both judged what begins soon; where the machine is too slow for that, what begins later."""
    soon = SOON
    times = serve(soon)
    while time.time() > times.fires - SOON / 4 and soon < MOST:
        stop()
        soon *= 2
        times = serve(soon)
    yield times
    stop()


def stop() -> None:
    """Forget it all."""
    for monitor in MONITORS:
        on(monitor, f"systemctl stop recorded; rm -rf {FOLDER}")


def serve(soon: int) -> Times:
    """Record and start the servers; returns once both answer."""
    now = int(time.time())
    times = Times(now + soon, now + soon + LASTS, now + soon + LASTS + AFTER)
    files = {"samples": recorded(now, times), "prometheus.yml": SETTINGS}
    for monitor in MONITORS:
        on(monitor, f"mkdir -p {FOLDER}")
        for name, text in files.items():
            packed = base64.b64encode(gzip.compress(text.encode())).decode()
            on(monitor, f"echo {packed} | base64 -d | gunzip >{FOLDER}/{name}")
        on(monitor, f"promtool tsdb create-blocks-from openmetrics {FOLDER}/samples {FOLDER}/data")
        options = f"--config.file={FOLDER}/prometheus.yml --storage.tsdb.path={FOLDER}/data"
        listen = SERVER.removeprefix("http://")
        on(monitor, f"systemd-run --quiet --unit=recorded prometheus {options} --web.listen-address={listen}")
    for monitor in MONITORS:
        ready = f"curl --silent {SERVER}/-/ready | grep -q Ready"
        wait_until("it answers", lambda m=monitor, r=ready: attempt(m, r).returncode == 0, 20, every=1)
    return times
