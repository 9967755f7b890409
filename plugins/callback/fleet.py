"""What ansible-playbook prints: the usual, but for playbooks whose answer is a table only that."""

from __future__ import annotations

DOCUMENTATION = r"""
name: fleet
type: stdout
short_description: Ansible's own output, with answers that can be read
description:
  - A playbook with the variable C(fleet_quiet) in one of its plays prints what its tasks of the action C(fleet_says)
    say, and nothing else; all of the rest too where it fails otherwise, or with -v.
extends_documentation_fragment:
  - default_callback
  - result_format_callback
"""

from collections.abc import Callable
from typing import Any

from ansible import constants as C  # noqa: N812  (Ansible's own name for it)
from ansible.plugins.callback.default import CallbackModule as Default
from ansible.plugins.loader import filter_loader

PROBLEM = "- "  # what a line about a problem begins with
TALK = ("display", "banner", "warning", "_warning", "_error", "_deprecated")


def printable(line: str) -> str:
    """Some of it came from a machine: no character of it may mean something to a terminal."""
    return "".join(char if char.isprintable() else "?" for char in line)


class Kept:
    """Ansible's display while nothing shall be seen: what is said is kept, and may be said after all."""

    def __init__(self, display: Any) -> None:
        self.real = display
        self.said: list[Callable[[], Any]] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.real, name)
        if name not in TALK:
            return found
        return lambda *args, **options: self.said.append(lambda: found(*args, **options))

    def say(self) -> None:
        """What was kept, in its order."""
        for each in self.said:
            each()
        self.said.clear()


class CallbackModule(Default):  # type: ignore[misc]  # ansible-core has no types
    """Ansible's own, where a playbook is not quiet."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "fleet"

    def __init__(self) -> None:
        super().__init__()
        self._display: Any = self._display
        self.kept: Kept | None = None
        self.untold = True  # nothing was said yet, or not why something failed

    def v2_playbook_on_start(self, playbook: Any) -> None:
        # Of a name such as this one any filter plugin may be, and all are loaded: here once, not in each of the first
        # tasks' workers anew, which are copies of this process.
        filter_loader.get("difference")
        quiet = any(play.vars.get("fleet_quiet") for play in playbook.get_plays())
        if quiet and not self._display.verbosity:
            self.kept = Kept(self._display)
            self._display = self.kept
        super().v2_playbook_on_start(playbook)

    def v2_runner_on_ok(self, result: Any) -> None:
        if not self.tell(result):
            super().v2_runner_on_ok(result)
            self.list_done(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        if not self.tell(result):
            self.untold = True
            super().v2_runner_on_failed(result, ignore_errors)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self.untold = True
        super().v2_runner_on_unreachable(result)

    def list_done(self, result: Any) -> None:
        """What a task that does many things in one call has done, a line each, as a loop would have it."""
        done = (result.result if hasattr(result, "result") else result._result).get("done")
        for path in done if isinstance(done, list) else []:
            self._display.display(f"  {printable(str(path))}", color=C.COLOR_CHANGED)

    def tell(self, result: Any) -> bool:
        """Print what a task says; False where it is no such task."""
        # an Ansible that is too old to go on has another name for it, and must be able to say so
        lines = (result.result if hasattr(result, "result") else result._result).get("fleet_says")
        if lines is None:
            return False
        display = self.kept.real if self.kept else self._display
        if not self.kept and self._last_task_banner != result.task._uuid:
            self._print_task_banner(result.task)
        for line in lines:
            shown = printable(line)
            display.display(shown, color=C.COLOR_ERROR if shown.startswith(PROBLEM) else None)
        self.untold = False  # whatever failed before stands in it
        return True

    def v2_playbook_on_stats(self, stats: Any) -> None:
        if self.kept:
            self._display = self.kept.real
            if not self.untold:
                return
            self.kept.say()
        super().v2_playbook_on_stats(stats)
