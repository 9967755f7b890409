"""Several archive hosts: how nodes reach those beside the first, and which keys they pin."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from plugins.hostvars import whole

GROUP = "speedtest_archive"


def other_archives(hostvars: Any, groups: dict[str, list[str]]) -> dict[str, list[str]]:
    """`hosts`: HOST:PORT of each archive host but the first, `host_keys`: their public keys, in the same order."""
    names = groups.get(GROUP, [])[1:]
    known = whole(hostvars) if names else {}
    others = {host: known[host] for host in names}
    hosts = []
    for host, values in others.items():
        address = str(values.get("fleet_archive_address") or values.get("ansible_host") or host)
        port = int(values.get("fleet_archive_port") or values.get("ansible_port") or 22)
        hosts.append(f"[{address}]:{port}" if ":" in address else f"{address}:{port}")
    return {
        "hosts": hosts,
        "host_keys": [str(values.get("fleet_archive_host_key") or "") for values in others.values()],
    }


class FilterModule:
    """Ansible's entry."""

    def filters(self) -> dict[str, Any]:
        return {"other_archives": other_archives}
