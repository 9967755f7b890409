"""The settings of a node as its logger.env will have them, from the inventory's variables."""

from __future__ import annotations

import re
import shlex
from dataclasses import fields

from speedtest_logger.domains import Interval
from speedtest_logger.inventory.found import BadValueError, View
from speedtest_logger.node import config

PREFIX = "speedtest_logger_"
# Settings that have another name in the inventory; all others are alike.
VARIABLES = {
    "NODE": "node_name",
    "INTERVAL_SECONDS": "interval",
    "PUSH_INTERVAL_SECONDS": "push_interval",
    "ARCHIVE_HOST": "archive_address",
    "LOG_FILE": "log_dir",
    "KEY_FILE": "config_dir",
    "KNOWN_HOSTS_FILE": "config_dir",
}
FILES = {"LOG_FILE": "speedtest-diag.log", "KEY_FILE": "id_ed25519", "KNOWN_HOSTS_FILE": "known_hosts"}
# Settings that the inventory has no variable for: the plan gives the one, the others stay at their defaults.
UNSET = ("OFFSET_SECONDS", "PUSH_TIMEOUT_SECONDS", "PUSH_BATCH_RECORDS")


def variable_of(setting: str) -> str:
    """The inventory's variable of a setting: of SPEEDTEST_NODE, speedtest_logger_node_name."""
    name = setting.removeprefix(config.PREFIX)
    return PREFIX + VARIABLES.get(name, name.lower())


def in_variables(words: str) -> str:
    """The node's words about its settings as words about the inventory's variables."""
    return re.sub(r"SPEEDTEST_[A-Z0-9_]+", lambda match: variable_of(match[0]), words)


def settings() -> list[str]:
    """The names of all settings that an inventory sets, without their prefix."""
    plain = [o.name.upper() for o in fields(config.Settings) if o.name != "engine"]
    engines = [f"{e}_{o.name}".upper() for e in config.ENGINES for o in fields(config.EngineSettings)]
    return [name for name in [*plain, *engines] if name not in UNSET and not name.endswith("_PROGRAM")]


SETTINGS = settings()


def environment(view: View) -> dict[str, str]:
    """Variables of logger.env; a variable whose own value is wrong is left out."""
    made = {}
    for name in SETTINGS:
        try:
            text = as_text(view[PREFIX + VARIABLES.get(name, name.lower())])
        except BadValueError:
            continue
        if text:
            made[config.PREFIX + name] = f"{text}/{FILES[name]}" if name in FILES else text
    for setting in ("INTERVAL_SECONDS", "PUSH_INTERVAL_SECONDS"):
        if config.PREFIX + setting in made:
            made[config.PREFIX + setting] = str(Interval().parse(made[config.PREFIX + setting]))
    try:
        downloads = view[PREFIX + "downloads"]
        for engine in downloads if isinstance(downloads, dict) else ():
            made[f"{config.PREFIX}{engine.upper()}_PROGRAM"] = f"{view[PREFIX + 'install_dir']}/engines/{engine}"
    except BadValueError:
        pass
    return made


def as_text(value: object) -> str:
    """A value as the filter env_file writes it, before quoting."""
    if isinstance(value, (list, tuple)):
        return " ".join(shlex.quote(str(item)) for item in value)
    return str(value).lower() if isinstance(value, bool) else str(value)
