"""Ends a run as a power cut would: SIGKILL for its process group when a task starts, or when something was changed.

KILL_AT_TASK is the task's number in the run, or a part of its name; without it nothing is killed. Each task that starts
is written to KILL_AT_LOG, one a line. Start ansible-playbook in a session of its own, or what started it dies too.

KILL_AT_CHANGE=7 kills when the seventh thing has been changed: a task, or one item of its loop, on one host; what it
was is written to KILL_AT_LOG as well. Between two changes machines are as they were, so these are all the states that
a kill between tasks and items can leave.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: kill_at
type: aggregate
short_description: Kills the run when its Nth task starts, or after its Nth change
description: For tests of what the next run makes of it.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]  # ansible-core has no types
    """Counts tasks as they start, and changes."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "kill_at"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self.last = os.environ.get("KILL_AT_TASK")
        self.most_changes = int(os.environ.get("KILL_AT_CHANGE", "0"))
        self.log = os.environ.get("KILL_AT_LOG")
        self.started = self.changes = 0

    def note(self, words: str) -> None:
        """A line of the log, where one is expected."""
        if self.log:
            with open(self.log, "a", encoding="utf-8") as stream:
                stream.write(f"{words}\n")

    def begin(self, task: Any) -> None:
        """A task starts: nothing of it has been done yet, and all before it is over."""
        self.started += 1
        self.note(f"{self.started} {task.get_name()}")
        if self.last and (self.last == str(self.started) or (not self.last.isdigit() and self.last in task.get_name())):
            os.killpg(0, signal.SIGKILL)

    def ended(self, result: Any) -> None:
        """A task or an item has been carried out on a host."""
        if not result._result.get("changed") or result._task.action.endswith("group_by"):
            return
        self.changes += 1
        item = result._result.get("_ansible_item_label", "")
        self.note(f"change {self.changes}: {result._task.get_name()} {item} on {result._host}")
        if self.changes == self.most_changes:
            os.killpg(0, signal.SIGKILL)

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """A task of a play."""
        self.begin(task)

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        """A handler."""
        self.begin(task)

    def v2_runner_on_ok(self, result: Any) -> None:
        """A task on a host; of a loop the items have been counted."""
        if not result._task.loop:
            self.ended(result)

    def v2_runner_item_on_ok(self, result: Any) -> None:
        """An item of a loop."""
        self.ended(result)
