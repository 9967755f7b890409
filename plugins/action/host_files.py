"""Make directories, files and links of a host what they should be, in one remote call."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))
sys.path.insert(0, str(ROOT))

from plugins.remote import RemoteProgram


class ActionModule(RemoteProgram):
    """`done` names what was changed, or would be in check mode."""

    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        asked = {**self._task.args, "check": bool(self._task.check_mode), "diff": bool(self._task.diff)}
        made = self.ask_host("host_files", asked, task_vars)
        shown = made.pop("shown", [])
        return {**result, **made, "changed": bool(made.get("done")), **({"diff": shown} if shown else {})}
