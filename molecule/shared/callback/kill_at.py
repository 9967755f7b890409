"""Ends a run as a power cut would: SIGKILL for its whole process group when a task starts.

KILL_AT_TASK is the task's number in the run, or a part of its name; without it nothing is killed. Each task that starts
is written to KILL_AT_LOG, one a line. Start ansible-playbook in a session of its own, or what started it dies too.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: kill_at
type: aggregate
short_description: Kills the run when its Nth task starts
description: For tests of what the next run makes of it.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]  # ansible-core has no types
    """Counts tasks as they start."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "kill_at"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self.last = os.environ.get("KILL_AT_TASK")
        self.log = os.environ.get("KILL_AT_LOG")
        self.started = 0

    def begin(self, task: Any) -> None:
        """A task starts: nothing of it has been done yet, and all before it is over."""
        self.started += 1
        if self.log:
            with open(self.log, "a", encoding="utf-8") as stream:
                stream.write(f"{self.started} {task.get_name()}\n")
        if self.last and (self.last == str(self.started) or (not self.last.isdigit() and self.last in task.get_name())):
            os.killpg(0, signal.SIGKILL)

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:  # noqa: ARG002  (Ansible's signature)
        """A task of a play."""
        self.begin(task)

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        """A handler."""
        self.begin(task)
