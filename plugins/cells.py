"""What stands in a cell of the fleet's table: times, speeds, and what a role says of itself.

What is wrong besides is added to `problems`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from speedtest_logger.inventory import roles

Row = dict[str, str]


def program(seen: dict[str, Any] | None, name: str, most: int | None = None) -> dict[str, Any]:
    """The JSON that a program printed, empty where it is not installed or said something else, or more than `most`."""
    text = ((seen or {}).get("programs") or {}).get(name) or ""
    try:
        found: Any = json.loads("" if most and len(text) > most else text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def set_for(variables: Any, role: str, *names: str) -> list[Any]:
    """What a host's variables set of a role, else the role's defaults."""
    known = roles.known()
    return [variables.get(f"{role}_{name}", known[f"{role}_{name}"].default) for name in names]


def since(moment: Any, now: float) -> str:
    """How long ago a Unix time (s) was."""
    return f"{span(now - moment)} ago" if isinstance(moment, (int, float)) and moment else "?"


def mbps(bits: Any) -> str:
    """A rate in Mbit/s, short; - where nothing was measured."""
    if not isinstance(bits, (int, float)):
        return "-"
    return f"{bits / 1e6:.1f}" if bits < 1e9 else f"{bits / 1e6:.0f}"


def seconds_from(moment: Any, now: float) -> float | None:
    """Seconds from now to a moment such as 2026-01-01T00:00:00.000Z; None where it is none."""
    try:
        return datetime.fromisoformat(str(moment)).timestamp() - now
    except ValueError:
        return None


def span(seconds: float) -> str:
    """A time of a size that matters."""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0, seconds):.0f} s"


def ago(moment: Any, now: float) -> str:
    """How long ago something was."""
    ahead = seconds_from(moment, now)
    if ahead is None:
        return "-"
    return f"{span(-ahead)} ago" if ahead < 60 else f"in {span(ahead)}"


def until(moment: Any, now: float) -> str:
    """How soon something is due."""
    ahead = seconds_from(moment, now)
    return "-" if ahead is None else f"in {span(ahead)}"


def plan_cell(variables: Any) -> str:
    """What the contract promises, down/up in Mbit/s."""
    plans = [float(variables.get(f"speedtest_logger_plan_{way}_mbps") or 0) for way in ("download", "upload")]
    return "/".join(f"{plan:g}" if plan else "?" for plan in plans) if any(plans) else "-"


def speed_cells(archived: dict[str, Any], last: dict[str, Any]) -> Row:
    """The day's medians in Mbit/s, or what the last test found."""
    ways = {"down": "download_bps", "up": "upload_bps"}
    return {cell: mbps(archived.get(f"day_{name}") or last.get(name)) for cell, name in ways.items()}


def coverage_cells(archived: dict[str, Any]) -> Row:
    """The archive's view of a node's last 24 hours."""
    cover = archived.get("coverage")
    if not cover:
        return {"ok/due": "-", "missed": "-"}
    return {"ok/due": f"{cover['ok']}/{cover['expected'] - cover['pending']}", "missed": str(cover["missed"])}


def archive_cells(archived: dict[str, Any], now: float) -> Row:
    """What the archive can say of a node that says nothing itself."""
    last = archived.get("last_finished_at")
    return {"measured": ago(last, now) if last else "?", **speed_cells(archived, {}), **coverage_cells(archived)}


def backup_cell(host: str, backup: dict[str, Any], problems: list[str]) -> str:
    """When the archive was last saved."""
    if failure := backup.get("failure"):
        problems.append(f"{host}: the backup of {failure['at'][:16]} failed: {failure['message']}")
    if "at" not in backup:
        problems.append(f"{host}: there is no backup yet: `systemctl start speedtest-backup` there makes the first")
        return "backup:none"
    return f"backup:{backup['at'][:16]}"


def dashboard_cell(host: str, variables: Any, seen: dict[str, Any], problems: list[str]) -> str:
    """Where the dashboard listens and what its /health says, or that it does not run."""
    state, bind, port = set_for(variables, "speedtest_dashboard", "state", "bind", "port")
    if state == "absent":
        return "absent"
    if seen["plan"].get("units") or seen["plan"].get("projects"):
        return "NOT RUNNING"
    address = f"{f'[{bind}]' if ':' in str(bind) else bind}:{port}"
    health = program(seen, "/usr/local/bin/speedtest-dashboard")
    if not health:  # of a version that does not say it
        return address
    said = "does not answer" if health.get("status") == "unreachable" else str(health.get("status"))
    if said != "healthy":
        words = said if said == "does not answer" else f"is {said}"
        problems.append(f"{host}: the dashboard {words}: {health.get('why', 'it does not say why')}")
    return f"{address} {said}"


def database_cell(host: str, variables: Any, seen: dict[str, Any], problems: list[str], now: float) -> str:
    """When the database last was what the archive is, or that it does not follow."""
    if set_for(variables, "speedtest_database", "state") == ["absent"]:
        return "absent"
    said = program(seen, "/usr/local/bin/speedtest-database")
    for what, since, why in (
        ("the database does not follow the archive", "failing_since", "why"),
        ("the database cannot be dumped", "dump_failing_since", "dump_why"),
    ):
        if said.get(since):
            problems.append(f"{host}: {what} since {str(said[since])[:16]}: {said.get(why)}")
    if seen["plan"].get("units"):
        return "NOT RUNNING"
    if not said.get("synced"):
        return "empty"
    return f"{said.get('lag')} behind" if said.get("lag") else f"synced {ago(said['synced'], now)}"


def front_cell(variables: Any, seen: dict[str, Any]) -> str:
    """Under which name the front answers, or that it does not run."""
    state, name, port = set_for(variables, "speedtest_front", "state", "name", "https_port")
    if state == "absent":
        return "absent"
    return "NOT RUNNING" if seen["plan"].get("units") else f"https://{name}{'' if int(port) == 443 else f':{port}'}"


def monitoring_cell(variables: Any, seen: dict[str, Any]) -> str:
    """Where Prometheus listens, that its files are there, or that something of it does not run."""
    state, mode, bind, port = set_for(variables, "speedtest_monitoring", "state", "mode", "bind", "port")
    if state == "absent":
        return "absent"
    if seen["plan"].get("units"):
        return "NOT RUNNING"
    return "files" if mode == "files" else f"{f'[{bind}]' if ':' in str(bind) else bind}:{port}"


def cluster_cell(variables: Any, seen: dict[str, Any]) -> str:
    """Which parts of the cluster run on a member, or that one of them does not; who only asks runs none."""
    state, parts = set_for(variables, "speedtest_cluster", "state", "parts")
    if state == "absent":
        return "absent"
    if seen["plan"].get("units"):
        return "NOT RUNNING"
    return ", ".join(sorted(parts)) or "asks"


def status_cell(group: str, host: str, variables: Any, seen: dict[str, Any], problems: list[str], now: float) -> str:
    """What a host that has been read says of itself in a group."""
    cells: dict[str, Callable[[], str]] = {
        "speedtest_cluster": lambda: cluster_cell(variables, seen),
        "speedtest_dashboard": lambda: dashboard_cell(host, variables, seen, problems),
        "speedtest_database": lambda: database_cell(host, variables, seen, problems, now),
        "speedtest_front": lambda: front_cell(variables, seen),
        "speedtest_monitoring": lambda: monitoring_cell(variables, seen),
    }
    return cells.get(group, lambda: "ok")()


def drift_cell(host: str, seen: dict[str, Any], problems: list[str]) -> str:
    """How many managed things differ; each is named among the problems."""
    drift = seen["drift"]
    if drift is None:
        return "?"
    problems += [f"{host}: differs from the inventory: {words}" for words in drift]
    return str(len(drift)) if drift else "none"
