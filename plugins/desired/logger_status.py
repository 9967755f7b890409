"""How a node is, by its small state files, where its program could tell nothing more: that spares the node a start.

So it is where the node has the release, the settings and the links that it should, has measured, and nothing waits in
its folders or lies there that is none of its own. Any other node is asked by its program.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from plugins.desired import logger_texts
from plugins.desired.logger_container import COMMAND
from plugins.desired.roles import Wanted
from plugins.modules.host_state import LARGEST_STATES
from plugins.remote import NO_SENSE
from speedtest_logger import __version__
from speedtest_logger.errors import ConfigError
from speedtest_logger.inventory import environment
from speedtest_logger.node import config, status
from speedtest_logger.node.spool import ReadState, state_of

EMPTY = ("outbox", "rejected", "probes")
PLAIN = ("results", "raw", "state")


def env_file(config_dir: str) -> str:
    """Where a node's settings lie."""
    return f"{config_dir}/logger.env"


def program(config_dir: str) -> list[str]:
    """The command line that asks a node how it is."""
    return [COMMAND, "--env-file", env_file(config_dir), "status", "--json"]


def instead(wanted: Wanted) -> dict[str, Any]:
    """What host_state reads of a node instead of running its program, and where; empty where its program is needed."""
    n, state_dir, desired = wanted.names, wanted.values["state_dir"], wanted.desired
    if n["wanted"] != __version__ or "releases" not in desired:
        return {}
    paths = (COMMAND, n["current"], env_file(wanted.values["config_dir"]))
    contents = {item["path"]: item["content"] for item in desired["files"] if item["path"] in paths}
    conditions = {
        "links": {item["path"]: item["target"] for item in desired["links"] if item["path"] in paths},
        "files": {path: hashlib.sha256(content.encode()).hexdigest() for path, content in contents.items()},
        "trees": {item["path"]: item["digest"] for item in desired["releases"]},
        "empty": [f"{state_dir}/{name}" for name in EMPTY],
        "plain": [f"{state_dir}/{name}" for name in PLAIN],
    }
    states = {name: state_file(state_dir, name) for name in status.STATES}
    return {COMMAND: {**conditions, "there": [states["last_record"]], "read": [*states.values()]}}


def state_file(state_dir: str, name: str) -> str:
    """Where a small state file lies."""
    return f"{state_dir}/state/{name}.json"


def printed(wanted: Wanted, texts: dict[str, str | None], now: Any) -> str | None:
    """What the node's program would print, from the texts of its state files; None where they make no sense.

    `now`: the node's time (Unix time, s), as it says.
    """
    state_dir = wanted.values["state_dir"]
    try:
        told = {name: texts[state_file(state_dir, name)] or "" for name in status.STATES}
        if sum(map(len, told.values())) > LARGEST_STATES:
            return None
        states = {name: state_of(text) for name, text in told.items()}
        settings = config.load(environment.environment(logger_texts.view(wanted.values)))
        return json.dumps(status.status_of(settings, reader(states), status.Contents(), float(now)))
    except (ConfigError, *NO_SENSE):
        return None


def reader(states: dict[str, dict[str, Any] | None]) -> ReadState:
    """What gives those states by their names; asking it for another one is a fault of ours, and no node's."""

    def read_state(name: str) -> dict[str, Any] | None:
        if name not in states:
            raise NotImplementedError(f"{name} is none of status.STATES")
        return states[name]

    return read_state
