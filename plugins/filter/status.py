"""The fleet's state as one table, and what in it needs attention."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))
sys.path.insert(0, str(ROOT))

from plugins.cells import (
    Row,
    ago,
    archive_cells,
    backup_cell,
    coverage_cells,
    drift_cell,
    plan_cell,
    program,
    since,
    span,
    speed_cells,
    status_cell,
    until,
)
from plugins.filter.fleet import fleet_compared
from plugins.hosts import in_cluster, no_login, pulls
from plugins.hosts import observed as seen_of
from plugins.hostvars import whole
from plugins.remote import NO_SENSE
from speedtest_logger.inventory import roles
from speedtest_logger.inventory.found import default_node_name

COLUMNS = (
    "node",
    "down",
    "up",
    "plan",
    "status",
    "measured",
    "next",
    "ok/due",
    "missed",
    "outbox",
    "delivered",
    "runtime",
    "version",
    "drift",
)
LEGEND = (
    "down, up, plan: Mbit/s, medians of the last 24 hours where the archive has them, else the last test; "
    "ok/due, missed: slots of the last 24 hours"
)
WELL = "all is well: every node measures and delivers, and nothing differs from the inventory"
ROLES = {
    "speedtest_archive": "archive",
    "speedtest_cluster": "cluster",
    "speedtest_dashboard": "dashboard",
    "speedtest_database": "database",
    "speedtest_front": "front",
    "speedtest_monitoring": "monitoring",
    "speedtest_store": "store",
    "speedtest_targets": "target",
    "speedtest_nodes": "logger",
}
LONGEST_STATE = 200_000  # characters that a logger says of itself
LONGEST_CELL = 120
LONGEST_PROBLEM = 1000
MOST_PROBLEMS = 100  # of one host's row
BUNDLES_LATE = 4  # times the interval at which a node looks
ALERTS_LATE = 300  # s after the last evaluation, which comes each minute
# What to do about it, where Ansible's words alone do not say it.
HINTS = {
    "interpreter '": "python3 is missing there: `sudo apt install python3`",
    "sudo password": "sudo wants a password, or another one: --ask-become-pass, or ansible_become_password",
    "a password is required": "sudo wants a password: --ask-become-pass, or ansible_become_password",
    "timed out waiting for become": "sudo asks for a password: --ask-become-pass",
    "Host key verification failed": "log in once by hand and compare the key, or set it in ~/.ssh/known_hosts",
    "Permission denied (": "is ansible_user right, is your key there? With a password: --ask-pass",
}
WRAPPING = re.compile(r"^Task failed: (.*The filter plugin '\w+' failed: )?")


def observed(hostvars: Any, host: str, role: str) -> dict[str, Any] | None:
    """What host_state saw of a host for a role, with all drift in words; None where it could not be read.

    `drift` is None where the node was read, but nobody could say what it should be like.
    """
    found = seen_of(hostvars, host, f"speedtest_{role}")
    if "plan" not in found:
        found = (hostvars[host].get("fleet_logger_seen") or found) if role == "logger" else {}
        return {**found, "drift": None} if "programs" in found else None
    contained = hostvars[host].get(f"speedtest_{role}_runtime") == "compose"
    docker = seen_of(hostvars, host, "docker_host") if contained else {}
    exporter = seen_of(hostvars, host, "speedtest_monitoring") if role == "logger" else {}
    besides = [words for each in (docker, exporter) for words in each.get("plan", {}).get("drift", [])]
    return {**found, "drift": [*besides, *found["plan"]["drift"]]}


def silence(hostvars: Any, host: str, role: str) -> tuple[str, str]:
    """Why nothing is known of a host: the word for its row, and the words for its problem."""
    looked = ((hostvars[host].get("fleet_look") or {}).get("problems") or {}).get(host, {})
    tried = [hostvars[host].get(name) or {} for name in (f"speedtest_{role}_observed", f"fleet_{role}_seen")] + [looked]
    reason = next((why(result) for result in tried if result.get("unreachable")), "")
    if not reason and (unread := hostvars[host].get(f"fleet_{role}_unread") or looked):
        seconds = (unread.get("timedout") or {}).get("period")
        return (
            ("SLOW", f"has not answered within {seconds} s")
            if seconds
            else ("UNREAD", f"cannot be read: {why(unread)}")
        )
    return "UNREACHABLE", f"unreachable: {reason}" if reason else "unreachable"


def why(result: dict[str, Any]) -> str:
    """A failed task's reason on one line, without Ansible's words about where in a task it came up."""
    words = WRAPPING.sub("", " ".join(str(result.get("msg", "no reason given")).split()))[:600]
    return words + next((f" ({hint})" for sign, hint in HINTS.items() if sign in words), "")


def sensible(make: Callable[[], Row], unread: Row, host: str, problems: list[str]) -> Row:
    """A row of a host's answers, or where they make no sense `unread`; as long as a row may be, with its problems."""
    before = len(problems)
    try:
        row = make()
    except NO_SENSE as error:
        problems.append(f"{host}: its answer makes no sense: {str(error)!r}")
        row = {**unread, "status": "UNREAD"}
    problems[before:] = [cut(words, LONGEST_PROBLEM) for words in problems[before:]]
    return {column: cut(str(cell), LONGEST_CELL) for column, cell in row.items()}


def cut(words: str, most: int) -> str:
    """Words, or their beginning."""
    return words if len(words) <= most else f"{words[:most]}…"


def told_by(host: str, state: dict[str, Any], otherwise: str) -> list[str]:
    """A program's problems in words; `otherwise` where it has not answered. Raises TypeError for what is no list."""
    found = state.get("problems", [otherwise])
    if not isinstance(found, list):
        raise TypeError(f"seen {type(found).__name__} as a list of problems")
    left = [f"and {len(found) - MOST_PROBLEMS} more"] if len(found) > MOST_PROBLEMS else []
    return [f"{host}: {words}" for words in [*found[:MOST_PROBLEMS], *left]]


def node_of(hostvars: Any, host: str) -> str:
    """The node name of an inventory host."""
    return str(hostvars[host].get("speedtest_logger_node_name") or default_node_name(host))


def node_row(hostvars: Any, host: str, archived: dict[str, Any], problems: list[str], now: float) -> Row:
    """One node's row; its problems are added to `problems`."""
    if pulls(hostvars, host) or no_login(hostvars, host):
        return pulled_row(hostvars, host, archived, problems, now)
    seen = observed(hostvars, host, "logger")
    name = node_of(hostvars, host)
    plan = plan_cell(hostvars[host])
    if seen is None:
        word, words = silence(hostvars, host, "logger")
        problems.append(f"{host}: {words}")
        known = archive_cells(archived.get(name, {}), now)
        return {**dict.fromkeys(COLUMNS, "?"), "node": name, "plan": plan, **known, "status": word}
    state = node_state(seen)
    last = state.get("last_record") or {}
    problems += told_by(host, state, "the logger is not installed or does not answer")
    if state.get("node", name) != name:
        problems.append(f"{host}: it calls itself {state['node']}, and the inventory {name}")
    if "fleet_logger_unread" in hostvars[host]:  # the part of it that is Docker's
        problems.append(f"{host}: {silence(hostvars, host, 'logger')[1]}")
    known = archived.get(name, {})
    return {
        "node": name,
        **speed_cells(known, last),
        "plan": plan,
        "status": ":".join(part for part in (last.get("status"), last.get("reason")) if part) or "-",
        "measured": ago(last.get("finished_at"), now),
        "next": "paused" if state.get("paused") else until(state.get("next_slot"), now),
        **coverage_cells(known),
        "outbox": str(state.get("outbox_records", "-")),
        "delivered": ago(state.get("last_receipt_at"), now),
        "runtime": state.get("runtime", "-"),
        "version": state.get("version", "-"),
        "drift": drift_cell(host, seen, problems),
    }


def pulled_row(hostvars: Any, host: str, archived: dict[str, Any], problems: list[str], now: float) -> Row:
    """The row of a node that nobody can ask: what the archive knows of it, and what it said with its last delivery."""
    name = node_of(hostvars, host)
    known = archived.get(name, {})
    said = known.get("said") or {}
    row = {
        **dict.fromkeys(COLUMNS, "?"),
        "node": name,
        **archive_cells(known, now),
        "plan": plan_cell(hostvars[host]),
        "status": ":".join(str(part) for part in (known.get("last_status"), known.get("last_reason")) if part) or "-",
        "next": "-",
        "outbox": str((said.get("outbox") or {}).get("records", "?")),
        "delivered": since(said.get("last_seen"), now),
        "runtime": str(said.get("runtime", "?")),
        "version": str(said.get("version", "?")),
        "drift": "?",
    }
    wrong = (
        cluster_problems(hostvars[host], known)
        if in_cluster(hostvars, host)
        else bundle_problems(hostvars[host], said, now)
    )
    problems += [f"{host}: {words}" for words in wrong]
    if converged := said.get("converged"):
        row["drift"] = "refused" if converged.get("error") else f"none {since(converged.get('at'), now)}"
        row["drift"] = "taken off" if converged.get("leaving") else row["drift"]
    return row


def cluster_problems(variables: Any, known: dict[str, Any]) -> list[str]:
    """What is wrong with a node that a cluster runs, as far as the archive can tell."""
    if not variables.get("speedtest_logger_identity"):
        return ["speedtest_logger_identity is not set, so the archive may not let it in: docs/how-to/kubernetes.md"]
    if not known.get("last_finished_at"):
        return ["it has delivered nothing yet: `kubectl logs` of its last Job says why"]
    return []


def bundle_problems(variables: Any, said: dict[str, Any], now: float) -> list[str]:
    """What is wrong with how a node brings itself to its desired state, as far as it has said so."""
    converged = said.get("converged")
    if not converged:
        return [
            "it has said nothing of its bundle yet: enrol it with playbooks/enrol.yml, or wait for its next delivery"
        ]
    if converged.get("error"):
        return [f"it is not as its bundle says: {converged['error']}"]
    if converged.get("leaving"):
        return [f"it has delivered all and was taken off {since(converged.get('at'), now)}: remove it from hosts.yml"]
    if variables.get("speedtest_logger_state") == "absent":
        return ["it has yet to take itself off: it does when it fetches its next bundle, which bundle.yml writes"]
    default = roles.known()["speedtest_logger_pull_interval_seconds"].default
    every = float(variables.get("speedtest_logger_pull_interval_seconds") or default)
    heard = float(said.get("last_seen") or 0)  # it cannot have told of a later run
    if heard - float(converged.get("at") or 0) > BUNDLES_LATE * every:
        return [
            f"it last looked for its bundle {since(converged.get('at'), now)}: `systemctl status speedtest-converge`"
        ]
    return []


def node_state(seen: dict[str, Any] | None) -> dict[str, Any]:
    """What a node's logger says of itself."""
    return program(seen, "/usr/local/bin/speedtest-logger", LONGEST_STATE)


def alerts_row(host: str, seen: dict[str, Any], problems: list[str], now: float) -> Row:
    """How many findings last and when that was judged; a destination that takes nothing is a problem."""
    row = {**dict.fromkeys(COLUMNS, ""), "node": f"{host} (alerts)"}
    state = program(seen, "/usr/local/bin/speedtest-alerts")
    if not state:
        problems.append(f"{host}: speedtest-alerts does not answer: `speedtest-alerts list` there says why")
        return {**row, "status": "?"}
    problems += [
        f"{host}: destination {one['name']} has taken nothing since {one['failing since']}: {one['why']}"
        for one in state["destinations"]
        if one["failing since"]
    ]
    row["status"] = f"{len(state['open'])} open"
    if (judged := state["evaluated"]) is None:  # the timer has yet to elapse for the first time
        return row
    if now - judged > ALERTS_LATE:
        problems.append(
            f"{host}: alerts were last judged {span(now - judged)} ago: `systemctl status speedtest-alerts`"
        )
    return {**row, "measured": f"{span(now - judged)} ago"}


def role_row(group: str, host: str, hostvars: Any, seen: dict[str, Any] | None, problems: list[str], now: float) -> Row:
    """A host's line for a role, whose problems are added."""
    row = {**dict.fromkeys(COLUMNS, ""), "node": f"{host} ({ROLES[group]})"}
    if seen is None:
        word, words = silence(hostvars, host, ROLES[group])
        problems.append(f"{host}: {words}")
        return {**row, "status": word}
    drift = drift_cell(host, seen, problems)
    return {**row, "status": status_cell(group, host, hostvars[host], seen, problems, now), "drift": drift}


def fleet_status(
    hostvars: Any,
    groups: dict[str, list[str]],
    hosts: list[str],
    now: float | None = None,
    archive: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """{"table", "problems", "said": all of it} as lines for a person, for those hosts that the run is about.

    `archive`: the archive's fleet `files`, and the `group` that reads them.
    """
    hostvars, now = whole(hostvars), time.time() if now is None else now
    problems: list[str] = []
    rows: list[Row] = []
    archived: dict[str, Any] = {}
    for group in [group for group in ROLES if group != "speedtest_nodes"]:
        for host in [host for host in groups.get(group, []) if host in hosts]:
            rows += host_rows(hostvars, group, host, archived, problems, now)
    nodes = [host for host in groups.get("speedtest_nodes", []) if host in hosts]
    of_nodes = []
    for host in nodes:
        unread = {**dict.fromkeys(COLUMNS, "?"), "node": node_of(hostvars, host)}
        row = partial(node_row, hostvars, host, archived, problems, now)
        of_nodes.append(sensible(row, unread, host, problems))
    rows = of_nodes + rows
    problems = list(dict.fromkeys([*problems, *access_problems(hostvars, groups, hosts, archive or {})]))
    table = aligned(rows)
    ending = [f"- {words}" for words in problems] or [first_slots(hostvars, nodes) or WELL]
    return {"table": table, "problems": problems, "said": ["", *table, "", LEGEND, "", *ending]}


def host_rows(
    hostvars: Any, group: str, host: str, archived: dict[str, Any], problems: list[str], now: float
) -> Iterator[Row]:
    """The rows of a host that is no node; an archive host's has another one for alerts, and tells of nodes."""
    seen = observed(hostvars, host, ROLES[group])
    unread = {**dict.fromkeys(COLUMNS, ""), "node": f"{host} ({ROLES[group]})"}
    row = sensible(partial(role_row, group, host, hostvars, seen, problems, now), unread, host, problems)
    if seen is None or group != "speedtest_archive":
        yield row
        return
    whole_row = partial(archive_row, hostvars[host], host, seen, row, archived, problems)
    yield sensible(whole_row, row, host, problems)
    if any(hostvars[host].get(f"speedtest_archive_alerts_{name}") for name in ("destinations", "heartbeat_url")):
        unread = {**unread, "node": f"{host} (alerts)"}
        yield sensible(partial(alerts_row, host, seen, problems, now), unread, host, problems)


def first_slots(hostvars: Any, nodes: list[str]) -> str:
    """A sentence on nodes that have not had a slot yet; empty where each had one."""
    states = [node_state(observed(hostvars, host, "logger")) for host in nodes]
    waiting = [state for state in states if state.get("next_slot") and not state.get("last_record")]
    if not waiting:
        return ""
    named = {str(state.get("node"))[:LONGEST_CELL]: state for state in waiting}
    firsts = sorted((str(state["next_slot"])[:19].replace("T", " "), node) for node, state in named.items())
    when = ", ".join(f"{moment} UTC ({node})" for moment, node in firsts[:3])
    if len(waiting) == len(states):
        return f"no node has had a slot yet; first ones at {when}"
    return f"{', '.join(sorted(named))} had no slot yet; first at {when}"


def archive_row(
    variables: Any, host: str, seen: dict[str, Any], row: Row, archived: dict[str, Any], problems: list[str]
) -> Row:
    """The row with the archive's backup; what is wrong with it is added to `problems`, each node to `archived`."""
    state = program(seen, "/usr/local/bin/speedtest-archive")
    known = {"problems": [], **state} if state else {}
    problems += told_by(host, known, "the archive is not installed or does not answer")
    archived.update({name: known for name, known in state.get("nodes", {}).items() if isinstance(known, dict)})
    if not variables.get("speedtest_archive_backup_repository"):
        return row
    return {**row, "status": backup_cell(host, state.get("backup", {}), problems)}


# What site.yml would write on the archive host, as fleet_compared names it.
DIFFERENCES = {
    "inventory": "schedule.json: what nodes may deliver, its place, owner or mode",
    "invitations": "invitations: a node has enrolled by one since, or has left",
}


def access_problems(hostvars: Any, groups: dict[str, list[str]], hosts: list[str], its: dict[str, Any]) -> list[str]:
    """Where the archive's fleet files differ from what site.yml would write, why that is unknown, and who runs now."""
    nodes = [host for host in groups.get("speedtest_nodes", []) if host in hosts]
    archive = (groups.get("speedtest_archive") or ["the archive host"])[0]

    def first(name: str) -> Any:
        return next((hostvars[host][name] for host in nodes if name in hostvars[host]), None) or {}

    looked, read = first("fleet_look"), first("fleet_read_before")
    found, unknown = [], looked.get("unknown") if archive not in looked.get("problems", {}) else None
    if "state" in looked:
        try:
            compared = fleet_compared(hostvars, nodes, {**its, "read": read, "known": looked["state"]})
            found = [f"{archive}: differs from the inventory: {DIFFERENCES.get(n, n)}" for n in compared["differs"]]
        except (AnsibleError, *NO_SENSE) as error:  # the table comes all the same
            unknown = str(error)
    if unknown:
        words = why({"msg": unknown})
        found.append(f"{archive}: what it holds of the nodes cannot be compared with the inventory: {words}")
    return [*found, *under_way(archive, read)]


def under_way(archive: str, read: dict[str, Any]) -> list[str]:
    """Who changes the fleet now, by the lock that was read; nothing where that was not read, or makes no sense."""
    try:
        lock = read["lock"]["before"] or {}
        words = f"{lock['since']}: {lock['who']} (process {lock['pid']}), {lock['what']}, last sign of life"
        return [cut(f"{archive}: a run is under way since {words} {lock['renewed_at']}", LONGEST_PROBLEM)]
    except NO_SENSE:
        return []


def aligned(rows: list[Row]) -> list[str]:
    """Rows as lines of equal columns."""
    widths = {column: max([len(column), *(len(row[column]) for row in rows)]) for column in COLUMNS}
    head = {column: column for column in COLUMNS}
    return ["  ".join(row[column].ljust(widths[column]) for column in COLUMNS).rstrip() for row in [head, *rows]]


class FilterModule:
    """Ansible's entry."""

    def filters(self) -> dict[str, Any]:
        return {"fleet_status": fleet_status}
