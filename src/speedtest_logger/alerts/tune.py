"""Other limits than the inventory's, to try them on what was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from speedtest_logger import registry
from speedtest_logger.alerts import reading, rules
from speedtest_logger.alerts.reading import Known
from speedtest_logger.errors import UsageError


def lines(found: registry.Registry, fleet: Mapping[str, Any], given: list[str]) -> dict[str, Known]:
    """Each location, its nodes' rules changed as --set says, which is stronger than the inventory.

    Raises UsageError for what cannot be set.
    """
    changed(fleet, given)
    known = reading.known_of(found, fleet)
    return {
        name: replace(line, limits={node: rules.effective(_layer(found, node, fleet, given)) for node in line.limits})
        for name, line in known.items()
    }


def _layer(found: registry.Registry, node: str, fleet: Mapping[str, Any], given: list[str]) -> dict[str, Any]:
    """A node's rules: the fleet's, its own, and what was given on the command line, which is stronger."""
    own = ((found.inventory or {}).get(node, {}) or {}).get("alerts") or {}
    both = {**fleet}
    for name, value in own.items():
        before = both.get(name)
        both[name] = {**before, **value} if isinstance(before, Mapping) and isinstance(value, Mapping) else value
    return {**both, **changed(both, given)}


def changed(fleet: Mapping[str, Any], given: list[str]) -> dict[str, Any]:
    """Rules as --set changes them. Raises UsageError for what cannot be."""
    made: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        rule, dot, parameter = name.partition(".")
        if not equals:
            raise UsageError(f"--set {text!r:.80}: write it like below_plan.percent=60 or loss=true")
        if not dot:
            if value not in ("true", "false"):
                raise UsageError(f"--set {text!r:.80}: true or false is expected, or a parameter: {rule}.NAME=VALUE")
            made[rule] = value == "true"
        else:
            try:
                number = float(value)
            except ValueError:
                raise UsageError(f"--set {text!r:.80}: {value!r:.40} is not a number") from None
            before = made.get(rule, fleet.get(rule))
            made[rule] = {**(before if isinstance(before, Mapping) else {}), parameter: number}
    if wrong := rules.problems(made):
        raise UsageError(f"--set: {'; '.join(wrong)}")
    return made
