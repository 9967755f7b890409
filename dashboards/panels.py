"""What both kinds of Grafana's dashboards have in common: how a number and a chart look, and how large they are."""

from __future__ import annotations

from pathlib import Path

from grafana_foundation_sdk.builders import common, stat, timeseries
from grafana_foundation_sdk.models import common as models

HERE = Path(__file__).resolve().parent
WIDTH = 24  # Grafana's columns
STAT_HEIGHT, CHART_HEIGHT = 4, 8


def number() -> stat.Panel:
    """One value, the last that there is."""
    last = common.ReduceDataOptions().calcs(["lastNotNull"]).values(False).fields("")
    return stat.Panel().reduce_options(last).graph_mode(models.BigValueGraphMode.NONE)


def chart() -> timeseries.Panel:
    """Lines from zero on; whoever points at them sees all, the largest first."""
    told = common.VizTooltipOptions().mode(models.TooltipDisplayMode.MULTI).sort(models.SortOrder.DESCENDING)
    legend = (
        common.VizLegendOptions()
        .display_mode(models.LegendDisplayMode.LIST)
        .placement(models.LegendPlacement.BOTTOM)
        .show_legend(True)
    )
    return timeseries.Panel().min(0).fill_opacity(8).line_width(1).tooltip(told).legend(legend)
