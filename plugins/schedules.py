"""Schedules of the whole fleet: slots that do not collide, and the archive's registry of them with its history."""

from __future__ import annotations

import json
import math
import time
from typing import Any

from ansible.errors import AnsibleFilterError

from plugins.archive_files import text
from plugins.hosts import fleet_nodes
from speedtest_logger import record, schedule
from speedtest_logger.inventory import kubernetes
from speedtest_logger.inventory.relations.fleet import WAYS_OUT, claim_of_node

Vars = dict[str, Any]
REGISTRY_WAYS_OUT = "restore it, or remove it to start a new history. Nothing was overwritten"


def claim(values: Vars) -> schedule.Claim:
    """A node's wish for slots from its variables; a node without an uplink has a line of its own."""
    return claim_of_node(
        str(values["node_name"]),
        str(values.get("uplink") or ""),
        str(values["interval"]),
        int(values["measure_timeout_seconds"]) + int(values["start_tolerance_seconds"]),
        int(values["busy_window_seconds"]) if float(values.get("busy_mbps") or 0) else 0,
        kubernetes.step(values.get("runtime")),
    )


def deployed(registry: Vars) -> dict[str, schedule.Schedule]:
    """The schedules in force from the archive's registry."""
    current = {node: history[-1] for node, history in registry.get("nodes", {}).items() if history}
    return {
        node: schedule.Schedule(entry["interval_seconds"], entry["offset_seconds"])
        for node, entry in current.items()
        if entry.get("valid_to") is None
    }


def fleet_slots(nodes: list[Vars], registry: Vars) -> dict[str, Vars]:
    """node -> {interval_seconds, offset_seconds, on_calendar} of all nodes of the inventory."""
    claims = [claim(values) for values in nodes]
    try:
        offsets = schedule.assign(claims, deployed(registry))
    except schedule.DoesNotFitError as error:
        raise AnsibleFilterError(f"{error}: {WAYS_OUT}") from error
    return {
        c.node: {
            "interval_seconds": c.interval,
            "offset_seconds": offsets[c.node],
            "on_calendar": schedule.Schedule(c.interval, offsets[c.node]).on_calendar(),
        }
        for c in claims
    }


def line_free_in(nodes: list[Vars], slots: dict[str, Vars], node: str, now: float | None = None) -> int:
    """Seconds until a measurement of a node meets no slot of another one on its uplink."""
    claims = {c.node: c for c in map(claim, nodes)}
    planned = {n: schedule.Schedule(s["interval_seconds"], s["offset_seconds"]) for n, s in slots.items()}
    own = claims[node]
    others = [(planned[c.node], c.length) for c in claims.values() if c.uplink == own.uplink and c.node != node]
    now = time.time() if now is None else now
    return math.ceil(schedule.next_free(now, own.length, planned[node], others) - now)


def fleet_deployed(hostvars: Any, hosts: list[str], slots: dict[str, Vars]) -> dict[str, Vars]:
    """What the archive's registry holds of the nodes that this run has reached."""
    deployed_now = {}
    for values in fleet_nodes(hostvars, hosts):
        if values["state"] == "absent":
            continue  # it has none from now on
        slot = slots[values["node_name"]]
        deployed_now[values["node_name"]] = {
            "interval_seconds": slot["interval_seconds"],
            "offset_seconds": slot["offset_seconds"],
            **{name: values[name] for name in ("location", "uplink", "plan_download_mbps", "plan_upload_mbps")},
        }
    return deployed_now


def schedule_registry(registry: Vars, changed: dict[str, Vars], names: list[str], now: str) -> Vars:
    """The archive's registry after this run: nodes whose schedule changed get a new entry, those that left are closed.

    `changed` holds the schedules (interval_seconds, offset_seconds, location, uplink) of the nodes that this run has
    reached; `names` all nodes of the inventory.
    """
    nodes = {node: [dict(entry) for entry in history] for node, history in registry.get("nodes", {}).items()}
    for node, wanted in changed.items():
        history = nodes.setdefault(node, [])
        current = history[-1] if history and history[-1]["valid_to"] is None else None
        if current and all(current.get(key) == value for key, value in wanted.items()):
            continue
        if current:
            current["valid_to"] = now
        history.append({**wanted, "valid_from": now, "valid_to": None})
    for node, history in nodes.items():
        if node not in names and history and history[-1]["valid_to"] is None:
            history[-1]["valid_to"] = now
    return {**registry, "nodes": dict(sorted(nodes.items()))}


def registry_of(read: Vars, files: Vars) -> Vars:
    """The registry: in its place, else where the version before had it; what a backup brought back goes before it."""
    before, restored = files["earlier"]
    place = files["schedule"] if read["files"].get(files["schedule"]) else before
    current = parsed(text(read, place), place)
    return {"nodes": joined(parsed(text(read, restored), restored)["nodes"], current["nodes"])}


def joined(older: Vars, newer: Vars) -> Vars:
    """Two registries' histories as one: what began before the newer one did, and the newer one."""
    nodes = dict(older)
    for node, history in newer.items():
        if not history:
            continue
        first = history[0]["valid_from"]
        kept = [dict(entry) for entry in older.get(node, []) if entry["valid_from"] < first]
        if kept:
            kept[-1]["valid_to"] = min(kept[-1]["valid_to"] or first, first)
        nodes[node] = kept + history
    return nodes


def parsed(content: str | None, file: str = "schedule.json") -> Vars:
    """The registry in a file; what is none is named, so that nobody's history is overwritten unseen."""
    try:
        registry: Any = json.loads(content or '{"nodes": {}}')
    except (ValueError, RecursionError) as error:
        raise AnsibleFilterError(f"{file} is no JSON ({str(error)[:80]}): {REGISTRY_WAYS_OUT}") from error
    nodes = registry.get("nodes") if isinstance(registry, dict) else None
    if not isinstance(nodes, dict) or not all(is_history(name, entries) for name, entries in nodes.items()):
        raise AnsibleFilterError(f"{file} holds no schedules by node: {REGISTRY_WAYS_OUT}")
    return dict(registry)


def is_history(node: str, entries: Any) -> bool:
    """Whether this is a node's schedules in the registry."""
    return (
        record.is_id(node)
        and isinstance(entries, list)
        and all(
            isinstance(entry, dict)
            and isinstance(entry.get("valid_from"), str)
            and isinstance(entry.get("valid_to"), str | None)
            and all(type(entry.get(key)) is int for key in ("interval_seconds", "offset_seconds"))
            and entry["interval_seconds"] > 0
            for entry in entries
        )
    )
