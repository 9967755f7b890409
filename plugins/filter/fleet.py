"""What can only be known from the whole fleet: its slots, and what the archive host holds of its nodes."""

from __future__ import annotations

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
from plugins.archive_files import owned, text
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
from plugins.schedules import fleet_deployed, fleet_slots, line_free_in, parsed, registry_of, schedule_registry
from speedtest_logger import invitation, record
from speedtest_logger.inventory.kinds import plain

Vars = dict[str, Any]


def fleet_known(read: Vars, files: Vars, nodes: list[Vars], host_key: str = "", writing: bool = True) -> Vars:
    """What a run knows of the fleet before it changes a node.

    host_key, authorized (authorized_keys as it is), schedule (the registry: what was deployed, and what the inventory
    allows now), earlier (files of the version before that must go), slots and names of all nodes of the inventory, and
    which of them are taken off (leaving);
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
        "leaving": leaving(nodes),
        "tokens": text(read, files["tokens"]),
        "https": [str(values["node_name"]) for values in nodes if values["transport"] == "https"],
        **invitations_of(read, files),
        "root": root_of(read, files, nodes),
    }


def leaving(nodes: list[Vars]) -> list[str]:
    """Nodes of which no more slots are due: their inventory has them taken off."""
    return [str(values["node_name"]) for values in nodes if values["state"] == "absent"]


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
    staying = [name for name in known["names"] if name not in known["leaving"]]
    now = now or record.utc_text(int(time.time()))
    wanted = {
        "authorized": keys,
        "tokens": fleet_tokens(hostvars, hosts, known["tokens"], known["https"], known["enrolled"]),
        "invitations": fleet_invitations(hostvars, hosts, known),
        "schedule": schedule_registry(known["schedule"], deployed_now, staying, now),
    }
    return {
        "wanted": wanted,
        "differs": fleet_differences(held["read"], held["files"], wanted, known, held["group"]),
    }


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
