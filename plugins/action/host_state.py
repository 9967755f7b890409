"""Observe a host in one remote call, compare with the desired state here, and return a plan of what differs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))
sys.path.insert(0, str(ROOT))

from plugins.desired.kinds import KINDS
from plugins.desired.observation import request_of, seen
from plugins.desired.plan import PlanError
from plugins.desired.roles import Wanted, wanted_by
from plugins.remote import RemoteProgram


class ActionModule(RemoteProgram):
    """`role` and `values`, or `desired` itself, say what is wanted; `extra` what to look at besides."""

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = self._task.args
        wanted: Wanted | dict[str, Any] = arguments.get("desired", {})
        if "role" in arguments:
            wanted = wanted_by(arguments["role"], task_vars, self._templar, arguments.get("values", {}))
        elif unknown := sorted(set(arguments.get("desired", {})) - {kind.name for kind in KINDS}):
            return {**result, "failed": True, "msg": f"host_state: no such list: {', '.join(unknown)}"}
        observed = self.ask_host("host_state", request_of(wanted, arguments.get("extra", {})), task_vars)
        if observed.get("failed"):
            return {**result, **observed}
        try:
            return {**result, **seen(wanted, observed), "changed": False}
        except PlanError as error:
            raise AnsibleActionFail(str(error)) from error
