"""Shaping the logger role's data."""

from __future__ import annotations

import shlex
from typing import Any


def env_file(values: dict[str, Any]) -> str:
    """NAME="value" lines (systemd.exec(5)); lists become shell words, empty values are left out."""
    lines = []
    for name, value in values.items():
        if isinstance(value, (list, tuple)):
            text = " ".join(shlex.quote(str(item)) for item in value)
        else:
            text = {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value)
        if text:
            escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$").replace("`", "\\`")
            lines.append(f'{name}="{escaped}"')
    return "\n".join(lines) + "\n"


def engine_links(downloads: dict[str, dict[str, str]], directory: str) -> list[dict[str, str]]:
    """The link under which each downloaded engine is run: directory/ENGINE -> directory/DIGEST/PROGRAM."""
    return [
        {
            "path": f"{directory}/{engine}",
            "target": f"{directory}/{item['sha256'][:12]}/{item.get('program') or item['url'].rsplit('/', 1)[-1]}",
        }
        for engine, item in downloads.items()
    ]


def directories(paths: list[str], attributes: dict[str, str]) -> list[dict[str, str]]:
    """Directories for host_state that differ in their path only."""
    return [{"path": path, **attributes} for path in paths]


class FilterModule:
    """Ansible's entry."""

    def filters(self) -> dict[str, Any]:
        return {"env_file": env_file, "engine_links": engine_links, "directories": directories}
