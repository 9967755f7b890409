"""What can only be known from the whole fleet: slots that do not collide, the archive's view of schedules and keys."""

from __future__ import annotations

import difflib
import json
import math
import re
import sys
import time
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleFilterError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

from speedtest_logger import config, record, schedule

Vars = dict[str, Any]
KEY_LINE = re.compile(r"^\S.*?--node (\S+?)\" (ssh-\S+ \S+)")


def claim(values: Vars) -> schedule.Claim:
    """A node's wish for slots from its variables; a node without an uplink has a line of its own."""
    node = str(values["node_name"])
    length = int(values["measure_timeout_seconds"]) + int(values["start_tolerance_seconds"]) + schedule.GUARD_SECONDS
    if float(values.get("busy_mbps") or 0):
        length += int(values["busy_window_seconds"])  # the line is watched before the test begins
    return schedule.Claim(
        node, str(values.get("uplink") or f"only {node}"), schedule.parse_duration(values["interval"]), length
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


WAYS_OUT = "raise speedtest_logger_interval, lower speedtest_logger_measure_timeout_seconds, or put fewer nodes on it"


def on_calendar(interval: str, offset: int) -> list[str]:
    """systemd's OnCalendar expressions for an interval that divides a day, shifted by a node's own offset (s)."""
    seconds = schedule.parse_duration(interval)
    schedule.check_interval(seconds)
    return schedule.Schedule(seconds, offset % seconds).on_calendar()


def duration_seconds(interval: str) -> int:
    """Seconds of a time such as 15min or 1h."""
    return schedule.parse_duration(interval)


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
    return {"nodes": dict(sorted(nodes.items()))}


def authorized_keys(current: str, keys: dict[str, str], names: list[str], command: str) -> str:
    """The archive's authorized_keys: keys seen now, else those known, of the inventory's nodes only."""
    known = {match[1]: match[2] for line in current.splitlines() if (match := KEY_LINE.match(line))}
    known.update({node: " ".join(key.split()[:2]) for node, key in keys.items()})
    lines = [
        f'restrict,command="{command} --node {node}" {known[node]} {node}' for node in sorted(names) if node in known
    ]
    return "\n".join(["# managed by Ansible: speedtest_archive", *lines]) + "\n"


def fleet_keys(hostvars: Any, hosts: list[str], current: str, names: list[str], command: str) -> str:
    """authorized_keys after this run: `hosts` are those that it has reached, `names` all nodes of the inventory."""
    keys = {}
    for host in hosts:
        for seen in ("__speedtest_logger_new_key", "__speedtest_logger_observed"):
            texts = hostvars[host][seen].get("texts", {}) if seen in hostvars[host] else {}
            found = next((text for name, text in texts.items() if name.endswith("/id_ed25519.pub") and text), None)
            if found:
                keys[node_name(hostvars, host)] = found
                break
    return authorized_keys(current, keys, names, command)


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


def fleet_differences(read: Vars, files: Vars, wanted: Vars, group: str) -> list[str]:
    """Which of the archive's two fleet files differ in content, owner, group or mode."""
    found = []
    schedule_text = read["texts"].get(files["schedule"])
    same = {
        "authorized_keys": read["texts"].get(files["authorized"]) == wanted["authorized"],
        "schedule": bool(schedule_text) and parsed(schedule_text) == wanted["schedule"],
    }
    for name, file in (("authorized_keys", files["authorized"]), ("schedule", files["schedule"])):
        seen = read["paths"].get(file) or {}
        if not same[name] or [seen.get(key) for key in ("owner", "group", "mode")] != ["root", group, "0640"]:
            found.append(name)
    return found


def parsed(text: str | None) -> Vars:
    """The registry in a file; a file that is no JSON is named, so that nobody's history is overwritten unseen."""
    try:
        registry: Vars = json.loads(text or "{}")
    except ValueError as error:
        raise AnsibleFilterError(
            f"the archive's schedule.json is no JSON ({error}): restore it, or remove it to start a new history"
        ) from error
    return registry


def node_name(hostvars: Any, host: str) -> str:
    """The node name of an inventory host."""
    return str(fleet_nodes(hostvars, [host])[0]["node_name"])


def read_yaml(*path: str) -> Vars:
    """A YAML file of this checkout, by the C loader where there is one: it is ten times as fast."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    text = ROOT.joinpath(*path).read_text(encoding="utf-8")
    return dict(yaml.load(text, Loader=loader))  # noqa: S506  (a safe loader either way)


@cache
def role_defaults(role: str) -> Vars:
    """A role's defaults; those that are Jinja are left out."""
    defaults = read_yaml("roles", role, "defaults", "main.yml")
    return {name: value for name, value in defaults.items() if "{{" not in str(value)}


@cache
def role_options(role: str) -> Vars:
    """The options in a role's argument_specs."""
    options: Vars = read_yaml("roles", role, "meta", "argument_specs.yml")["argument_specs"]["main"]["options"]
    return options


def fleet_nodes(hostvars: Any, hosts: list[str]) -> list[Vars]:
    """The logger role's variables of every node, less their prefix, with the role's defaults below them."""
    prefix, defaults = "speedtest_logger_", role_defaults("speedtest_logger")
    nodes = []
    for host in hosts:
        known = hostvars[host]
        values = {name.removeprefix(prefix): known.get(name, default) for name, default in defaults.items()}
        name = f"{prefix}node_name"
        values["node_name"] = known[name] if name in known else host.lower().replace(".", "-")
        nodes.append({**values, "host": host})
    return nodes


def inventory_problems(hostvars: Any, groups: dict[str, list[str]]) -> list[str]:
    """Everything that is wrong with the inventory, each with the variable, the value seen and what to set."""
    problems = []
    archives = groups.get("speedtest_archive", [])
    if len(archives) != 1:
        seen = ", ".join(archives) or "none"
        problems.append(f"group speedtest_archive: seen {seen}; put exactly one host into it")
    for group, role in ROLES:
        for host in groups.get(group, []):
            problems += [f"host {host}: {problem}" for problem in role_problems(hostvars[host], role)]
    for host in archives:
        problems += [f"host {host}: {problem}" for problem in archive_problems(hostvars[host])]
    if problems:
        return problems
    nodes = fleet_nodes(hostvars, groups.get("speedtest_nodes", []))
    for values in nodes:
        problems += [f"host {values['host']}: {problem}" for problem in node_problems(values)]
    return problems or fleet_problems(nodes)


def plain(value: Any) -> Any:
    """A value without Ansible's lazy containers, whose copies are as costly as the whole inventory."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, list) else value


ROLES = (
    ("speedtest_nodes", "speedtest_logger"),
    ("speedtest_nodes", "docker_host"),
    ("speedtest_archive", "speedtest_archive"),
    ("speedtest_targets", "speedtest_target"),
)


def role_problems(values: Any, role: str) -> list[str]:
    """Variables of a role that do not exist or have the wrong type or value, by the role's argument_specs."""
    options = role_options(role)
    given = {name: plain(values[name]) for name in values if name.startswith(role + "_")}
    problems = []
    for name, value in given.items():
        if name not in options:
            near = difflib.get_close_matches(name, options, 1)
            problems.append(f"{name}: there is no such variable" + (f"; did you mean {near[0]}?" if near else ""))
            continue
        spec = {key: part for key, part in options[name].items() if key not in ("description", "default")}
        result = ArgumentSpecValidator({name: spec}).validate({name: value})
        problems += [f"{name}: seen {value!r}; {message}" for message in result.error_messages]
    return problems


def archive_problems(values: Any) -> list[str]:
    """What is wrong with the archive host's variables beyond their types."""
    problems = []
    backup = "speedtest_archive_backup_"
    repository = values.get(f"{backup}repository", "")
    if repository and not values.get(f"{backup}password", ""):
        problems.append(
            f"{backup}password: seen nothing; backups to '{repository}' need one, keep it in a vault and elsewhere"
        )
    size = str(values.get("speedtest_archive_keep_size", ""))
    if size and not re.fullmatch(r"[1-9]\d*(MB|GB|TB)", size):
        problems.append(f"speedtest_archive_keep_size: seen '{size}'; write it like 500MB or 20GB, or leave it empty")
    return problems


def fleet_problems(nodes: list[Vars]) -> list[str]:
    """What is wrong with the nodes taken together."""
    by_name: dict[str, list[str]] = {}
    for values in nodes:
        by_name.setdefault(str(values["node_name"]), []).append(values["host"])
    problems = [
        f"speedtest_logger_node_name: seen '{name}' on {', '.join(hosts)}; give each a name of its own"
        for name, hosts in by_name.items()
        if len(hosts) > 1
    ]
    if not problems:
        try:
            fleet_slots(nodes, {})
        except AnsibleFilterError as error:
            problems.append(f"speedtest_logger_uplink: {error}")
    return problems


def node_problems(values: Vars) -> list[str]:
    """What is wrong with one node's variables beyond their types."""
    problems = []
    for name in ("node_name", "location", "uplink"):
        if values.get(name) and not record.is_id(str(values[name])):
            problems.append(
                f"speedtest_logger_{name}: seen '{values[name]}'; use lower-case letters, digits and inner "
                "hyphens, 63 at most, not digits alone"
            )
    for name in ("interval", "push_interval"):
        try:
            schedule.check_interval(schedule.parse_duration(str(values[name])))
        except ValueError as error:
            problems.append(f"speedtest_logger_{name}: seen '{values[name]}'; {error}")
    version = str(values["version"])
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        own = role_defaults("speedtest_logger")["speedtest_logger_version"]
        problems.append(f"speedtest_logger_version: seen '{version}'; set an explicit version such as {own}")
    return problems + setting_problems(values)


def setting_problems(values: Vars) -> list[str]:
    """Settings that the node itself would refuse: windows, time zones, engines without what they need."""
    problems = []
    for name in ("quiet_hours", "timezone"):
        value = values[name]
        text = " ".join(value) if isinstance(value, list) else str(value)
        parse = next(o.metadata["parse"] for o in fields(config.Settings) if o.name == name)
        try:
            parse(text)
        except ValueError as error:
            problems.append(f"speedtest_logger_{name}: seen {value!r}; {error}")
    if not values["engines"]:
        problems.append(f"speedtest_logger_engines: seen []; name at least one of {', '.join(config.ENGINES)}")
    if "iperf3" in values["engines"] and not values["iperf3_servers"]:
        problems.append(
            "speedtest_logger_iperf3_servers: seen []; iperf3 has no public list, set HOST or HOST:PORT of yours"
        )
    if "ookla" in values["engines"] and values["ookla_licence_accepted"] is not True:
        problems.append(
            f"speedtest_logger_ookla_licence_accepted: seen {values['ookla_licence_accepted']!r} while "
            "speedtest_logger_engines names ookla; set true if you accept Ookla's licence, or leave ookla out"
        )
    if values["archive_raw"] and (values["external_ip"] != "full" or not values["isp_enabled"]):
        problems.append(
            "speedtest_logger_archive_raw: seen true; an engine's own words tell the public address and the provider, "
            "which speedtest_logger_external_ip and speedtest_logger_isp_enabled keep from the archive: have the one "
            "or the other"
        )
    if values["image_source"] == "pull" and "@sha256:" not in values["image"]:
        problems.append(
            f"speedtest_logger_image: seen {values['image']!r} while speedtest_logger_image_source is pull; "
            "name it with its digest, such as registry.example.org/speedtest-logger@sha256:…"
        )
    return problems


class FilterModule:
    """Ansible's entry."""

    def filters(self) -> dict[str, Any]:
        return {
            "fleet_nodes": fleet_nodes,
            "fleet_keys": fleet_keys,
            "fleet_deployed": fleet_deployed,
            "fleet_differences": fleet_differences,
            "fleet_registry": parsed,
            "fleet_slots": fleet_slots,
            "schedule_registry": schedule_registry,
            "on_calendar": on_calendar,
            "duration_seconds": duration_seconds,
            "line_free_in": line_free_in,
            "inventory_problems": inventory_problems,
        }
