"""What the module host_state is asked for what is wanted, and what its answer means."""

from __future__ import annotations

from typing import Any

from plugins.desired.kinds import Observed
from plugins.desired.plan import plan, request
from plugins.desired.roles import Wanted
from plugins.desired.things import Desired
from plugins.modules.host_state import ASKED


def request_of(wanted: Wanted | Desired | None, extra: dict[str, Any]) -> dict[str, Any]:
    """The module's arguments for what a role wants, or for lists of things, and for what is looked at besides."""
    if isinstance(wanted, Wanted):
        return request(wanted.desired, together(wanted.besides, extra))
    return request(wanted or {}, extra)


def seen(wanted: Wanted | Desired | None, observed: Observed) -> dict[str, Any]:
    """What was observed, the plan, and what the role makes of both; `settled`: there is nothing to do."""
    if not isinstance(wanted, Wanted):
        return {**observed, **({} if wanted is None else {"plan": plan(wanted, observed)})}
    planned, found = plan(wanted.desired, observed), wanted.found(observed)
    settled = not planned["differs"] and not found["due"]
    return {**observed, "plan": planned, "names": wanted.names, **found, "settled": settled}


def together(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Two requests as one; a list holds what both ask for."""
    lists = {name: [*one.get(name, []), *other.get(name, [])] for name in {*one, *other} if name in ASKED}
    return {**one, **other, **lists}
