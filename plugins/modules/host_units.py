#!/usr/bin/python
"""Have systemd units enabled and running, restarted, or stopped and disabled, all of a host in one remote call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_units
short_description: Have systemd units as they should be, all of a host in one remote call
description:
  - systemd is told each thing once, of all units that need it. What is right is not touched.
options:
  daemon_reload: {type: bool, default: false, description: Have systemd read its unit files before all else.}
  units:
    type: list
    elements: dict
    default: []
    description: "Units by C(name) that are C(enabled) and C(active), as is the default, or are not."
  absent:
    type: list
    elements: str
    default: []
    description: Units to stop and disable. systemd forgets that they failed.
  restart: {type: list, elements: str, default: [], description: Units to restart.}
  reload: {type: list, elements: str, default: [], description: Units that shall read their configuration again.}
author: The speedtest-telemetry maintainers (!UNKNOWN)
"""
EXAMPLES = r"""
- name: The timer runs
  speedtest.telemetry.host_units:
    units: [{name: speedtest-logger.timer}]
"""
RETURN = r"""
done: {description: What was told and of which unit., returned: success, type: list, elements: str}
"""

import json
import os
import subprocess

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ANSWERS = ("done", "failed", "msg")
ENABLED = ("enabled", "enabled-runtime")
NOT_TO_ENABLE = ("static", "alias")  # what starts these is another unit, or has another name
ACTIVE = ("active", "activating", "reloading")
RUNNING = (*ACTIVE, "deactivating")  # its end may start another one
# What systemd is told, in this order, and in which words that is told.
VERBS = {
    "disable": "disabled",
    "enable": "enabled",
    "stop": "stopped",
    "start": "started",
    "restart": "restarted",
    "reload": "reloaded",
    "reset-failed": "no longer failed",
}


class FailedError(Exception):
    """systemd could not do what it was told."""


def systemctl(verb: str, *words: str) -> str:
    """What it printed. Raises FailedError with its complaint."""
    argv, environment = ["systemctl", verb, *words], dict(os.environ, LC_ALL="C")
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False, env=environment
    )
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "exit code %d" % done.returncode)[-2000:]
        raise FailedError("Unable to %s: %s" % (" ".join([verb, *words]), said))
    return done.stdout


def states(names: list[str]) -> dict[str, dict[str, str]]:
    """What systemd knows of units, by their names."""
    if not names:
        return {}
    blocks = systemctl("show", "--property=UnitFileState,ActiveState", *names).split("\n\n")
    parsed = [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in blocks]
    return dict(zip(names, parsed, strict=True))


def needed(items: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Which units systemd must be told of, by verb."""
    found = states([item["name"] for item in items])
    todo: dict[str, list[str]] = {verb: [] for verb in VERBS}
    for item in items:
        name, file, state = item["name"], found[item["name"]]["UnitFileState"], found[item["name"]]["ActiveState"]
        if item.get("enabled", True) != (file in ENABLED) and file not in NOT_TO_ENABLE:
            todo["enable" if item.get("enabled", True) else "disable"].append(name)
        if item.get("active", True) and state not in ACTIVE:
            todo["start"].append(name)
        elif not item.get("active", True) and state in RUNNING:
            todo["stop"].append(name)
    return todo


def those(names: list[str], *wanted: str) -> list[str]:
    """Units in one of some states."""
    return [name for name, found in states(names).items() if found["ActiveState"] in wanted]


def tell(wanted: dict[str, Any]) -> dict[str, Any]:
    """Tell systemd what it needs to be told; what was done, or would be in check mode."""
    check = wanted["check"]
    told: dict[str, list[str]] = {}
    absent = wanted.get("absent", [])
    try:
        if wanted.get("daemon_reload") and not check:
            systemctl("daemon-reload")
        # in check mode a unit whose file is yet to come cannot be asked about
        missing = [item["name"] for item in wanted.get("units", []) if check and not item.get("present", True)]
        items = [item for item in wanted.get("units", []) if item["name"] not in missing]
        items += [{"name": name, "enabled": False, "active": False} for name in absent]
        todo = needed(items)
        for verb in ("restart", "reload"):
            todo[verb] = [name for name in wanted.get(verb, []) if name not in missing]
        for verb, word in VERBS.items():
            # systemd remembers a unit that failed when its file is gone; asked last, since stopping one may make it one
            names = those(absent, "failed") if verb == "reset-failed" else todo[verb]
            if names and not check:
                systemctl(verb, *names)
                # the end of one may have started another
                if verb == "stop" and (more := those(absent, *RUNNING)):
                    systemctl(verb, *more)
                    names += [name for name in more if name not in names]
            for name in names:
                told.setdefault(name, []).append(word)
        failed: dict[str, Any] = {}
    except FailedError as error:
        failed = {"failed": True, "msg": str(error)}
    return {"done": ["%s: %s" % (name, ", ".join(words)) for name, words in told.items()], **failed}


def main(wanted: dict[str, Any]) -> None:
    """Print what was done, as a line of JSON."""
    print(json.dumps(tell(wanted)))
