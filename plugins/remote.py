"""Programs that an action plugin runs on the host, in one remote call and without Ansible's wrapping.

A module of Ansible's is packed with a sixth of a megabyte of Ansible's own code: 0.4 s of CPU here, in each worker anew
while none has packed it yet, and 0.2 s there. What only looks needs none of it: its source and its arguments go to
Python's standard input, and one line of JSON comes back.
"""

from __future__ import annotations

import functools
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

from plugins.modules import fleet_run, host_files, host_state, host_units

MODULES = Path(__file__).resolve().parent / "modules"
SHELL_FOUND_NOTHING = 127
# All that the programs answer. A host may be somebody else's by now: what Ansible itself acts upon in a result, such as
# facts or new hosts, is not for it to say.
ANSWERS = frozenset([*host_state.ANSWERS, *host_files.ANSWERS, *host_units.ANSWERS, *fleet_run.ANSWERS])

# What is raised by whoever takes an answer of another form for one of the programs'.
NO_SENSE = (AttributeError, LookupError, TypeError, ValueError, ArithmeticError, OSError, RecursionError)

MOST_LEVELS = 20  # of lists and tables in each other: who copies an answer goes down into it
MOST_VALUES = 200_000


def values_in(answer: Any) -> int:
    """How many values an answer holds, those in lists and tables too. Raises ValueError where they lie too deep."""
    level, count = [answer], 0
    for _ in range(MOST_LEVELS):
        within = [each.values() if isinstance(each, dict) else each for each in level if isinstance(each, (dict, list))]
        level = [value for values in within for value in values]
        if not level:
            return count
        count += len(level)
    raise ValueError(f"more than {MOST_LEVELS} levels of lists and tables")


@functools.cache
def source_of(name: str) -> str:
    return (MODULES / f"{name}.py").read_text(encoding="utf-8")


def with_arguments(source: str, arguments: dict[str, Any]) -> bytes:
    """A program that calls its `main` with these arguments (anything that JSON can say)."""
    return f"{source}\nmain(json.loads({json.dumps(arguments)!r}))\n".encode()


def answer_of(interpreter: str, code: int, stdout: str, stderr: str) -> dict[str, Any]:
    """What a program has answered: its last line; `failed` and why where it has not."""
    words = stderr.strip().rpartition("\n")[2] or stdout.strip()[-300:] or "no word"
    if code == SHELL_FOUND_NOTHING:
        return {"failed": True, "msg": f"the interpreter '{interpreter}' was not found: {words}"}
    try:
        found = json.loads(stdout.strip().rpartition("\n")[2])
        if values_in(found) > MOST_VALUES:
            raise ValueError("too much")
    except (ValueError, RecursionError):
        return {"failed": True, "msg": f"no answer from {interpreter} (exit code {code}): {words}"}
    if not isinstance(found, dict) or not set(found) <= ANSWERS:
        return {"failed": True, "msg": f"seen {stdout[-300:]!r} as an answer"}
    return found


def interpreter_of(variables: Mapping[str, Any]) -> str:
    """The Python of a host."""
    return str(variables.get("ansible_python_interpreter") or "/usr/bin/python3")


class RemoteProgram(ActionBase):  # type: ignore[misc]  # ansible-core has no types
    """An action whose module is a program that reads its arguments from Python and prints its answer."""

    def ask_host(self, name: str, arguments: dict[str, Any], task_vars: Any) -> dict[str, Any]:
        """Run plugins/modules/<name>.py there: its answer, or `failed` and `msg`. Connection errors are Ansible's."""
        interpreter = interpreter_of(task_vars or {})
        done = self._low_level_execute_command(
            f"{shlex.quote(interpreter)} -IS -",  # isolated: nothing that lies in an account's home is imported
            in_data=with_arguments(source_of(name), arguments),
        )
        return answer_of(interpreter, done["rc"], done["stdout"], done.get("stderr", ""))


class ChangingProgram(RemoteProgram):
    """An action whose program changes the host: `done` says what, and `shown` is a difference to show."""

    program: str
    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        asked = {**self._task.args, "check": bool(self._task.check_mode), "diff": bool(self._task.diff)}
        made = self.ask_host(self.program, asked, task_vars)
        shown = made.pop("shown", [])
        return {**result, **made, "changed": bool(made.get("done")), **({"diff": shown} if shown else {})}
