"""Write Grafana's dashboards for the PostgreSQL sink: python dashboards/generate_sql.py. A test runs every query.

Figures are as records have them: bit/s and ms. Grafana's macros stand for the period, ${node} for the node.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog import builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import units
from panels import CHART_HEIGHT, HERE, STAT_HEIGHT, WIDTH, chart, number

SOURCE = model.DataSourceRef(type_val="grafana-postgresql-datasource", uid="${datasource}")
# the data source that the role speedtest_monitoring writes; where Grafana has none of this uid, it takes another
PROVISIONED = model.VariableOption(text="Speedtest PostgreSQL", value="speedtest-postgresql")
NODE = "node = ${node:sqlstring}"
OF_NODES = "node <> '' AND $__timeFilter(start)"
OF_DAYS = "start BETWEEN date_trunc('day', $__timeFrom()) AND $__timeTo()"
DAYS = "day BETWEEN ($__timeFrom())::date AND ($__timeTo())::date"
NODES = "SELECT DISTINCT node FROM speedtest.rollup_day WHERE node <> '' ORDER BY node"
OUTCOMES = (
    "sum(ok) AS ok, sum(partial) AS partial, sum(failed) AS failed, sum(skipped) AS skipped, sum(missed) AS missed"
)


@dataclass(frozen=True)
class Panel:
    """What is shown, by one question. A figure is one number, else a chart: times, names of lines, values."""

    title: str
    sql: str
    unit: str = units.Short
    text: str = ""
    width: int = 12
    figure: bool = False


class Query(builder.Builder[Any]):
    """A question to PostgreSQL, as Grafana's editor keeps it; its package of types has none."""

    def __init__(self, sql: str, form: str) -> None:
        self.target = {
            "datasource": {"type": SOURCE.type_val, "uid": SOURCE.uid},
            "editorMode": "code",
            "format": form,
            "rawQuery": True,
            "rawSql": sql,
            "refId": "A",
        }

    def build(self) -> Any:
        """Itself."""
        return self

    def to_json(self) -> dict[str, object]:
        """What is written."""
        return self.target


def figure(title: str, sql: str, unit: str = units.Short, text: str = "") -> Panel:
    """One number."""
    return Panel(title, sql, unit, text, width=4, figure=True)


def by_hour(column: str, of: str = OF_NODES, by: str = "node") -> str:
    """A figure's median of each hour."""
    return (
        f"SELECT start AS time, {by} AS metric, {column} AS value FROM speedtest.rollup_hour WHERE {of} ORDER BY 1, 2"
    )


def of_node(*columns: str) -> str:
    """Figures of each hour of the node."""
    return (
        f"SELECT start AS time, {', '.join(columns)} FROM speedtest.rollup_hour "
        f"WHERE {NODE} AND $__timeFilter(start) ORDER BY 1"
    )


FLEET = (
    figure("Nodes", "SELECT count(*) FROM speedtest.latest", text="That have ever delivered."),
    figure(
        "Slots ok",
        f"SELECT sum(ok)::float / nullif(sum(expected - pending), 0) FROM speedtest.coverage_day WHERE {DAYS}",
        units.PercentUnit,
    ),
    figure("Missed", f"SELECT sum(missed) FROM speedtest.coverage_day WHERE {DAYS}", text="Slots without a record."),
    figure(
        "Data",
        f"SELECT sum(bytes_received + bytes_sent) FROM speedtest.rollup_hour WHERE {OF_NODES}",
        units.BytesSI,
    ),
    figure(
        "Longest silence",
        "SELECT extract(epoch FROM now() - min(started_at)) FROM speedtest.latest",
        units.Seconds,
        "Since the last record of the node whose last one is the oldest.",
    ),
    figure(
        "The database is behind",
        "SELECT extract(epoch FROM now() - synced_at) FROM speedtest.sink",
        units.Seconds,
        "Since the last sync.",
    ),
    Panel("Download", by_hour("download"), units.BitsPerSecondSI),
    Panel("Upload", by_hour("upload"), units.BitsPerSecondSI),
    Panel("Latency", by_hour("latency"), units.Milliseconds),
    Panel("Packet loss", by_hour("loss"), units.Percent),
    Panel(
        "Slots by outcome, a day",
        f"SELECT day::timestamp AS time, {OUTCOMES} FROM speedtest.coverage_day WHERE {DAYS} GROUP BY day ORDER BY 1",
    ),
    Panel(
        "Data by location, a day",
        "SELECT start AS time, location AS metric, sum(bytes_received + bytes_sent) AS value "
        f"FROM speedtest.rollup_day WHERE node <> '' AND {OF_DAYS} GROUP BY 1, 2 ORDER BY 1, 2",
        units.BytesSI,
    ),
)
LINE = (
    figure("Download", f"SELECT download_bps FROM speedtest.latest WHERE {NODE}", units.BitsPerSecondSI),
    figure("Upload", f"SELECT upload_bps FROM speedtest.latest WHERE {NODE}", units.BitsPerSecondSI),
    figure("Latency", f"SELECT latency_ms FROM speedtest.latest WHERE {NODE}", units.Milliseconds),
    figure(
        "Share of the plan",
        "SELECT latest.download_bps / nullif(schedule.plan_download_bps, 0) FROM speedtest.latest "
        "JOIN speedtest.schedule USING (node) "
        f"WHERE latest.{NODE} AND schedule.valid_to IS NULL",
        units.PercentUnit,
    ),
    figure("Missed", f"SELECT sum(missed) FROM speedtest.coverage_day WHERE {NODE} AND {DAYS}"),
    figure(
        "Last record",
        f"SELECT extract(epoch FROM now() - started_at) FROM speedtest.latest WHERE {NODE}",
        units.Seconds,
    ),
    Panel(
        "Download, by the hour",
        of_node('download_low AS "10 of 100"', "download AS median", 'download_high AS "90 of 100"'),
        units.BitsPerSecondSI,
    ),
    Panel(
        "Upload, by the hour",
        of_node('upload_low AS "10 of 100"', "upload AS median", 'upload_high AS "90 of 100"'),
        units.BitsPerSecondSI,
    ),
    Panel(
        "Latency, idle and under load",
        of_node("latency AS idle", "download_latency AS download", "upload_latency AS upload"),
        units.Milliseconds,
    ),
    Panel("Jitter", of_node("jitter"), units.Milliseconds),
    Panel(
        "Slots by outcome, a day",
        f"SELECT day::timestamp AS time, {OUTCOMES} FROM speedtest.coverage_day "
        f"WHERE {NODE} AND {DAYS} GROUP BY day ORDER BY 1",
    ),
    Panel(
        "Data, a day",
        "SELECT start AS time, bytes_received AS received, bytes_sent AS sent "
        f"FROM speedtest.rollup_day WHERE {NODE} AND {OF_DAYS} ORDER BY 1",
        units.BytesSI,
    ),
)


def placed(panels: tuple[Panel, ...]) -> list[Any]:
    """Panels in rows, as many beside each other as fit."""
    found, x, y, height = [], 0, 0, 0
    for identity, panel in enumerate(panels, start=1):
        own = STAT_HEIGHT if panel.figure else CHART_HEIGHT
        if x + panel.width > WIDTH or (x and own != height):
            x, y = 0, y + height
        made: Any = number() if panel.figure else chart()
        made.id(identity).title(panel.title).unit(panel.unit).datasource(SOURCE)
        made.grid_pos(model.GridPos(h=own, w=panel.width, x=x, y=y))
        if panel.text:
            made.description(panel.text)
        made.with_target(Query(panel.sql, "table" if panel.figure else "time_series"))
        found.append(made)
        x, height = x + panel.width, own
    return found


def made(uid: str, title: str, panels: tuple[Panel, ...], *, of_nodes: bool = False) -> str:
    """A dashboard as JSON; `of_nodes`: somebody chooses which."""
    board = (
        dashboard.Dashboard(title)
        .uid(f"speedtest-sql-{uid}")
        .tags(["speedtest"])
        .readonly()
        .time("now-7d", "now")
        .refresh("5m")
        .timezone("browser")
        .with_variable(
            dashboard.DatasourceVariable("datasource").label("PostgreSQL").type(SOURCE.type_val).current(PROVISIONED)
        )
    )
    if of_nodes:
        board.with_variable(
            dashboard.QueryVariable("node")
            .label("Node")
            .datasource(SOURCE)
            .query(NODES)
            .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        )
    for panel in placed(panels):
        board.with_panel(panel)
    return JSONEncoder(sort_keys=True, indent=2).encode(board.build()) + "\n"


def files() -> dict[Path, str]:
    """Every dashboard by its file."""
    return {
        HERE / "postgresql/fleet.json": made("fleet", "Speedtest: fleet (PostgreSQL)", FLEET),
        HERE / "postgresql/line.json": made("line", "Speedtest: line (PostgreSQL)", LINE, of_nodes=True),
    }


if __name__ == "__main__":
    for file, text in files().items():
        file.write_text(text, encoding="utf-8")
