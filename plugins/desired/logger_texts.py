"""What a node reads: its settings, the archive hosts' keys, and the texts of the role's templates."""

from __future__ import annotations

from typing import Any

from plugins.desired import templates
from speedtest_logger import schedule
from speedtest_logger.inventory import environment
from speedtest_logger.inventory.found import View
from speedtest_logger.node.archive_hosts import host_and_port
from speedtest_logger.node.config import SSH_PORT
from speedtest_logger.node.unit_times import UnitTimes, timeout_seconds
from speedtest_logger.probes.catalogue import PROBES

ROLE = "speedtest_logger"
Values = dict[str, Any]


def logger_env(v: Values) -> str:
    """logger.env: the node's settings."""
    return environment.logger_env(view(v))


def view(v: Values) -> View:
    """The inputs as the inventory's own checks see them."""
    return View(str(v["node_name"]), {f"{ROLE}_{name}": value for name, value in v.items()}, (ROLE,))


def known_hosts(v: Values) -> str:
    """The archive hosts' keys for their addresses; nothing where there is none."""
    if v["transport"] != "ssh":
        return ""
    hosts = [(v["archive_address"], int(v["archive_port"])), *map(host_and_port, v["archive_others"])]
    keys = [key for key in (v["archive_host_key"], *v["archive_other_keys"]) if key]
    return "".join(
        f"{address if port == SSH_PORT else f'[{address}]:{port}'} {' '.join(key.split()[:2])}\n"
        for (address, port), key in zip(hosts, keys, strict=False)
    )


def needs_icmp(v: Values) -> bool:
    """Whether a probe sends echo requests."""
    return any(PROBES[name].needs_icmp for name in v["probes"])


def text(v: Values, n: Values, name: str) -> str:
    """A template's text for this node."""
    slots = v["slots"]
    push, probe = (schedule.parse_duration(v[f"{name}_interval"]) for name in ("push", "probe"))
    times = UnitTimes.of(slots["interval_seconds"], slots["offset_seconds"], push, probe)
    values = {
        **{f"{ROLE}_{key}": value for key, value in v.items()},
        **n,
        "push_calendar": times.push.on_calendar(),
        "probe_seconds": probe,
        "probes_need_icmp": needs_icmp(v),
        "probe_calendar": times.probe.on_calendar(),
        "timeout_seconds": timeout_seconds(int(v["measure_timeout_seconds"]), int(v["busy_window_seconds"])),
    }
    return templates.rendered(ROLE, name, values)
