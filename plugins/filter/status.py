"""The fleet's state as one table, and what in it needs attention."""

from __future__ import annotations

import json
from typing import Any

# no single spaces: the YAML output would break lines there
COLUMNS = (
    "node",
    "runtime",
    "version",
    "last-record",
    "status",
    "outbox",
    "last-receipt",
    "ok/due-24h",
    "missed",
    "drift",
)
ROLES = {"speedtest_targets": "target", "speedtest_archive": "archive", "speedtest_nodes": "logger"}
Row = dict[str, str]


def observed(hostvars: Any, host: str, role: str) -> dict[str, Any] | None:
    """What host_state saw of a host for a role, with all drift in words; None where it could not be reached."""
    name = f"__speedtest_{role}_observed"
    found = hostvars[host].get(name, {})
    if "plan" not in found:
        return None
    docker = hostvars[host].get("__docker_host_observed", {}) if role == "logger" else {}
    return {**found, "drift": [*docker.get("plan", {}).get("drift", []), *found["plan"]["drift"]]}


def program(seen: dict[str, Any] | None, name: str) -> dict[str, Any]:
    """The JSON that a program printed, empty where it is not installed or said something else."""
    text = ((seen or {}).get("programs") or {}).get(name) or ""
    try:
        found: Any = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def node_row(host: str, seen: dict[str, Any] | None, archived: dict[str, Any], problems: list[str]) -> Row:
    """One node's row; its problems are added to `problems`."""
    if seen is None:
        problems.append(f"{host}: unreachable")
        return {
            **dict.fromkeys(COLUMNS, "?"),
            "node": host,
            "status": "UNREACHABLE",
            **coverage_cells(archived.get(host, {})),
        }
    state = program(seen, "/usr/local/bin/speedtest-logger")
    node = state.get("node", host)
    last = state.get("last_record") or {}
    problems += [
        f"{host}: {text}" for text in state.get("problems", ["the logger is not installed or does not answer"])
    ]
    return {
        "node": node,
        "runtime": state.get("runtime", "-"),
        "version": state.get("version", "-"),
        "last-record": (last.get("finished_at") or "-")[:19],
        "status": ":".join(part for part in (last.get("status"), last.get("reason")) if part) or "-",
        "outbox": str(state.get("outbox_records", "-")),
        "last-receipt": (state.get("last_receipt_at") or "-")[:19],
        **coverage_cells(archived.get(node, {})),
        "drift": drift_cell(host, seen, problems),
    }


def backup_cell(host: str, backup: dict[str, Any], problems: list[str]) -> str:
    """When the archive was last saved."""
    if failure := backup.get("failure"):
        problems.append(f"{host}: the backup of {failure['at'][:16]} failed: {failure['message']}")
    if "at" not in backup:
        problems.append(f"{host}: there is no backup yet: `systemctl start speedtest-backup` there makes the first")
        return "backup:none"
    return f"backup:{backup['at'][:16]}"


def coverage_cells(archived: dict[str, Any]) -> Row:
    """The archive's view of a node's last 24 hours."""
    cover = archived.get("coverage")
    if not cover:
        return {"ok/due-24h": "-", "missed": "-"}
    return {"ok/due-24h": f"{cover['ok']}/{cover['expected'] - cover['pending']}", "missed": str(cover["missed"])}


def drift_cell(host: str, seen: dict[str, Any], problems: list[str]) -> str:
    """How many managed things differ; each is named among the problems."""
    drift = seen["drift"]
    problems += [f"{host}: differs from the inventory: {words}" for words in drift]
    return str(len(drift)) if drift else "none"


def fleet_status(hostvars: Any, groups: dict[str, list[str]], hosts: list[str]) -> dict[str, Any]:
    """{"table": lines for a person, "problems": what needs attention}, for those hosts that the run is about."""
    problems: list[str] = []
    rows: list[Row] = []
    archived: dict[str, Any] = {}
    for group in ("speedtest_archive", "speedtest_targets"):
        for host in [host for host in groups.get(group, []) if host in hosts]:
            seen = observed(hostvars, host, ROLES[group])
            row = {**dict.fromkeys(COLUMNS, ""), "node": f"{host}({ROLES[group]})"}
            if seen is None:
                problems.append(f"{host}: unreachable")
                rows.append({**row, "status": "UNREACHABLE"})
                continue
            rows.append({**row, "drift": drift_cell(host, seen, problems)})
            if group == "speedtest_archive":
                state = program(seen, "/usr/local/bin/speedtest-archive")
                archived = state.get("nodes", {})
                found = state.get("problems", []) if state else ["the archive is not installed or does not answer"]
                problems += [f"{host}: {words}" for words in found]
                if hostvars[host].get("speedtest_archive_backup_repository"):
                    rows[-1]["status"] = backup_cell(host, state.get("backup", {}), problems)
    for host in [host for host in groups.get("speedtest_nodes", []) if host in hosts]:
        rows.append(node_row(host, observed(hostvars, host, "logger"), archived, problems))
    problems += access_problems(hostvars, groups, hosts)
    return {"table": aligned(rows), "problems": problems}


def access_problems(hostvars: Any, groups: dict[str, list[str]], hosts: list[str]) -> list[str]:
    """Where the archive's authorized_keys or schedule differ from what site.yml would write."""
    nodes = [host for host in groups.get("speedtest_nodes", []) if host in hosts]
    found: list[str] = next(
        (hostvars[host]["fleet_differs"] for host in nodes if "fleet_differs" in hostvars[host]), []
    )
    return [f"{groups['speedtest_archive'][0]}: differs from the inventory: {words}" for words in found]


def aligned(rows: list[Row]) -> list[str]:
    """Rows as lines of equal columns."""
    widths = {column: max([len(column), *(len(row[column]) for row in rows)]) for column in COLUMNS}
    head = {column: column for column in COLUMNS}
    return ["  ".join(row[column].ljust(widths[column]) for column in COLUMNS).rstrip() for row in [head, *rows]]


class FilterModule:
    """Ansible's entry."""

    def filters(self) -> dict[str, Any]:
        return {"fleet_status": fleet_status}
