"""The inventory's hosts as a run meets them: their names, what was seen of them, and which are to be reached how."""

from __future__ import annotations

from typing import Any

from plugins.hostvars import whole
from speedtest_logger import record
from speedtest_logger.inventory import kubernetes, roles
from speedtest_logger.inventory.found import default_node_name

Vars = dict[str, Any]


def observed(hostvars: Any, host: str, role: str) -> Vars:
    """What this run has seen last of a host for a role: by the role itself, else in the look at all machines."""
    known = hostvars[host]
    by_role: Vars = known.get(f"{role}_observed") or {}
    if "plan" in by_role:
        return by_role
    looked: Vars = (known.get("fleet_look") or {}).get("hosts", {})
    return looked.get(host, {}).get(role) or by_role


def pulls(hostvars: Any, host: str) -> bool:
    """Whether a node brings itself to its desired state, so that no run opens a connection to it."""
    return str(hostvars[host].get("speedtest_logger_converge") or "push") == "pull"


def in_cluster(hostvars: Any, host: str) -> bool:
    """Whether a cluster runs a node, by the chart's values."""
    return bool(hostvars[host].get("speedtest_logger_runtime") == kubernetes.RUNTIME)


def no_login(hostvars: Any, host: str) -> bool:
    """Whether a node cannot be logged into, so that no run opens a connection to it at all."""
    return hostvars[host].get("speedtest_logger_runtime") in record.RUNTIMES_WITHOUT_LOGIN


def told(hostvars: Any, host: str) -> Vars:
    """What a node in a cluster proves itself by, which the inventory has, as if it had been seen there."""
    identity = str(hostvars[host].get("speedtest_logger_identity") or "")
    if not identity or not in_cluster(hostvars, host):
        return {}
    name = "id_ed25519.pub" if identity.startswith("ssh-") else "token.sha256"
    return {"texts": {f"speedtest_logger_identity/{name}": identity}}


def machine_hosts(hostvars: Any, hosts: list[str]) -> list[str]:
    """Hosts that a run can open a connection to. (A syntax check has no hostvars.)"""
    return [host for host in hosts if host not in hostvars or not no_login(hostvars, host)]


def pushed_hosts(hostvars: Any, groups: dict[str, list[str]]) -> list[str]:
    """Nodes that are pushed to. (A syntax check has no hostvars.)"""
    hosts = machine_hosts(hostvars, groups.get("speedtest_nodes", []))
    return [host for host in hosts if host not in hostvars or not pulls(hostvars, host)]


def brought_hosts(hostvars: Any, hosts: list[str]) -> list[str]:
    """Hosts that have the slots of this run: one that pulls, where it was pushed to or its bundle was made just now.

    One in a cluster, where the chart's values were written just now.
    """
    return [
        host
        for host in hosts
        if not (pulls(hostvars, host) or in_cluster(hostvars, host))
        or observed(hostvars, host, "speedtest_logger")
        or any(host in (hostvars[host].get(made) or {}).get("hosts", []) for made in ("fleet_bundles", "fleet_charts"))
    ]


def due_hosts(groups: dict[str, list[str]], *names: str) -> list[str]:
    """Hosts of some groups whose roles have something to do in this run, in the inventory's order."""
    found = [host for name in names for host in groups.get(name, []) if host in groups.get(f"due_{name}", [])]
    return list(dict.fromkeys(found))


def silent_hosts(hostvars: Any, groups: dict[str, list[str]], *names: str) -> list[str]:
    """Hosts of some groups that have said nothing when all machines were looked at, in the inventory's order."""
    hosts = list(dict.fromkeys(host for name in names for host in groups.get(name, [])))
    looked: Vars = next((hostvars[h]["fleet_look"] for h in hosts if h in hostvars and "fleet_look" in hostvars[h]), {})
    return [host for host in hosts if host in looked.get("silent", [])]


def node_name(hostvars: Any, host: str) -> str:
    """The node name of an inventory host."""
    return str(fleet_nodes(hostvars, [host])[0]["node_name"])


def fleet_nodes(hostvars: Any, hosts: list[str]) -> list[Vars]:
    """The logger role's variables of every node, less their prefix, with the role's defaults below them."""
    prefix, defaults = "speedtest_logger_", roles.defaults("speedtest_logger")
    nodes, hostvars = [], whole(hostvars)
    for host in hosts:
        known = hostvars[host]
        values = {name.removeprefix(prefix): known.get(name, default) for name, default in defaults.items()}
        name = f"{prefix}node_name"
        values["node_name"] = known[name] if name in known else default_node_name(host)
        nodes.append({**values, "host": host})
    return nodes
