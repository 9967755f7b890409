"""The end of a run: what was done on each machine, when the first slots are, and what to type next."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))
sys.path.insert(0, str(ROOT))

from plugins.hosts import in_cluster, observed, pulls
from plugins.hostvars import whole
from speedtest_logger.inventory.found import default_node_name
from speedtest_logger.schedule import Schedule

ROLES = (
    "docker_host",
    "speedtest_archive",
    "speedtest_dashboard",
    "speedtest_database",
    "speedtest_front",
    "speedtest_monitoring",
    "speedtest_cluster",
    "speedtest_store",
    "speedtest_target",
    "speedtest_logger",
)
SHOWN = 3
INSTALLED = ROOT.parent.parent.name == "ansible_collections"  # and no checkout


def fleet_next(
    hostvars: Any,
    groups: dict[str, list[str]],
    hosts: dict[str, list[str]],
    sources: Any,
    checking: bool = False,
    now: float | None = None,
) -> list[str]:
    """Lines for a person; `hosts`: `all` of the run, and those that are `done`; `sources`: the inventories."""
    hostvars, now = whole(hostvars), time.time() if now is None else now
    done = hosts["done"]
    lines = ["", *(machine(hostvars[host], host, checking) for host in done)]
    if missing := [host for host in hosts["all"] if host not in done]:
        lines.append(f"- not done: {', '.join(missing)}: the reason stands above; run it again when that is put right")
    given = inventories(sources)
    if checking:
        return [*lines, "", f"nothing was changed. To do it: ansible-playbook{given} {playbook('site')}"]
    nodes = [host for host in groups.get("speedtest_nodes", []) if host in done]
    return [*lines, "", *slots(hostvars, nodes, now), *commands(hostvars, nodes, given)]


def machine(variables: Any, host: str, checking: bool) -> str:
    """How much differed on a machine, and in a check the first few things."""
    seen = [variables.get(f"{role}_observed") or {} for role in ROLES]
    differs = [words for each in seen for words in (each.get("plan") or {}).get("drift", [])]
    if in_cluster({host: variables}, host) and not differs:
        return f"{host}: left to its cluster; playbooks/kubernetes.yml writes what it shall be"
    if not differs:
        left = pulls({host: variables}, host) and not observed({host: variables}, host, "speedtest_logger")
        return f"{host}: left to its bundle; status.yml tells how it is" if left else f"{host}: as the inventory says"
    more = f" and {len(differs) - SHOWN} more" if len(differs) > SHOWN else ""
    if checking:
        return f"{host}: {len(differs)} would change: {'; '.join(differs[:SHOWN])}{more}"
    return f"{host}: {len(differs)} brought to what the inventory says"


def inventories(sources: Any) -> str:
    """The options that name the inventory, none where ansible.cfg does."""
    paths = [sources] if isinstance(sources, str) else [str(source) for source in sources or ()]
    return "" if paths == [str(ROOT / "inventory/mine")] else "".join(f" -i {path}" for path in paths)


def playbook(name: str, installed: bool = INSTALLED) -> str:
    """A playbook as it is typed: of an installed collection by its name, of a checkout by its path."""
    if installed:
        return f"speedtest.telemetry.{name}"
    return "site.yml" if name == "site" else f"playbooks/{name}.yml"


def slots(hostvars: Any, nodes: list[str], now: float) -> list[str]:
    """The next slots, soonest first."""
    planned: dict[str, Any] = next(
        (hostvars[host]["fleet_state"]["slots"] for host in nodes if "fleet_state" in hostvars[host]), {}
    )
    found = []
    for host in nodes:
        name = str(hostvars[host].get("speedtest_logger_node_name") or default_node_name(host))
        if name in planned:
            slot = Schedule(planned[name]["interval_seconds"], planned[name]["offset_seconds"]).next_after(now)
            found.append((slot, name))
    shown = [f"{name} at {time.strftime('%H:%M:%S', time.gmtime(slot))} UTC" for slot, name in sorted(found)[:SHOWN]]
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return [f"next slots: {', '.join(shown)}{more}"] if shown else []


def commands(hostvars: Any, nodes: list[str], given: str) -> list[str]:
    """What to type."""
    if not nodes:
        return []
    location = hostvars[nodes[0]].get("speedtest_logger_location", "unknown-location")
    return [
        f"look at them: ansible-playbook{given} {playbook('status')}",
        f"a report:     ansible-playbook{given} {playbook('report')} -e location={location} -e last=30d",
        "a test now:   on a node, sudo speedtest-logger measure",
    ]


class FilterModule:
    """Ansible's entry."""

    def filters(self) -> dict[str, Any]:
        return {"fleet_next": fleet_next}
