"""Give the fleet's lock back when a run ends, with failed hosts and without."""

from __future__ import annotations

DOCUMENTATION = r"""
name: fleet_run
type: aggregate
short_description: Give the fleet's lock back when a run ends
description:
  - The action of the same name leaves the command line for it beside the temporary files of the run. Where the lock
    cannot be given back so, the next run of this machine takes it over, and for those of others it expires.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

from ansible import constants as C  # noqa: N812  (Ansible's own name for it)
from ansible.plugins.callback import CallbackBase

SECONDS = 15


class CallbackModule(CallbackBase):  # type: ignore[misc]  # ansible-core has no types
    """It acts at the end, and has something to say only where that does not work."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "fleet_run"
    CALLBACK_NEEDS_ENABLED = False

    def v2_playbook_on_stats(self, stats: Any) -> None:  # noqa: ARG002  (Ansible's signature)
        memo = Path(C.DEFAULT_LOCAL_TMP) / "fleet-lock"
        if not memo.exists():
            return
        if problem := given_back(json.loads(memo.read_text(encoding="utf-8"))):
            self._display.warning(f"the fleet's lock could not be given back ({problem}); it expires by itself")
        memo.unlink()


def given_back(argv: list[str]) -> str:
    """What went wrong, empty where nothing did."""
    if not argv:
        return "this way of connecting is not known here"
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return (done.stderr.strip() or f"exit code {done.returncode}") if done.returncode else ""
