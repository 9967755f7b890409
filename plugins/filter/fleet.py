"""What can only be known from the whole fleet: slots that do not collide, the archive's view of schedules and keys."""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible.module_utils.parsing.convert_bool import boolean

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))
sys.path.insert(0, str(ROOT))

from plugins import keys as keys_
from plugins import tokens
from plugins.hosts import (
    brought_hosts,
    due_hosts,
    fleet_nodes,
    machine_hosts,
    node_name,
    observed,
    pushed_hosts,
    silent_hosts,
    told,
)
from speedtest_logger import invitation, record, schedule
from speedtest_logger.inventory import kubernetes
from speedtest_logger.inventory.kinds import plain
from speedtest_logger.inventory.relations.fleet import WAYS_OUT, claim_of_node

Vars = dict[str, Any]


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


def fleet_known(read: Vars, files: Vars, nodes: list[Vars], host_key: str = "", writing: bool = True) -> Vars:
    """What a run knows of the fleet before it changes a node.

    host_key, authorized (authorized_keys as it is), schedule (the registry: what was deployed, and what the inventory
    allows now), earlier (files of the version before that must go), slots and names of all nodes of the inventory;
    tokens (that file as it is, None without one), https (names of the nodes that have one), invitations (that file as
    it is, None without one), enrolled (SHA-256 of the tokens that invited nodes have brought), root (whom the front's
    certificate is from, where that is an authority of its own).
    """
    if "files" not in read:
        raise AnsibleFilterError(f"{files['archive']}: {read.get('msg', 'it could not be read')}")
    key = host_key or text(read, files["host_key"])
    if not key:
        raise AnsibleFilterError(
            f"{files['archive']}: seen no {files['host_key']}; make one with `ssh-keygen -A` there, or set "
            "fleet_archive_host_key to the host key that nodes shall pin"
        )
    folder = read["files"].get(files["folder"]) or {}
    if writing and (folder.get("kind"), folder.get("owner")) != ("directory", "root"):
        raise AnsibleFilterError(
            f"{files['archive']}: seen no directory {files['folder']} that is root's; playbooks/archive.yml makes it"
        )
    earlier = [path for path in files["earlier"] if read["files"].get(path)]
    deployed_nodes = registry_of(read, files)["nodes"]
    return {
        "host_key": key,
        "authorized": text(read, files["authorized"]) or "",
        "schedule": {"nodes": deployed_nodes, "inventory": fleet_inventory(nodes)},
        "earlier": earlier,
        "slots": fleet_slots(nodes, {"nodes": deployed_nodes}),
        "names": [str(values["node_name"]) for values in nodes],
        "tokens": text(read, files["tokens"]),
        "https": [str(values["node_name"]) for values in nodes if values["transport"] == "https"],
        **invitations_of(read, files),
        "root": root_of(read, files, nodes),
    }


def root_of(read: Vars, files: Vars, nodes: list[Vars]) -> str:
    """Whom the front's certificate is from, where that is an authority of its own; nothing else, or before it is made.

    Raises AnsibleFilterError where nodes over https have had it and it is not to be had: they would trust nobody then.
    """
    seen = read["files"].get(files["root"])
    found = tokens.certificates(seen)
    needed = files.get("own_authority") and any(values["transport"] == "https" for values in nodes)
    if found or not needed or (seen is None and text(read, files["tokens"]) is None):
        return found
    what = "nothing" if seen is None else seen.get("problem") or "no certificates in it"
    raise AnsibleFilterError(
        f"{files['archive']}: {files['root']}: seen {what}, where nodes over https find whom to trust; nothing was "
        "changed on them. Put it back; or have the front make an authority anew there, `sudo rm -r "
        f"{files['root'].rpartition('/pki/')[0]}` and `sudo systemctl restart speedtest-front`; or set fleet_archive_ca"
    )


def invitations_of(read: Vars, files: Vars) -> Vars:
    """Who is invited, and which tokens they have brought; nothing is read of the service's file where nobody is."""
    content = text(read, files["invitations"])
    if content is None:
        return {"invitations": None, "enrolled": {}}
    return {
        "invitations": content,
        "enrolled": invitation.brought(text(read, files["enrolled"]) or "", invitation.invited(content)),
    }


def fleet_invitations(hostvars: Any, hosts: list[str], known: Vars) -> str | None:
    """The archive's file of invitations after this run: of the inventory's nodes, without those that are used.

    One is used by who has enrolled, whose token root's file has from this run on, and by who was seen in this run.
    """
    if known["invitations"] is None:
        return None
    seen = {node_name(hostvars, host) for host in hosts if observed(hostvars, host, "speedtest_logger").get("texts")}
    left = {
        node: each
        for node, each in invitation.invited(known["invitations"]).items()
        if node in known["https"] and node not in known["enrolled"] and node not in seen
    }
    return f"{tokens.HEADER}\n{invitation.text_of(left)}"


def fleet_inventory(nodes: list[Vars]) -> Vars:
    """What the archive may take from each node of the inventory now."""
    return {
        str(values["node_name"]): {
            "location": str(values["location"]),
            "archive_raw": boolean(values["archive_raw"], strict=False),
            "timezone": str(values["timezone"]),
            **({"alerts": plain(values["alerts"])} if values["alerts"] else {}),
            **({"data_budget_gb": float(values["data_budget_gb"])} if float(values["data_budget_gb"]) else {}),
        }
        for values in nodes
    }


def text(read: Vars, path: str) -> str | None:
    """The text of a file of the archive host; None where there is none. Raises AnsibleFilterError for no file."""
    seen = read["files"].get(path)
    if seen and seen.get("kind") != "file":
        raise AnsibleFilterError(f"{path}: seen {seen.get('problem', 'a directory')}; a file is expected: remove that")
    return None if seen is None else str(seen["text"])


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


def fleet_keys(hostvars: Any, hosts: list[str], current: str, names: list[str], command: str) -> str:
    """authorized_keys after this run: `hosts` are those that it has reached, `names` all nodes of the inventory.

    Raises AnsibleFilterError for a key that two nodes have: whoever holds it would deliver as the first of them only.
    """
    keys, comments, path = {}, {}, "/etc/speedtest-telemetry/id_ed25519.pub"
    for host in hosts:
        for seen in (
            hostvars[host].get("speedtest_logger_new_key") or {},
            observed(hostvars, host, "speedtest_logger"),
            told(hostvars, host),
        ):
            texts = seen.get("texts", {})
            file = next((name for name, content in texts.items() if name.endswith("/id_ed25519.pub") and content), None)
            if file:
                node, path = node_name(hostvars, host), file
                keys[node], comments[node] = keys_.public_key(host, file, texts[file])
                break
    wanted = keys_.authorized_keys(current, keys, names, command)
    if twice := keys_.shared_keys(wanted, comments):
        raise AnsibleFilterError(
            f"{'; '.join(twice)}; on the copy: {keys_.new_key(path)}. authorized_keys was left as it is"
        )
    return wanted


def fleet_tokens(
    hostvars: Any, hosts: list[str], current: str | None, names: list[str], enrolled: dict[str, str] | None = None
) -> str | None:
    """The archive's file of tokens after this run; None where no node delivers over https and there is no such file.

    `enrolled`: what invited nodes have brought by themselves.
    """
    if current is None and not names:
        return None
    seen = dict(enrolled or {})
    for host in hosts:
        made: Vars = (hostvars[host].get("speedtest_logger_new_key") or {}).get("texts", {})
        seen_there: Vars = {**told(hostvars, host), **observed(hostvars, host, "speedtest_logger")}
        texts: Vars = {**seen_there.get("texts", {}), **made}
        for path, content in texts.items():
            if path.endswith("/token.sha256") and content:
                seen[node_name(hostvars, host)] = tokens.digest(host, path, content)
    return tokens.file_of(current or "", seen, names)


def fleet_deployed(hostvars: Any, hosts: list[str], slots: dict[str, Vars]) -> dict[str, Vars]:
    """What the archive's registry holds of the nodes that this run has reached."""
    deployed_now = {}
    for values in fleet_nodes(hostvars, hosts):
        slot = slots[values["node_name"]]
        deployed_now[values["node_name"]] = {
            "interval_seconds": slot["interval_seconds"],
            "offset_seconds": slot["offset_seconds"],
            **{name: values[name] for name in ("location", "uplink", "plan_download_mbps", "plan_upload_mbps")},
        }
    return deployed_now


def fleet_differences(read: Vars, files: Vars, wanted: Vars, known: Vars, group: str) -> list[str]:
    """What of the archive's fleet files differs: authorized_keys, tokens, invitations, inventory, schedule.

    `inventory` is the registry before the nodes are brought: what they may deliver, its place, owner and mode;
    `schedule` is what is deployed. `known` is what fleet_known made of what was read, `wanted` what shall stand there.
    """
    found = []
    if text(read, files["authorized"]) != wanted["authorized"] or not owned(read, files["authorized"], group):
        found.append("authorized_keys")
    if wanted["tokens"] is not None and (
        known["tokens"] != wanted["tokens"] or not owned(read, files["tokens"], group)
    ):
        found.append("tokens")
    if wanted["invitations"] is not None and (
        known["invitations"] != wanted["invitations"] or not owned(read, files["invitations"], group)
    ):
        found.append("invitations")
    stands = parsed(text(read, files["schedule"]), files["schedule"])
    if stands != known["schedule"] or known["earlier"] or not owned(read, files["schedule"], group):
        found.append("inventory")
    if known["schedule"]["nodes"] != wanted["schedule"]["nodes"]:
        found.append("schedule")
    return found


def fleet_compared(
    hostvars: Any, hosts: list[str], held: Vars, brought: list[str] | None = None, now: str | None = None
) -> Vars:
    """`wanted`: what the archive's fleet files shall hold after this run; `differs`: what of them does not.

    `held`: files that were `read` of the archive host, which `files` they are, what is `known` of the fleet, and the
    service's `group`. `hosts` are those that the run has reached, `brought` those that have the slots of this run.
    """
    known = held["known"]
    keys = fleet_keys(hostvars, hosts, known["authorized"], known["names"], held["files"]["command"])
    deployed_now = fleet_deployed(
        hostvars, brought_hosts(hostvars, hosts if brought is None else brought), known["slots"]
    )
    now = now or record.utc_text(int(time.time()))
    wanted = {
        "authorized": keys,
        "tokens": fleet_tokens(hostvars, hosts, known["tokens"], known["https"], known["enrolled"]),
        "invitations": fleet_invitations(hostvars, hosts, known),
        "schedule": schedule_registry(known["schedule"], deployed_now, known["names"], now),
    }
    return {
        "wanted": wanted,
        "differs": fleet_differences(held["read"], held["files"], wanted, known, held["group"]),
    }


def owned(read: Vars, path: str, group: str) -> bool:
    """Whether a file of the archive is root's, for the service to read."""
    seen = read["files"].get(path) or {}
    return [seen.get(key) for key in ("owner", "group", "mode")] == ["root", group, "0640"]


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


REGISTRY_WAYS_OUT = "restore it, or remove it to start a new history. Nothing was overwritten"


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


class FilterModule:
    """Ansible's entry."""

    def filters(self) -> dict[str, Any]:
        return {
            "fleet_nodes": fleet_nodes,
            "fleet_known": fleet_known,
            "fleet_compared": fleet_compared,
            "fleet_slots": fleet_slots,
            "line_free_in": line_free_in,
            "due_hosts": due_hosts,
            "pushed_hosts": pushed_hosts,
            "machine_hosts": machine_hosts,
            "silent_hosts": silent_hosts,
        }
