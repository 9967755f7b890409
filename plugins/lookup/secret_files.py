"""The files of a role's desired state that hold secrets: no plan and no output has their content."""

from __future__ import annotations

DOCUMENTATION = r"""
name: secret_files
short_description: A role's files that hold secrets, with their content
options:
  _terms: {description: The role., required: true}
"""

import sys
from pathlib import Path
from typing import Any

from ansible.plugins.lookup import LookupBase

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from plugins.desired.roles import wanted_by


class LookupModule(LookupBase):  # type: ignore[misc]  # ansible-core has no types
    """For each role a list of path and content."""

    def run(self, terms: list[str], variables: Any = None, **_: Any) -> list[list[dict[str, str]]]:
        return [self.files(role, variables) for role in terms]

    def files(self, role: str, variables: Any) -> list[dict[str, str]]:
        """The secret files of one role."""
        desired = wanted_by(role, variables, self._templar, {}).desired
        return [
            {"path": item["path"], "content": item["content"]} for item in desired.get("files", []) if "secret" in item
        ]
