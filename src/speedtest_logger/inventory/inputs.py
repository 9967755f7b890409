"""What an input is: a variable of a role or of the playbooks, with its default, effect and domain.

The tables in tables/ list them all, and nothing else does: from them come the roles' defaults, argument_specs, README
tables and reference, and what preflight refuses. What is also a setting of the node comes from config.Settings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from speedtest_logger.domains import Choice, Domain
from speedtest_logger.inventory import kinds


@dataclass(frozen=True)
class Input:
    """A variable: its default (... = none), what it does, which values it may have, whether they are kept from logs."""

    name: str
    default: Any
    text: str
    domain: Domain
    secret: bool = False


@dataclass(frozen=True)
class EntryPoint:
    """A part of a role that is called by `tasks_from`; `inputs` are what the call gives it (default ... = it must)."""

    name: str
    text: str
    inputs: tuple[Input, ...] = ()


@dataclass(frozen=True)
class Role:
    """A role's inputs, in the order of its defaults, and the parts of it that can be called alone."""

    name: str
    text: str
    inputs: tuple[Input, ...]
    entry_points: tuple[EntryPoint, ...] = ()


STATE = Choice("present", "absent")
DIRECTORY = kinds.Directory()
COMMAND_LINES = kinds.Listed("a list of command lines, each a list of words")
