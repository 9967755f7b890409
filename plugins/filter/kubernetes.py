"""Nodes that a cluster runs: the chart's values from the inventory, and the fleet's slots."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleFilterError

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))
sys.path.insert(0, str(ROOT))

from plugins.desired.logger_texts import known_hosts
from plugins.hosts import fleet_nodes, in_cluster
from plugins.hostvars import whole
from speedtest_logger.inventory import kubernetes, settings
from speedtest_logger.inventory.found import View

Vars = dict[str, Any]


def kubernetes_values(hostvars: Any, hosts: list[str], state: Vars, ways: Vars, ca: str) -> Vars:
    """`hosts`: those of a play that run in a cluster; `values`: the chart's for them.

    `state` is what fleet_known says, `ways` how nodes reach the archive by their transport. Raises AnsibleFilterError.
    """
    hostvars = whole(hostvars)
    nodes = fleet_nodes(hostvars, [host for host in hosts if in_cluster(hostvars, host)])
    if not nodes:
        raise AnsibleFilterError(
            "speedtest_logger_runtime: seen kubernetes on no host of this run; set it for the nodes that a cluster runs"
        )
    transports = sorted({str(node["transport"]) for node in nodes})
    if len(transports) > 1:
        raise AnsibleFilterError(
            "speedtest_logger_transport: seen ssh and https; one release of the chart delivers in one way: use --limit "
            "for those of each"
        )
    [transport] = transports
    way = dict(ways[transport])
    proof = known_hosts({**way, "transport": transport, "archive_host_key": state["host_key"]})
    archive = kubernetes.archive_values(way, transport, proof, ca or state["root"] or "")
    return {
        "hosts": [node["host"] for node in nodes],
        "values": kubernetes.values(archive, [view(node, way, state["slots"]) for node in nodes]),
    }


def view(node: Vars, way: Vars, slots: Vars) -> View:
    """A node's variables with what comes from the whole fleet."""
    known = {**node, **way, "slots": slots[node["node_name"]]}
    return View(node["host"], {settings.PREFIX + name: value for name, value in known.items()}, ("speedtest_logger",))


class FilterModule:
    """Ansible's entry."""

    def filters(self) -> dict[str, Any]:
        return {"kubernetes_values": kubernetes_values}
