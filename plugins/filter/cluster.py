"""Who is a member of the cluster: certificates that hosts have shown in this run, or that others have kept of them."""

from __future__ import annotations

import re
from typing import Any

CERTIFICATE = "/etc/speedtest-cluster/certificate.pem"
MEMBERS = "/etc/speedtest-cluster/members.pem"
BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]+-----END CERTIFICATE-----\n")
KEPT = re.compile(rf"^# ([^\n]+)\n({BLOCK.pattern})", re.MULTILINE)


def cluster_members(hostvars: Any, hosts: list[str]) -> str:
    """The file with all members' certificates, each under its host's name.

    A host that is not reached in this run keeps its place; one that has left the group, or is to be none, loses it.
    """
    seen = {host: hostvars[host].get("speedtest_cluster_seen") or {} for host in hosts}
    kept: dict[str, str] = {}
    for looked in seen.values():
        kept |= {host: block for host, block in KEPT.findall(_text(looked, MEMBERS)) if host in hosts}
    for host in hosts:
        mine = _text(hostvars[host].get("speedtest_cluster_new") or {}, CERTIFICATE) or _text(seen[host], CERTIFICATE)
        if block := BLOCK.search(mine):
            kept[host] = block[0]
        if hostvars[host].get("speedtest_cluster_state") == "absent":
            kept.pop(host, None)
    return "".join(f"# {host}\n{kept[host]}" for host in sorted(kept))


def _text(looked: dict[str, Any], path: str) -> str:
    return str((looked.get("texts") or {}).get(path) or "")


class FilterModule:
    """Ansible's entry."""

    def filters(self) -> dict[str, Any]:
        return {"cluster_members": cluster_members}
