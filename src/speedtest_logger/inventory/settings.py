"""The node's settings as an inventory has them: a row of config.Settings is a variable of the role speedtest_logger.

SPEEDTEST_PAUSED is speedtest_logger_paused, with the same values, default and text. What is otherwise stands here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from speedtest_logger import domains
from speedtest_logger.domains import OrEmpty
from speedtest_logger.engines.catalogue import ENGINES
from speedtest_logger.inventory import kinds
from speedtest_logger.inventory.inputs import DIRECTORY, Input
from speedtest_logger.metrics import TEXTFILE, TEXTFILE_DIR
from speedtest_logger.node import config
from speedtest_logger.probes.catalogue import PROBES

PREFIX = "speedtest_logger_"
# Settings that an inventory has under another name, with another default or text.
OTHERWISE: dict[str, dict[str, Any]] = {
    "node": {
        "name": "node_name",
        "default": "{{ inventory_hostname | lower | replace('.', '-') | replace('_', '-') }}",
    },
    "interval_seconds": {"name": "interval", "default": "1h"},
    "push_interval_seconds": {"name": "push_interval", "default": "5min"},
    "probe_interval_seconds": {"name": "probe_interval", "default": "1min"},
    "state_dir": {"domain": DIRECTORY},
    "log_file": {
        "name": "log_dir",
        "default": "/var/log/speedtest-telemetry",
        "text": "The diagnostics log; /var/log/speedtest-diag.log points to it.",
        "domain": DIRECTORY,
    },
    "metrics_dir": {
        "name": "metrics_enabled",
        "default": True,
        "text": f"true: after each run the node writes {TEXTFILE_DIR}/{TEXTFILE}, for Prometheus's node-exporter.",
        "domain": domains.BOOLEAN,
    },
    "archive_host": {
        "name": "archive_address",
        "text": "Where nodes reach the archive host; nodes.yml takes it from the inventory. Empty: records stay on the "
        "node.",
    },
    "archive_others": {
        "text": "Other hosts that share the archive, HOST:PORT each: a node prefers one of all, and delivers to the "
        "next where that gives no receipt; nodes.yml takes them from the inventory.",
    },
    "archive_port": {"text": "Its port there: that of ssh, or of the front; nodes.yml takes it from the inventory."},
    "archive_user": {"text": "The archive host's account that receives; nodes.yml takes it from the inventory."},
    "ca_file": {
        "name": "archive_ca",
        "default": "",
        "text": "With speedtest_logger_transport https: the only certificates (PEM) by which the front is trusted; "
        "nodes.yml takes them from the front where that has an authority of its own. Empty: the system's authorities.",
        "domain": OrEmpty(kinds.CERTIFICATES),
    },
    "key_file": {
        "name": "config_dir",
        "default": "/etc/speedtest-telemetry",
        "text": "logger.env, the node's key pair and its token, the archive's host key.",
        "domain": DIRECTORY,
    },
}
OTHERWISE["known_hosts_file"] = OTHERWISE["token_file"] = OTHERWISE["key_file"]
# Files in a directory that the inventory names.
FILES = {
    "log_file": "speedtest-diag.log",
    "key_file": "id_ed25519",
    "known_hosts_file": "known_hosts",
    "token_file": "token",
}
CA_FILE = "archive-ca.pem"  # in config_dir
OF_HTTPS = ("transport", "token_file", "ca_file")  # logger.env has them where records go over https
# Paths that the inventory does not say: there is something there, or there is not.
SWITCHED = {"metrics_dir": TEXTFILE_DIR, "ca_file": CA_FILE}
PLANNED = ("interval_seconds", "offset_seconds")  # the fleet's plan gives them: speedtest_logger_slots
# Settings that an inventory has no variable for.
UNSET = ("offset_seconds", "push_timeout_seconds", "push_batch_records", "runtime_dir")
OF_PROBES = ("probe_interval_seconds", *(f"{name}_targets" for name in PROBES if PROBES[name].targets))


def names() -> list[str]:
    """All settings that logger.env has, in its order; those of engines as ENGINE_OPTION, of probes as PROBE_targets."""
    plain = [o.name for o in fields(config.Settings) if o.name not in config.EACH]
    engines = [f"{e}_{o.name}" for e in ENGINES for o in fields(config.EngineSettings)]
    return [name for name in [*plain, *engines, *OF_PROBES[1:]] if name not in UNSET or name in PLANNED]


def variable(name: str) -> str:
    """The inventory's variable of a setting: of `node`, speedtest_logger_node_name."""
    if name in UNSET:
        return PREFIX + ("slots" if name in PLANNED else name)
    return f"{PREFIX}{OTHERWISE.get(name, {}).get('name', name)}"


def variable_of(setting: str) -> str:
    """The same of a setting's variable on the node, such as SPEEDTEST_NODE."""
    return variable(setting.removeprefix(config.PREFIX).lower())


def in_variables(words: str) -> str:
    """The node's words about its settings as words about the inventory's variables."""
    return re.sub(r"SPEEDTEST_[A-Z0-9_]+", lambda match: variable_of(match[0]), words)


def inputs() -> Iterator[Input]:
    """An input for each setting that an inventory can have, in the order of the settings."""
    seen = set()
    for option in fields(config.Settings):
        name = variable(option.name)
        if option.name not in (*UNSET, *config.EACH) and name not in seen:
            seen.add(name)
            yield of_setting(option)
    for engine in ENGINES:
        for o in fields(config.EngineSettings):
            if o.name != "program":  # from speedtest_logger_downloads
                text, domain = config.engine_text(engine, o.name), config.engine_domain(engine, o.name)
                yield Input(f"{PREFIX}{engine}_{o.name}", in_yaml(o.default), in_variables(text), domain)
    for probe, known in PROBES.items():
        if targets := config.probe_domain(probe):
            yield Input(f"{PREFIX}{probe}_targets", in_yaml(known.default), in_variables(known.targets_text), targets)


def of_setting(option: Field[Any]) -> Input:
    """A setting as an input: alike, but for what is otherwise."""
    domain = option.metadata["domain"]
    alike = {
        "default": in_yaml(option.default),
        "text": in_variables(option.metadata["text"]),
        "domain": OrEmpty(domain) if option.default is None else domain,
    }
    return Input(**{**alike, **OTHERWISE.get(option.name, {}), "name": variable(option.name)})


def in_yaml(default: Any) -> Any:
    """A setting's default as an inventory would write it."""
    if isinstance(default, tuple):
        return list(default)
    if isinstance(default, float) and default.is_integer():
        return int(default)
    return "" if default is None else str(default) if isinstance(default, Path) else default
