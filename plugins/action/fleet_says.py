"""Tell a person something: lines that the callback plugin `fleet` prints as they are."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

PROBLEM = "- "  # what a line about a problem begins with


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core has no types
    """`lines`: what is said; `failed`: the run ends with an error for it; `problems_fail`: so it does for problems."""

    TRANSFERS_FILES = False

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        lines = [str(line) for line in self._task.args["lines"]]
        problems = self._task.args.get("problems_fail") and any(line.startswith(PROBLEM) for line in lines)
        failed = bool(self._task.args.get("failed") or problems)
        words = {"msg": "what needs attention stands in fleet_says"} if failed else {}
        # `_ansible_verbose_always`: other callbacks show it too, without -v
        return {
            **result,
            **words,
            "changed": False,
            "failed": failed,
            "fleet_says": lines,
            "_ansible_verbose_always": True,
        }
