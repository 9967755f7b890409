"""What the rest of the inventory means for a host of the role speedtest_monitoring."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))
sys.path.insert(0, str(ROOT))

from plugins.hostvars import whole
from speedtest_logger.inventory import monitoring, roles
from speedtest_logger.inventory.found import MONITORING


def monitoring_fleet(hostvars: Any, groups: dict[str, list[str]], host: str) -> dict[str, Any]:
    """The role's input speedtest_monitoring_fleet."""
    known, hostvars = roles.known(), whole(hostvars)

    def value(of: str, name: str) -> Any:
        default = known[name].default
        return hostvars[of].get(name, None if default is ... or "{{" in str(default) else default)

    return monitoring.fleet(value, groups, host)


def monitoring_due(groups: dict[str, list[str]]) -> list[str]:
    """Hosts on which the role has something to do in this run."""
    return [host for host in monitoring.watched(groups) if host in groups.get(f"due_{MONITORING}", [])]


def monitoring_hosts(groups: dict[str, list[str]]) -> list[str]:
    """Monitoring hosts, and the nodes that they watch."""
    return monitoring.watched(groups)


class FilterModule:
    """Ansible's entry."""

    def filters(self) -> dict[str, Any]:
        return {
            "monitoring_fleet": monitoring_fleet,
            "monitoring_due": monitoring_due,
            "monitoring_hosts": monitoring_hosts,
        }
