"""A role's desired state for one machine, from its variables as Ansible has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from plugins.desired import (
    docker_host,
    speedtest_archive,
    speedtest_cluster,
    speedtest_dashboard,
    speedtest_database,
    speedtest_front,
    speedtest_logger,
    speedtest_monitoring,
    speedtest_store,
    speedtest_target,
)
from plugins.desired.things import Desired, resolved
from speedtest_logger.inventory import roles

MODULES: dict[str, Any] = {
    module.ROLE: module
    for module in (
        speedtest_logger,
        speedtest_archive,
        speedtest_dashboard,
        speedtest_database,
        speedtest_front,
        speedtest_monitoring,
        speedtest_cluster,
        speedtest_store,
        speedtest_target,
        docker_host,
    )
}
ROLES_PATH = Path(__file__).resolve().parents[2] / "roles"


def inputs(role: str, variables: Mapping[str, Any], template: Callable[[Any], Any]) -> dict[str, Any]:
    """A role's inputs less their prefix: what is set, else the default; `template` renders what is Jinja."""
    table = next(each for each in roles.ROLES if each.name == role)
    return {
        an_input.name.removeprefix(f"{role}_"): template(variables[an_input.name])
        if an_input.name in variables
        else an_input.default
        for an_input in table.inputs
    }


def wanted_by(role: str, variables: Mapping[str, Any], templar: Any, values: Mapping[str, Any]) -> Wanted:
    """What a role wants by a host's variables; `values` go before them."""
    return Wanted(role, {**inputs(role, variables, templar.template), **values})


class Wanted:
    """What a role wants on a machine: `desired` are the lists of host_state, `names` what its tasks need to know.

    `values`: the role's inputs less their prefix, and what a task asks of it besides.
    """

    def __init__(self, role: str, values: dict[str, Any]) -> None:
        if role not in MODULES:
            raise LookupError(f"no role {role}: {', '.join(MODULES)}")
        self.module, self.values = MODULES[role], values
        self.names: dict[str, Any] = self.module.names(values)
        self.desired: Desired = resolved(
            self.module.things(values), values.get("state", "present"), purge=bool(values.get("purge"))
        )
        self.besides: dict[str, Any] = self.module.besides(values)

    def found(self, observed: dict[str, Any]) -> dict[str, Any]:
        """What the role makes of what was observed; `due`: something has to be done that no plan says."""
        made: dict[str, Any] = self.module.found(self.values, observed)
        return made
