"""Which machines can be what they are to be: asks speedtest_logger.inventory.systems."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

from speedtest_logger.inventory import systems
from speedtest_logger.inventory.found import ARCHIVE, DASHBOARD, DATABASE, MONITORING, NODES, STORE, TARGETS

USES = {
    NODES: systems.NODE,
    ARCHIVE: systems.ARCHIVE,
    DASHBOARD: systems.ARCHIVE,
    MONITORING: systems.NODE,
    STORE: systems.STORE,
    TARGETS: systems.TARGET,
}
BESIDES = "leave it out with --limit 'all:!{host}', or take it out of the inventory"


def system_look(_: Any) -> str:
    """The command line that looks at a machine."""
    return systems.LOOK


def system_problem(seen: dict[str, Any], use: str) -> str:
    """Why a machine that host_state has seen cannot be a node, archive host or target; empty where it can."""
    return systems.problem({**seen, "architecture": seen["dpkg"]}, [use]) or ""


def system_problems(hostvars: Any, groups: dict[str, list[str]], hosts: list[str]) -> list[str]:
    """A line for each machine that cannot be what its groups say; `__system` is what LOOK printed there."""
    found = []
    for host in hosts:
        uses = [use for group, use in USES.items() if host in groups.get(group, [])]
        if host in groups.get(DATABASE, []) and _serves_hypertables(hostvars[host]):
            uses.append(systems.TIMESCALE)
        seen = systems.parsed(hostvars[host].get("__system", {}).get("stdout", ""))
        said = systems.problem(seen, uses) if seen else None
        if said:
            found.append(f"{host}: {said}; {BESIDES.format(host=host)}")
    return found


def _serves_hypertables(values: Any) -> bool:
    """Whether a host's own database is to have TimescaleDB."""
    given = {name: values.get(f"speedtest_database_{name}") for name in ("state", "dsn", "timescale_enabled")}
    return given["state"] != "absent" and not given["dsn"] and str(given["timescale_enabled"]).lower() == "true"


class FilterModule:
    """Ansible's entry."""

    def filters(self) -> dict[str, Any]:
        return {"system_look": system_look, "system_problem": system_problem, "system_problems": system_problems}
