"""Nodes that a cluster runs, from the inventory: values for the chart in kubernetes/chart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from speedtest_logger.inventory import settings
from speedtest_logger.inventory.environment import environment
from speedtest_logger.inventory.found import View
from speedtest_logger.node import config

RUNTIME = "kubernetes"
STEP_SECONDS = 60  # cron begins with full minutes
LEAST_TOLERANCE_SECONDS = 60  # a pod is scheduled, and its image looked at, before it starts
# Settings that the chart makes of its own values, or that mean nothing where one run is all that is started.
OF_CHART = (
    *("node", "location", "uplink", "runtime", "interval_seconds", "offset_seconds"),
    *(
        "state_dir",
        "log_file",
        "metrics_dir",
        "runtime_dir",
        "push_interval_seconds",
        "probes",
        "probe_interval_seconds",
    ),
    *("archive_host", "archive_port", "archive_user", "transport"),
    *("key_file", "token_file", "known_hosts_file", "ca_file"),
)


def step(runtime: object) -> int:
    """What a node's offset must be a multiple of (s)."""
    return STEP_SECONDS if runtime == RUNTIME else 1


def in_values(view: View) -> dict[str, Any]:
    """A node's entry of the chart's `nodes`; the view has the slots that the fleet's plan gives it."""
    made = environment(view)
    own = {name: made.pop(config.PREFIX + name.upper(), "") for name in OF_CHART}
    entry: dict[str, Any] = {
        "name": own["node"],
        "location": own["location"],
        "uplink": own["uplink"],
        "machine": view.text(f"{settings.PREFIX}machine"),
        "intervalSeconds": int(own["interval_seconds"]),
        "offsetSeconds": int(own["offset_seconds"]),
        "settings": made,
    }
    return {name: value for name, value in entry.items() if value != ""}


def archive_values(way: Mapping[str, Any], transport: str, known_hosts: str, ca: str) -> dict[str, Any]:
    """The chart's `archive`: how nodes reach it, and how they know it."""
    proof = {"ca": ca} if transport == "https" else {"knownHosts": known_hosts}
    host, port, user = (way[f"archive_{name}"] for name in ("address", "port", "user"))
    return {"host": str(host), "port": int(port), "user": str(user), "transport": transport, **proof}


def values(archive: Mapping[str, Any], views: Iterable[View]) -> dict[str, Any]:
    """The chart's values for some nodes; the image only where the inventory says one image for all of them."""
    views = list(views)
    images = {view.text(f"{settings.PREFIX}image") for view in views}
    image = {"image": images.pop()} if len(images) == 1 and all(images) else {}
    return {**image, "archive": dict(archive), "nodes": [in_values(view) for view in views]}
