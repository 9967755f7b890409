"""Several archive hosts: how nodes reach those beside the first, and which keys they pin."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from plugins.hostvars import whole

GROUP = "speedtest_archive"


def other_archives(hostvars: Any, groups: dict[str, list[str]]) -> dict[str, Any]:
    """Each archive host but the first, and but those that are taken off: `names` in the inventory.

    HOST:PORT of them (`hosts`, with ssh's port) and their `host_keys`, in the same order; HOST:PORT of their `fronts`;
    the certificates of all hosts' fronts, the first one's too (`ca`).
    """
    names = groups.get(GROUP, [])
    known = whole(hostvars) if names else {}
    others = {host: known[host] for host in names[1:] if known[host].get("speedtest_archive_state") != "absent"}
    hosts = []
    for host, values in others.items():
        address = str(values.get("fleet_archive_address") or values.get("ansible_host") or host)
        port = int(values.get("fleet_archive_port") or values.get("ansible_port") or 22)
        hosts.append(f"[{address}]:{port}" if ":" in address else f"{address}:{port}")
    return {
        "names": list(others),
        "hosts": hosts,
        "host_keys": [str(values.get("fleet_archive_host_key") or "") for values in others.values()],
        "fronts": [
            f"{values['speedtest_front_name']}:{values.get('speedtest_front_https_port') or 443}"
            for values in others.values()
            if values.get("speedtest_front_name")
        ],
        "ca": "\n".join(dict.fromkeys(filter(None, (certificates(known[host]) for host in names)))),
    }


def certificates(values: Any) -> str:
    """The certificates by which nodes trust a host's front, where the inventory says so."""
    return str(values.get("fleet_archive_ca") or "").strip()


class FilterModule:
    """Ansible's entry."""

    def filters(self) -> dict[str, Any]:
        return {"other_archives": other_archives}
