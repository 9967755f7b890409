"""Every metric that nodes and the dashboard give to Prometheus, and the text that they give it in.

Base units: bytes, seconds, ratios from 0 to 1, Unix times. What was not measured has no sample, never 0 or NaN. No
label has more values than the inventory has nodes, or targets of probes: no server, address or run is one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

TEXTFILE_DIR = "/var/lib/speedtest-metrics"
TEXTFILE = "speedtest.prom"  # the name by which node-exporter's textfile collector knows such a file
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LABEL_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})
HELP_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n"})


class Metric(NamedTuple):
    """A metric: its name, its type, its labels, and what it says."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str


PLACE = ("node", "location")
NODE = "speedtest_logger"
ARCHIVE = "speedtest_archive"

BUILD_INFO = Metric(
    "speedtest_build_info", "gauge", ("version", "role", "python"), "Always 1; which version of what runs on what."
)
# What each node writes of itself. Prometheus adds which node it is: its label instance.
OF_NODE = (
    Metric(f"{NODE}_last_run_timestamp_seconds", "gauge", (), "When the last slot or test ended."),
    Metric(f"{NODE}_last_run_duration_seconds", "gauge", (), "How long it took."),
    Metric(
        f"{NODE}_last_run_success",
        "gauge",
        (),
        "1 where it was ok or skipped on purpose, 0 where it failed or is partial.",
    ),
    Metric(f"{NODE}_outbox_records", "gauge", (), "Records that wait for the archive's receipt."),
    Metric(f"{NODE}_outbox_bytes", "gauge", (), "What they take on the disk."),
    Metric(f"{NODE}_outbox_dropped_total", "counter", (), "Undelivered records that had to go for newer ones."),
    Metric(f"{NODE}_delivery_last_success_timestamp_seconds", "gauge", (), "When the archive last gave a receipt."),
    Metric(f"{NODE}_budget_used_bytes", "gauge", (), "What this month's measurements have cost (UTC)."),
    Metric(f"{NODE}_budget_limit_bytes", "gauge", (), "What they may cost; absent where there is no limit."),
    Metric(f"{NODE}_log_bytes", "gauge", (), "Size of the diagnostics log, with what was rotated."),
)
# What its probes found in the last minutes; the inventory names their targets.
PROBED = ("probe", "target")
OF_PROBES = (
    Metric("speedtest_probe_loss_ratio", "gauge", PROBED, "Share of a probe's requests without a good answer."),
    Metric("speedtest_probe_latency_seconds", "gauge", PROBED, "Median round trip of those that had one."),
)
# What the last test of a node measured: the metric, its column of the record, and by what that is divided.
MEASURED = (
    (Metric("speedtest_download_bytes_per_second", "gauge", PLACE, "Download of the last test."), "download_bps", 8),
    (Metric("speedtest_upload_bytes_per_second", "gauge", PLACE, "Upload of the last test."), "upload_bps", 8),
    (Metric("speedtest_latency_seconds", "gauge", PLACE, "Latency of the idle line."), "latency_ms", 1000),
    (
        Metric("speedtest_download_latency_seconds", "gauge", PLACE, "Latency during the download."),
        "download_latency_ms",
        1000,
    ),
    (
        Metric("speedtest_upload_latency_seconds", "gauge", PLACE, "Latency during the upload."),
        "upload_latency_ms",
        1000,
    ),
    (Metric("speedtest_jitter_seconds", "gauge", PLACE, "Jitter of the idle line."), "jitter_ms", 1000),
    (
        Metric("speedtest_packet_loss_ratio", "gauge", PLACE, "Share of the packets that were lost."),
        "packet_loss_pct",
        100,
    ),
)
# What else the archive knows of each node.
OF_FLEET = (
    Metric("speedtest_plan_download_bytes_per_second", "gauge", PLACE, "What the contract promises for downloads."),
    Metric("speedtest_plan_upload_bytes_per_second", "gauge", PLACE, "What the contract promises for uploads."),
    Metric(
        "speedtest_slots_total",
        "counter",
        (*PLACE, "outcome"),
        "Slots that are over, by outcome: ok, partial, failed, skipped, missed; unscheduled: tests outside of slots.",
    ),
    Metric("speedtest_transferred_bytes_total", "counter", (*PLACE, "direction"), "What tests received and sent."),
    Metric("speedtest_last_record_timestamp_seconds", "gauge", PLACE, "When the last record's slot or test began."),
    Metric("speedtest_last_success_timestamp_seconds", "gauge", PLACE, "When the last test began that was ok."),
    Metric("speedtest_last_seen_timestamp_seconds", "gauge", PLACE, "When the archive last heard of the node."),
    Metric("speedtest_expected_interval_seconds", "gauge", PLACE, "Time between two slots, by the inventory."),
)
# The archive itself.
OF_ARCHIVE = (
    Metric(f"{ARCHIVE}_inbox_files", "gauge", (), "Deliveries that wait for ingest."),
    Metric(f"{ARCHIVE}_quarantine_files", "gauge", (), "Files that no ingest can read, in quarantine."),
    Metric(f"{ARCHIVE}_last_ingest_timestamp_seconds", "gauge", (), "When ingest last ended well."),
    Metric(f"{ARCHIVE}_rows", "gauge", (), "Records in the archive."),
    Metric(f"{ARCHIVE}_bytes", "gauge", (), "Size of the archive's months."),
    Metric(
        f"{ARCHIVE}_last_publish_timestamp_seconds", "gauge", (), "When the object store was last brought up to date."
    ),
    Metric(f"{ARCHIVE}_last_backup_timestamp_seconds", "gauge", (), "When the last backup was made."),
    Metric(f"{ARCHIVE}_verify_findings", "gauge", (), "What differs from the manifest, by the last verify."),
)
# The database that follows the archive, where there is one.
OF_DATABASE = (
    Metric(
        "speedtest_database_last_sync_timestamp_seconds", "gauge", (), "When the database last was what the archive is."
    ),
    Metric(
        "speedtest_database_lag_changes", "gauge", (), "Changes of the archive that the database does not have yet."
    ),
    Metric("speedtest_database_last_dump_timestamp_seconds", "gauge", (), "When a dump was last made and proved."),
)
# What alerts found, and how their messages left.
OF_ALERTS = (
    Metric(
        "speedtest_alert_firing",
        "gauge",
        ("rule", *PLACE, "severity"),
        "1 while a finding lasts, told or held back; of a whole line, node is empty, and of the archive, location too. "
        "Absent where nothing has been judged for 10 minutes.",
    ),
    Metric("speedtest_alerts_last_evaluation_timestamp_seconds", "gauge", (), "When all was judged last."),
    Metric(
        "speedtest_notifications_total",
        "counter",
        ("destination", "outcome"),
        "Tries to send a destination something, by outcome: sent, failed.",
    ),
)
# The dashboard itself.
ROUTE = ("method", "route")
OF_DASHBOARD = (
    Metric("speedtest_dashboard_clients", "gauge", (), "Browsers that are told what is new."),
    Metric(
        "http_requests_total", "counter", (*ROUTE, "code"), "Requests that were answered, by template of the route."
    ),
    Metric(
        "http_request_duration_seconds", "histogram", ROUTE, "Time until the answer was sent, by template of the route."
    ),
)
BY_NAME = {
    metric.name: metric
    for metric in (
        BUILD_INFO,
        *OF_NODE,
        *OF_PROBES,
        *(row[0] for row in MEASURED),
        *OF_FLEET,
        *OF_ARCHIVE,
        *OF_DATABASE,
        *OF_ALERTS,
        *OF_DASHBOARD,
    )
}


def labels(**values: str) -> str:
    """Labels as they stand in braces; whatever a value holds, it cannot end the line or the label."""
    return ",".join(f'{name}="{value.translate(LABEL_ESCAPES)}"' for name, value in values.items())


def family(metric: Metric, samples: Iterable[tuple[str, float | None]]) -> str:
    """A metric with its samples: labels as `labels` gives them, and a value; None, and what is no number, is left out.

    Empty where there is no sample.
    """
    lines = [
        f"{metric.name}{{{of}}} {value!r}\n" if of else f"{metric.name} {value!r}\n"
        for of, value in samples
        if value is not None and math.isfinite(value)
    ]
    return head(metric) + "".join(lines) if lines else ""


def head(metric: Metric) -> str:
    """The lines before a metric's samples."""
    return f"# HELP {metric.name} {metric.text.translate(HELP_ESCAPES)}\n# TYPE {metric.name} {metric.kind}\n"
