"""The fleet's state as one table, and what in it needs attention."""

from __future__ import annotations

import json
import re
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
WRAPPING = re.compile(r"^Task failed: (.*The filter plugin '\w+' failed: )?")


def observed(hostvars: Any, host: str, role: str) -> dict[str, Any] | None:
    """What host_state saw of a host for a role, with all drift in words; None where it could not be read.

    `drift` is None where the node was read, but nobody could say what it should be like.
    """
    found = hostvars[host].get(f"__speedtest_{role}_observed", {})
    if "plan" not in found:
        found = hostvars[host].get("__speedtest_logger_seen", {}) if role == "logger" else {}
        return {**found, "drift": None} if "programs" in found else None
    docker = hostvars[host].get("__docker_host_observed", {}) if role == "logger" else {}
    return {**found, "drift": [*docker.get("plan", {}).get("drift", []), *found["plan"]["drift"]]}


def silence(hostvars: Any, host: str, role: str) -> tuple[str, str]:
    """Why nothing is known of a host: the word for its row, and the words for its problem."""
    unread = hostvars[host].get(f"__speedtest_{role}_unread")
    if unread:
        seconds = (unread.get("timedout") or {}).get("period")
        return (
            ("SLOW", f"has not answered within {seconds} s")
            if seconds
            else ("UNREAD", f"cannot be read: {why(unread)}")
        )
    tried = [hostvars[host].get(f"__speedtest_{role}_{name}", {}) for name in ("observed", "seen")]
    reason = next((why(result) for result in tried if result.get("unreachable")), "")
    return "UNREACHABLE", f"unreachable: {reason}" if reason else "unreachable"


def why(result: dict[str, Any]) -> str:
    """A failed task's reason on one line, without Ansible's words about where in a task it came up."""
    words = " ".join(str(result.get("msg", "no reason given")).split())
    return WRAPPING.sub("", words)[:600]


def program(seen: dict[str, Any] | None, name: str) -> dict[str, Any]:
    """The JSON that a program printed, empty where it is not installed or said something else."""
    text = ((seen or {}).get("programs") or {}).get(name) or ""
    try:
        found: Any = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def node_row(hostvars: Any, host: str, archived: dict[str, Any], problems: list[str]) -> Row:
    """One node's row; its problems are added to `problems`."""
    seen = observed(hostvars, host, "logger")
    name = str(hostvars[host].get("speedtest_logger_node_name") or host.lower().replace(".", "-"))
    if seen is None:
        word, words = silence(hostvars, host, "logger")
        problems.append(f"{host}: {words}")
        return {**dict.fromkeys(COLUMNS, "?"), "node": name, **archive_cells(archived.get(name, {})), "status": word}
    state = program(seen, "/usr/local/bin/speedtest-logger")
    last = state.get("last_record") or {}
    problems += [
        f"{host}: {text}" for text in state.get("problems", ["the logger is not installed or does not answer"])
    ]
    if "__speedtest_logger_unread" in hostvars[host]:  # the part of it that is Docker's
        problems.append(f"{host}: {silence(hostvars, host, 'logger')[1]}")
    return {
        "node": state.get("node", name),
        "runtime": state.get("runtime", "-"),
        "version": state.get("version", "-"),
        "last-record": (last.get("finished_at") or "-")[:19],
        "status": ":".join(part for part in (last.get("status"), last.get("reason")) if part) or "-",
        "outbox": str(state.get("outbox_records", "-")),
        "last-receipt": (state.get("last_receipt_at") or "-")[:19],
        **coverage_cells(archived.get(state.get("node", name), {})),
        "drift": drift_cell(host, seen, problems),
    }


def archive_cells(archived: dict[str, Any]) -> Row:
    """What the archive can say of a node that says nothing itself."""
    last = archived.get("last_finished_at")
    return {"last-record": last[:19] if last else "?", **coverage_cells(archived)}


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
    if drift is None:
        return "?"
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
                word, words = silence(hostvars, host, ROLES[group])
                problems.append(f"{host}: {words}")
                rows.append({**row, "status": word})
                continue
            rows.append({**row, "drift": drift_cell(host, seen, problems)})
            if group == "speedtest_archive":
                archived = archive_state(hostvars[host], host, seen, rows[-1], problems)
    for host in [host for host in groups.get("speedtest_nodes", []) if host in hosts]:
        rows.append(node_row(hostvars, host, archived, problems))
    problems += access_problems(hostvars, groups, hosts)
    return {"table": aligned(rows), "problems": problems}


def archive_state(
    variables: Any, host: str, seen: dict[str, Any], row: Row, problems: list[str]
) -> dict[str, dict[str, Any]]:
    """What the archive says of each node; what is wrong with it is added to `problems`, its backup to its row."""
    state = program(seen, "/usr/local/bin/speedtest-archive")
    found = state.get("problems", []) if state else ["the archive is not installed or does not answer"]
    problems += [f"{host}: {words}" for words in found]
    if variables.get("speedtest_archive_backup_repository"):
        row["status"] = backup_cell(host, state.get("backup", {}), problems)
    nodes: dict[str, dict[str, Any]] = state.get("nodes", {})
    return nodes


# What site.yml would write on the archive host, as compare.yml names it.
DIFFERENCES = {"inventory": "schedule.json: what nodes may deliver, its place, owner or mode"}


def access_problems(hostvars: Any, groups: dict[str, list[str]], hosts: list[str]) -> list[str]:
    """Where the archive's fleet files differ from what site.yml would write, why that is unknown, and who runs now."""
    nodes = [hostvars[host] for host in groups.get("speedtest_nodes", []) if host in hosts]
    archive = (groups.get("speedtest_archive") or ["the archive host"])[0]

    def first(name: str) -> Any:
        return next((values[name] for values in nodes if name in values), None)

    found = [f"{archive}: differs from the inventory: {DIFFERENCES.get(n, n)}" for n in first("fleet_differs") or []]
    if unread := first("fleet_unread"):
        found.append(f"{archive}: what it holds of the nodes cannot be compared with the inventory: {why(unread)}")
    if lock := ((first("fleet_read") or {}).get("lock") or {}).get("before"):
        found.append(
            f"{archive}: a run is under way since {lock['since']}: {lock['who']} (process {lock['pid']}), "
            f"{lock['what']}, last sign of life {lock['renewed_at']}"
        )
    return found


def aligned(rows: list[Row]) -> list[str]:
    """Rows as lines of equal columns."""
    widths = {column: max([len(column), *(len(row[column]) for row in rows)]) for column in COLUMNS}
    head = {column: column for column in COLUMNS}
    return ["  ".join(row[column].ljust(widths[column]) for column in COLUMNS).rstrip() for row in [head, *rows]]


class FilterModule:
    """Ansible's entry."""

    def filters(self) -> dict[str, Any]:
        return {"fleet_status": fleet_status}
