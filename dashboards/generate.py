"""Write Grafana's dashboards: python dashboards/generate.py. A test fails while the JSON beside it is not fresh.

Figures are in bytes and seconds, as Prometheus wants them; people see bit/s.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from grafana_foundation_sdk.builders import dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import units
from panels import CHART_HEIGHT, HERE, STAT_HEIGHT, WIDTH, chart, number

SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
NODE = '{node=~"$node"}'


@dataclass(frozen=True)
class Panel:
    """What is shown: queries by the words of their legend. A figure is one number as it is now, else a chart."""

    title: str
    queries: dict[str, str]
    unit: str = units.Short
    text: str = ""
    width: int = 12
    figure: bool = False
    most: float | None = None


def figure(title: str, query: str, unit: str = units.Short, text: str = "") -> Panel:
    """One number as it is now."""
    return Panel(title, {"": query}, unit, text, width=4, figure=True)


FLEET = (
    figure("Nodes", "count(speedtest_last_seen_timestamp_seconds)", text="That have ever delivered."),
    figure(
        "Silent",
        "count(time() - speedtest_last_seen_timestamp_seconds > 900 + 3 * speedtest_expected_interval_seconds)"
        " or vector(0)",
        text="Not heard of for three of their intervals and a quarter of an hour.",
    ),
    figure(
        "Findings", "sum(speedtest_alert_firing) or vector(0)", text="What the archive has judged and has not ended."
    ),
    figure(
        "Slots ok, a day",
        'sum(increase(speedtest_slots_total{outcome="ok"}[1d]))'
        ' / sum(increase(speedtest_slots_total{outcome!="unscheduled"}[1d]))',
        units.PercentUnit,
    ),
    figure("Data, a day", "sum(increase(speedtest_transferred_bytes_total[1d]))", units.BytesSI),
    figure("Longest silence", "max(time() - speedtest_last_seen_timestamp_seconds)", units.Seconds),
    Panel("Download", {"{{node}}": "speedtest_download_bytes_per_second * 8"}, units.BitsPerSecondSI),
    Panel("Upload", {"{{node}}": "speedtest_upload_bytes_per_second * 8"}, units.BitsPerSecondSI),
    Panel(
        "Share of the plan, download",
        {"{{node}}": "speedtest_download_bytes_per_second / (speedtest_plan_download_bytes_per_second > 0)"},
        units.PercentUnit,
        "Of nodes whose plan the inventory names.",
    ),
    Panel("Latency", {"{{node}}": "speedtest_latency_seconds"}, units.Seconds),
    Panel(
        "Slots by outcome, an hour",
        {"{{outcome}}": "sum by (outcome) (increase(speedtest_slots_total[1h]))"},
        text="A slot that was missed is one too.",
    ),
    Panel(
        "Data by location, a day",
        {"{{location}}": "sum by (location) (increase(speedtest_transferred_bytes_total[1d]))"},
        units.BytesSI,
    ),
)
LINE = (
    figure("Download", f"speedtest_download_bytes_per_second{NODE} * 8", units.BitsPerSecondSI),
    figure("Upload", f"speedtest_upload_bytes_per_second{NODE} * 8", units.BitsPerSecondSI),
    figure("Latency", f"speedtest_latency_seconds{NODE}", units.Seconds),
    figure(
        "Share of the plan",
        f"speedtest_download_bytes_per_second{NODE} / (speedtest_plan_download_bytes_per_second{NODE} > 0)",
        units.PercentUnit,
    ),
    figure("Heard of", f"time() - speedtest_last_seen_timestamp_seconds{NODE}", units.Seconds, "So long ago."),
    figure("Last test that worked", f"time() - speedtest_last_success_timestamp_seconds{NODE}", units.Seconds),
    Panel(
        "Download and plan",
        {
            "{{node}}": f"speedtest_download_bytes_per_second{NODE} * 8",
            "plan of {{node}}": f"speedtest_plan_download_bytes_per_second{NODE} * 8",
        },
        units.BitsPerSecondSI,
    ),
    Panel(
        "Upload and plan",
        {
            "{{node}}": f"speedtest_upload_bytes_per_second{NODE} * 8",
            "plan of {{node}}": f"speedtest_plan_upload_bytes_per_second{NODE} * 8",
        },
        units.BitsPerSecondSI,
    ),
    Panel(
        "Latency, idle and under load",
        {
            "idle": f"speedtest_latency_seconds{NODE}",
            "downloading": f"speedtest_download_latency_seconds{NODE}",
            "uploading": f"speedtest_upload_latency_seconds{NODE}",
        },
        units.Seconds,
        "Much more under load is bufferbloat.",
    ),
    Panel(
        "Jitter",
        {"{{node}}": f"speedtest_jitter_seconds{NODE}"},
        units.Seconds,
    ),
    Panel("Packet loss", {"{{node}}": f"speedtest_packet_loss_ratio{NODE}"}, units.PercentUnit),
    Panel(
        "Slots by outcome, an hour",
        {"{{outcome}}": f"sum by (outcome) (increase(speedtest_slots_total{NODE}[1h]))"},
    ),
    Panel(
        "Data, a day",
        {"{{direction}}": f"sum by (direction) (increase(speedtest_transferred_bytes_total{NODE}[1d]))"},
        units.BytesSI,
    ),
    Panel(
        "Waiting on the node",
        {"{{node}}": f"speedtest_logger_outbox_records{NODE}"},
        text="Records that it has not delivered. By its node exporter.",
    ),
)
SYSTEM = (
    figure("Taken in", "time() - speedtest_archive_last_ingest_timestamp_seconds", units.Seconds, "So long ago."),
    figure("Deliveries waiting", "speedtest_archive_inbox_files"),
    figure("In quarantine", "speedtest_archive_quarantine_files"),
    figure("Records", "speedtest_archive_rows"),
    figure("Archive", "speedtest_archive_bytes", units.BytesSI),
    figure("Findings of verify", "speedtest_archive_verify_findings"),
    figure("Saved", "time() - speedtest_archive_last_backup_timestamp_seconds", units.Seconds, "So long ago."),
    figure("Browsers", "speedtest_dashboard_clients", text="That are told of news at once."),
    Panel(
        "Requests to the dashboard",
        {"{{code}}": 'sum by (code) (rate(http_requests_total{job="speedtest-dashboard"}[5m]))'},
        units.RequestsPerSecond,
        width=8,
    ),
    Panel(
        "Answers of the dashboard, 95 of 100 within",
        {
            "": "histogram_quantile(0.95, sum by (le) "
            '(rate(http_request_duration_seconds_bucket{job="speedtest-dashboard"}[5m])))'
        },
        units.Seconds,
        width=8,
    ),
    Panel("Waiting on nodes", {"{{node}}": "speedtest_logger_outbox_records"}, text="Records.", width=12),
    Panel(
        "Lost on nodes", {"{{node}}": "increase(speedtest_logger_outbox_dropped_total[1h])"}, text="Records an hour."
    ),
    Panel(
        "Used of the month's data",
        {"{{node}}": "speedtest_logger_budget_used_bytes / (speedtest_logger_budget_limit_bytes > 0)"},
        units.PercentUnit,
    ),
    Panel("A run takes", {"{{node}}": "speedtest_logger_last_run_duration_seconds"}, units.Seconds),
    Panel("Log on nodes", {"{{node}}": "speedtest_logger_log_bytes"}, units.BytesSI),
    Panel("Targets that answer", {"{{job}} {{instance}}": "up"}, most=1),
    Panel(
        "Units that have failed",
        {"{{node}} {{name}}": 'node_systemd_unit_state{name=~"speedtest-.+[.]service", state="failed"}'},
    ),
    Panel(
        "Free on nodes",
        {"{{node}}": 'node_filesystem_avail_bytes{mountpoint="/"} / node_filesystem_size_bytes{mountpoint="/"}'},
        units.PercentUnit,
    ),
)


def query(expression: str, legend: str, place: int, *, instant: bool) -> prometheus.Dataquery:
    """One question to Prometheus."""
    made = prometheus.Dataquery().expr(expression).ref_id(chr(ord("A") + place)).datasource(SOURCE)
    made = made.legend_format(legend) if legend else made
    return made.instant() if instant else made.range()


def built(panel: Panel, identity: int, x: int, y: int) -> stat.Panel | timeseries.Panel:
    """A panel of Grafana's, at its place."""
    made: Any = number() if panel.figure else chart()
    height = STAT_HEIGHT if panel.figure else CHART_HEIGHT
    made.id(identity).title(panel.title).unit(panel.unit).datasource(SOURCE)
    made.grid_pos(model.GridPos(h=height, w=panel.width, x=x, y=y))
    if panel.text:
        made.description(panel.text)
    if panel.most is not None:
        made.max(panel.most)
    for place, (legend, expression) in enumerate(panel.queries.items()):
        made.with_target(query(expression, legend, place, instant=panel.figure))
    return made


def placed(panels: tuple[Panel, ...]) -> list[stat.Panel | timeseries.Panel]:
    """Panels in rows, as many beside each other as fit."""
    found, x, y, height = [], 0, 0, 0
    for identity, panel in enumerate(panels, start=1):
        own = STAT_HEIGHT if panel.figure else CHART_HEIGHT
        if x + panel.width > WIDTH or (x and own != height):
            x, y = 0, y + height
        found.append(built(panel, identity, x, y))
        x, height = x + panel.width, own
    return found


def made(uid: str, title: str, panels: tuple[Panel, ...], *, of_nodes: bool = False) -> str:
    """A dashboard as JSON; `of_nodes`: somebody chooses which."""
    board = (
        dashboard.Dashboard(title)
        .uid(f"speedtest-{uid}")
        .tags(["speedtest"])
        .readonly()
        .time("now-7d", "now")
        .refresh("1m")
        .timezone("browser")
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    )
    if of_nodes:
        board.with_variable(
            dashboard.QueryVariable("node")
            .label("Node")
            .datasource(SOURCE)
            .query("label_values(speedtest_last_seen_timestamp_seconds, node)")
            .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(model.VariableSort.ALPHABETICAL_ASC)
        )
    for panel in placed(panels):
        board.with_panel(panel)
    return JSONEncoder(sort_keys=True, indent=2).encode(board.build()) + "\n"


def files() -> dict[Path, str]:
    """Every dashboard by its file."""
    return {
        HERE / "fleet.json": made("fleet", "Speedtest: fleet", FLEET),
        HERE / "line.json": made("line", "Speedtest: line", LINE, of_nodes=True),
        HERE / "system.json": made("system", "Speedtest: system", SYSTEM),
    }


if __name__ == "__main__":
    for file, text in files().items():
        file.write_text(text, encoding="utf-8")
