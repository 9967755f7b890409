"""Invite machines that nobody can reach: the command that each becomes a node by, and what the archive host is told."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))
sys.path.insert(0, str(ROOT))

from ansible.plugins.action import ActionBase

from plugins.desired.invitations import InvitationError, invite
from plugins.hosts import fleet_nodes
from plugins.hostvars import whole


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core has no types
    """`folder`: where bundles were written; `hours`: how long one is open; `current`: who is invited already."""

    TRANSFERS_FILES = False

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = self._task.args
        hosts = list(task_vars["ansible_play_hosts"])
        if self._task.check_mode:
            return {**result, "changed": True, "commands": [], "invitations": ""}
        nodes = [
            {
                "name": values["node_name"],
                "url": values["pull_url"],
                "signers": values["pull_signers"],
                "transport": values["transport"],
                "converge": values["converge"],
            }
            for values in fleet_nodes(whole(task_vars["hostvars"]), hosts)
        ]
        try:
            commands, text = invite(
                nodes, Path(arguments["folder"]), float(arguments["hours"]), arguments.get("current")
            )
        except (InvitationError, OSError) as error:
            return {**result, "failed": True, "msg": str(error)}
        return {**result, "changed": True, "commands": commands, "invitations": text}
