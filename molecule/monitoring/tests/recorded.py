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

from fleet import attempt, on, wait_until
from prometheus import firing
from test_1_watched import CONFIG, MONITORS

FOLDER, SERVER = "/root/recorded", "http://127.0.0.1:9190"
SETTINGS = f"global: {{evaluation_interval: 1s}}\nrule_files: [{CONFIG}/rules/*.yml]\n"
HOUR, STEP = 3600, 5
FIRES, ENDS, LAST = 40, 70, 110  # s from now
INTERVAL = 60
SILENT, GROWING, DROPPING = (
    {(f"Speedtest{name}", "cellar")} for name in ("NodeSilent", "OutboxGrowing", "OutboxDropping")
)


def recorded(now: int) -> str:
    """An hour of a node that falls silent in half a minute, whose outbox grows, and which lost records an hour ago."""
    threshold = 900 + 3 * INTERVAL
    series: dict[str, Callable[[int], float]] = {
        "speedtest_expected_interval_seconds": lambda _: INTERVAL,
        "speedtest_last_seen_timestamp_seconds": lambda at: at if at >= now + ENDS else now + FIRES - threshold,
        "speedtest_logger_outbox_records": lambda at: 0 if at >= now + ENDS else 70 + (at - now) // 60,
        "speedtest_logger_outbox_dropped_total": lambda at: 7 if at < now + ENDS - HOUR else 9,
    }
    lines = []
    for name, value in series.items():
        kind = "counter" if name.endswith("_total") else "gauge"
        lines.append(f"# TYPE {name.removesuffix('_total')} {kind}")
        times = range(now - HOUR - 300, now + LAST, STEP)
        lines += [f'{name}{{node="cellar",location="cellar"}} {value(at)} {at}' for at in times]
    lines.append("# TYPE ALERTS_FOR_STATE gauge")
    labels = 'alertname="SpeedtestOutboxGrowing",node="cellar",location="cellar",severity="warning"'
    times = range(now - 16 * 60, now, STEP)
    lines += [f"ALERTS_FOR_STATE{{{labels}}} {times[0]} {at}" for at in times]
    return "\n".join([*lines, "# EOF", ""])


def fires(monitor: str) -> set[tuple[str, str]]:
    """Which of the recorded faults a monitoring host's second Prometheus tells of."""
    return firing(monitor, SERVER) & (SILENT | GROWING | DROPPING)


@contextmanager
def served() -> Iterator[int]:
    """Have both judged; yields when what is recorded as now is (Unix time, s)."""
    now = int(time.time())
    files = {"samples": recorded(now), "prometheus.yml": SETTINGS}
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
    yield now
    for monitor in MONITORS:
        on(monitor, "systemctl stop recorded")
