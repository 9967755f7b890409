"""The roles' templates, compiled once a run however many machines they are for."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from speedtest_logger.inventory import environment

ROLES = Path(__file__).resolve().parents[2] / "roles"
SHARED = ROLES / "managed_host" / "templates"  # what units of several roles include


@cache
def jinja(role: str) -> Environment:
    """Jinja as Ansible's template module has it: blocks lose their line ends, what is undefined is an error."""
    return Environment(
        loader=FileSystemLoader([ROLES / role / "templates", SHARED]),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  (configuration files, no pages)
    )


def rendered(role: str, name: str, values: dict[str, Any]) -> str:
    """The text of roles/ROLE/templates/NAME.j2. Raises jinja2.TemplateError."""
    return jinja(role).get_template(f"{name}.j2").render(values)


def env_file(role: str, values: dict[str, Any], *notes: str) -> str:
    """NAME="value" lines (systemd.exec(5)) below a heading; empty values are left out."""
    heading = [f"# managed by Ansible: {role}", *(f"# {note}" for note in notes)]
    return "\n".join([*heading, environment.env_file(values)])
