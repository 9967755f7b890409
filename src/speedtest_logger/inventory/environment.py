"""The settings of a node as its logger.env will have them, from the inventory's variables."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from speedtest_logger import __version__
from speedtest_logger.domains import Interval
from speedtest_logger.engines.catalogue import ENGINES
from speedtest_logger.inventory import settings
from speedtest_logger.inventory.found import BadValueError, View
from speedtest_logger.node import config

SLOTS = settings.PREFIX + "slots"


def logger_env(view: View) -> str:
    """logger.env as it lies on the node, from a host's variables."""
    values = {config.RELEASE: __version__, **environment(view)}
    return f"# managed by Ansible: speedtest_logger\n{env_file(values)}"


def environment(view: View) -> dict[str, str]:
    """Variables of logger.env, in its order; what is empty, or wrong by itself, is left out.

    So is what is set for probes where there are none, and for https where records go by ssh.
    """
    made = {}
    probes, https = bool(view[settings.PREFIX + "probes"]), transport(view) == "https"
    for name in settings.names():
        if (name in settings.OF_PROBES and not probes) or (name in settings.OF_HTTPS and not https):
            continue
        try:
            text = as_text(value_of(name, view))
        except BadValueError:
            continue
        if text:
            made[config.PREFIX + name.upper()] = text
    return made


def transport(view: View) -> str:
    """How records get to the archive; ssh where the variable is wrong by itself."""
    try:
        return view.text(settings.PREFIX + "transport")
    except BadValueError:
        return "ssh"


def value_of(name: str, view: View) -> object:
    """A setting's value on a host. Raises BadValueError where the variable that it comes from is wrong by itself."""
    if name in settings.PLANNED and SLOTS in view.values:
        slots = view[SLOTS]
        return slots[name] if isinstance(slots, Mapping) else ""
    if name in settings.UNSET:
        return ""
    engine = name.removesuffix("_program")
    if engine in ENGINES:
        downloads = view[settings.PREFIX + "downloads"]
        has = isinstance(downloads, Mapping) and engine in downloads
        return f"{view[settings.PREFIX + 'install_dir']}/engines/{engine}" if has else ""
    value = view[settings.variable(name)]
    if place := settings.SWITCHED.get(name):
        place = place if place.startswith("/") else f"{view[settings.PREFIX + 'config_dir']}/{place}"
        return place if value else ""
    if name in settings.FILES:
        return f"{value}/{settings.FILES[name]}"
    return Interval().parse(str(value)) if name.endswith("interval_seconds") else value


def env_file(values: Mapping[str, object]) -> str:
    """NAME="value" lines (systemd.exec(5)); lists become shell words, empty values are left out."""
    lines = []
    for name, value in values.items():
        if text := as_text(value):
            escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$").replace("`", "\\`")
            lines.append(f'{name}="{escaped}"')
    return "\n".join(lines) + "\n"


def as_text(value: object) -> str:
    """A value as the node reads it, before quoting."""
    if isinstance(value, (list, tuple)):
        return " ".join(shlex.quote(str(item)) for item in value)
    return str(value).lower() if isinstance(value, bool) else str(value)
