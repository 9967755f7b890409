"""All roles with their inputs."""

from __future__ import annotations

from functools import cache

from speedtest_logger.inventory.inputs import Input
from speedtest_logger.inventory.tables import (
    archive,
    cluster,
    dashboard,
    database,
    docker,
    fleet,
    front,
    logger,
    managed,
    monitoring,
    store,
    target,
)

ROLES = (
    logger.ROLE,
    docker.ROLE,
    archive.ROLE,
    dashboard.ROLE,
    database.ROLE,
    front.ROLE,
    monitoring.ROLE,
    cluster.ROLE,
    store.ROLE,
    target.ROLE,
    managed.ROLE,
)
FLEET = fleet.ROLE


@cache
def known() -> dict[str, Input]:
    """Every input by its name."""
    return {an_input.name: an_input for role in (*ROLES, FLEET) for an_input in role.inputs}


@cache
def defaults(role: str) -> dict[str, object]:
    """A role's defaults; those that are Jinja are left out."""
    inputs = next(table.inputs for table in ROLES if table.name == role)
    return {an_input.name: an_input.default for an_input in inputs if "{{" not in str(an_input.default)}
