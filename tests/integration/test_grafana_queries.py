"""Every query of every panel, asked of a real Prometheus that holds a known fleet, has the right number."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest
from builders import ROOT
from ports import free_port

DAY, STEP = 86_400, 120
NODES = {"attic": "home", "porch": "home", "shed": "garden"}
SILENT = "shed"
# of each node: download, upload (bytes/s), latency, tests ok and failed an hour, bytes down and up an hour
FIGURES = {
    "attic": (12_500_000, 5_000_000, 0.01, 6, 0, 1e9, 5e8),
    "porch": (10_000_000, 4_000_000, 0.02, 4, 2, 8e8, 4e8),
    "shed": (5_000_000, 1_000_000, 0.03, 3, 3, 4e8, 2e8),
}
MB = 1e6
# What each panel must say: one value for each series, sorted.
EXPECTED = {
    ("fleet", "Nodes"): [3],
    ("fleet", "Silent"): [1],
    ("fleet", "Findings"): [2],
    ("fleet", "Slots ok, a day"): [13 / 18],
    ("fleet", "Data, a day"): [24 * 3.3e9],
    ("fleet", "Longest silence"): [10_800],
    ("fleet", "Download"): [40 * MB, 80 * MB, 100 * MB],
    ("fleet", "Upload"): [8 * MB, 32 * MB, 40 * MB],
    ("fleet", "Share of the plan, download"): [0.8, 1.0],
    ("fleet", "Latency"): [0.01, 0.02, 0.03],
    ("fleet", "Slots by outcome, an hour"): [1, 5, 13],  # by hand, failed, ok
    ("fleet", "Data by location, a day"): [24 * 0.6e9, 24 * 2.7e9],
    ("line", "Download"): [80 * MB],
    ("line", "Upload"): [32 * MB],
    ("line", "Latency"): [0.02],
    ("line", "Share of the plan"): [0.8],
    ("line", "Heard of"): [60],
    ("line", "Last test that worked"): [600],
    ("line", "Download and plan"): [80 * MB, 100 * MB],
    ("line", "Upload and plan"): [32 * MB, 40 * MB],
    ("line", "Latency, idle and under load"): [0.02, 0.04, 0.06],
    ("line", "Jitter"): [0.002],
    ("line", "Packet loss"): [0.01],
    ("line", "Slots by outcome, an hour"): [0, 2, 4],
    ("line", "Data, a day"): [24 * 4e8, 24 * 8e8],
    ("line", "Waiting on the node"): [7],
    ("system", "Taken in"): [45],
    ("system", "Deliveries waiting"): [3],
    ("system", "In quarantine"): [1],
    ("system", "Records"): [123_456],
    ("system", "Archive"): [5_000_000],
    ("system", "Findings of verify"): [0],
    ("system", "Saved"): [40_000],
    ("system", "Browsers"): [2],
    ("system", "Requests to the dashboard"): [0.5, 2],
    ("system", "Answers of the dashboard, 95 of 100 within"): [0.095],
    ("system", "Waiting on nodes"): [7, 7, 7],
    ("system", "Lost on nodes"): [6, 6, 6],
    ("system", "Used of the month's data"): [0.25, 0.25, 0.25],
    ("system", "A run takes"): [25, 25, 25],
    ("system", "Log on nodes"): [2048, 2048, 2048],
    ("system", "Targets that answer"): [0, 1, 1, 1],
    ("system", "Units that have failed"): [0, 0, 1],
    ("system", "Free on nodes"): [0.4, 0.4, 0.4],
}


def fleet(now):
    """Series of the known fleet: name with labels, the value now, and its rise a second."""
    made = []
    for node, location in NODES.items():
        down, up, latency, ok, failed, received, sent = FIGURES[node]
        place = f'node="{node}",location="{location}"'
        gauges = {
            "download_bytes_per_second": down,
            "upload_bytes_per_second": up,
            "latency_seconds": latency,
            "download_latency_seconds": 2 * latency,
            "upload_latency_seconds": 3 * latency,
            "jitter_seconds": latency / 10,
            "packet_loss_ratio": 0.01,
            "expected_interval_seconds": 600,
            "last_seen_timestamp_seconds": now - (10_800 if node == SILENT else 60),
            "last_success_timestamp_seconds": now - 600,
        }
        if node != SILENT:  # its plan is not known
            gauges |= {"plan_download_bytes_per_second": 12_500_000, "plan_upload_bytes_per_second": 5_000_000}
        made += [(f"speedtest_{name}{{{place}}}", value, 0) for name, value in gauges.items()]
        slots = {"ok": ok, "failed": failed, "unscheduled": 1 if node == "attic" else 0}
        made += [
            (f'speedtest_slots_total{{{place},outcome="{name}"}}', 1e4, each / 3600) for name, each in slots.items()
        ]
        moved = {"received": received, "sent": sent}
        made += [
            (f'speedtest_transferred_bytes_total{{{place},direction="{name}"}}', 1e12, each / 3600)
            for name, each in moved.items()
        ]
        firing = int(node != SILENT)
        made.append((f'speedtest_alert_firing{{rule="below_plan",{place},severity="warning"}}', firing, 0))
        own = f'{place},instance="{node}",job="speedtest-node"'
        logger = {"outbox_records": 7, "budget_used_bytes": 1e9, "budget_limit_bytes": 4e9, "log_bytes": 2048}
        logger |= {"last_run_duration_seconds": 25}
        made += [(f"speedtest_logger_{name}{{{own}}}", value, 0) for name, value in logger.items()]
        made.append((f"speedtest_logger_outbox_dropped_total{{{own}}}", 1e4, 6 / 3600))
        failing = f'{own},name="speedtest-push.service",state="failed"'
        made.append((f"node_systemd_unit_state{{{failing}}}", int(node == "porch"), 0))
        made.append((f'node_filesystem_avail_bytes{{{own},mountpoint="/"}}', 4e9, 0))
        made.append((f'node_filesystem_size_bytes{{{own},mountpoint="/"}}', 1e10, 0))
        made.append((f"up{{{own}}}", int(node != SILENT), 0))
    archive = {"inbox_files": 3, "quarantine_files": 1, "rows": 123_456, "bytes": 5_000_000, "verify_findings": 0}
    archive |= {"last_ingest_timestamp_seconds": now - 45, "last_backup_timestamp_seconds": now - 40_000}
    made += [(f"speedtest_archive_{name}", value, 0) for name, value in archive.items()]
    made.append(("speedtest_dashboard_clients", 2, 0))
    job = 'job="speedtest-dashboard",instance="dashboard"'
    made.append((f"up{{{job}}}", 1, 0))
    for code, rate in (("200", 2), ("404", 0.5)):
        made.append((f'http_requests_total{{{job},method="GET",route="/",code="{code}"}}', 1e6, rate))
    for le, share in (("0.05", 0.5), ("0.1", 1), ("+Inf", 1)):  # so that 95 of 100 take 0.095 s
        made.append((f'http_request_duration_seconds_bucket{{{job},method="GET",route="/",le="{le}"}}', 1e6, 2 * share))
    return made


def openmetrics(now):
    """The known fleet's last day, as `promtool tsdb create-blocks-from openmetrics` takes it."""
    moments = range(now - DAY - 2 * STEP, now + 1, STEP)
    lines = [f"{n} {value + rise * (at - now):.6f} {at}" for n, value, rise in fleet(now) for at in moments]
    return "\n".join([*lines, "# EOF", ""])


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """Ask a Prometheus that holds the known fleet; what an expression is at the fleet's now."""
    folder = tmp_path_factory.mktemp("prometheus")
    now = int(time.time()) // STEP * STEP - 600
    (folder / "fleet.om").write_text(openmetrics(now))
    (folder / "prometheus.yml").write_text("{}\n")
    made = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(folder / "fleet.om"), str(folder / "data")]
    subprocess.run(made, check=True, capture_output=True)
    port = free_port()
    argv = ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen([*argv, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)

    def ask(expression):
        query = urllib.parse.urlencode({"query": expression, "time": now})
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?{query}", timeout=60) as answer:
            found = json.load(answer)
        return [float(series["value"][1]) for series in found["data"]["result"]]

    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5).close()
                break
            except (urllib.error.URLError, OSError):
                assert time.monotonic() < deadline, (folder / "log").read_text()[-2000:]
                time.sleep(0.1)
        yield ask
    finally:
        server.terminate()
        server.wait()


def panels():
    for name in ("fleet", "line", "system"):
        board = json.loads((ROOT / f"dashboards/{name}.json").read_text(encoding="utf-8"))
        for panel in board["panels"]:
            yield name, panel["title"], [target["expr"].replace("$node", "porch") for target in panel["targets"]]


@pytest.mark.parametrize(("name", "title", "expressions"), list(panels()))
def test_a_panel_shows_the_right_number(asked, name, title, expressions):
    found = []
    for expression in expressions:
        values = asked(expression)
        assert values, expression
        found += values
    assert sorted(found) == pytest.approx(EXPECTED[name, title], rel=1e-3, abs=1e-3)


def test_no_panel_is_left_out():
    assert {(name, title) for name, title, _ in panels()} == set(EXPECTED)
