"""Observe a host in one remote call, compare with the desired state here, and return a plan of what differs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from plugins.desired.kinds import ASKED, KINDS, Observed
from plugins.desired.plan import plan, request
from plugins.desired.roles import Wanted, wanted_by
from plugins.desired.things import Desired
from plugins.remote import RemoteProgram


class ActionModule(RemoteProgram):
    """`role` and `values`, or `desired` itself, say what is wanted; `extra` what to look at besides."""

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = self._task.args
        role = arguments.get("role")
        wanted = wanted_by(role, task_vars, self._templar, arguments.get("values", {})) if role else None
        desired = wanted.desired if wanted else arguments.get("desired", {})
        if unknown := sorted(set(desired) - {kind.name for kind in KINDS}):
            return {**result, "failed": True, "msg": f"host_state: no such list: {', '.join(unknown)}"}
        extra = together(wanted.besides if wanted else {}, arguments.get("extra", {}))
        observed = self.ask_host("host_state", request(desired, extra), task_vars)
        if observed.get("failed"):
            return {**result, **observed}
        return {**result, **seen(wanted, desired, observed), "changed": False}


def seen(wanted: Wanted | None, desired: Desired, observed: Observed) -> dict[str, Any]:
    """What was observed, the plan, and what the role makes of it."""
    more = {"names": wanted.names, **wanted.found(observed)} if wanted else {}
    return {**observed, "plan": plan(desired, observed), **more}


def together(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Two requests as one; a list holds what both ask for."""
    joined = {**one, **other}
    lists = {name: [*one.get(name, []), *other.get(name, [])] for name in joined if name in ASKED}
    return {**joined, **lists}
