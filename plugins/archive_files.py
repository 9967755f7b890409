"""Files of the archive host, as `fleet_run` has read them."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleFilterError

Vars = dict[str, Any]


def text(read: Vars, path: str) -> str | None:
    """The text of a file of the archive host; None where there is none. Raises AnsibleFilterError for no file."""
    seen = read["files"].get(path)
    if seen and seen.get("kind") != "file":
        raise AnsibleFilterError(f"{path}: seen {seen.get('problem', 'a directory')}; a file is expected: remove that")
    return None if seen is None else str(seen["text"])


def owned(read: Vars, path: str, group: str) -> bool:
    """Whether a file of the archive is root's, for the service to read."""
    seen = read["files"].get(path) or {}
    return [seen.get(key) for key in ("owner", "group", "mode")] == ["root", group, "0640"]
