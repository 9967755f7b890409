"""Nodes taken together: names, lines, alerts."""

from __future__ import annotations

from speedtest_logger import schedule
from speedtest_logger.alerts.rules import OF_ALL_NODES
from speedtest_logger.inventory.found import Problem, Problems, View
from speedtest_logger.inventory.kubernetes import step
from speedtest_logger.inventory.relations.common import LOGGER, as_mapping

WAYS_OUT = "raise speedtest_logger_interval, lower speedtest_logger_measure_timeout_seconds, or put fewer nodes on it"


def of_fleet(nodes: list[View], problems: Problems) -> None:
    """What is wrong with the nodes taken together: names that are not their own, uplinks without enough room."""
    by_name: dict[str, list[str]] = {}
    for view in nodes:
        by_name.setdefault(view.text(LOGGER + "node_name"), []).append(view.host)
    for name, hosts in by_name.items():
        if len(hosts) > 1:
            problems.add(Problem(LOGGER + "node_name", repr(name), "give each a name of its own"), *hosts)
    if any(len(hosts) > 1 for hosts in by_name.values()):
        return
    by_uplink: dict[str, list[schedule.Claim]] = {}
    for view in nodes:
        made = claim_of(view)
        by_uplink.setdefault(made.uplink, []).append(made)
    for uplink, claims in by_uplink.items():
        try:
            schedule.assign(claims, {})
        except schedule.DoesNotFitError as error:
            words = str(error).partition(": ")[2]
            problems.add(Problem(LOGGER + "uplink", repr(uplink), f"{words}: {ways_out(uplink, nodes, claims)}"))


def alerts_of_locations(nodes: list[View], problems: Problems) -> None:
    """Nodes of one location that say different things of what is judged of all of them together."""
    alerts = LOGGER + "alerts"
    by_location: dict[str, list[View]] = {}
    for view in nodes:
        by_location.setdefault(view.text(LOGGER + "location"), []).append(view)
    for location, (first, *others) in by_location.items():
        for view in others:
            for rule in OF_ALL_NODES:
                own, theirs = (as_mapping(each[alerts]).get(rule) for each in (view, first))
                if own != theirs:
                    says = "leaves it out" if theirs is None else f"has {theirs!r:.80}"
                    words = (
                        f"{first.host} of the same location ({location}) {says}: {rule} is judged of all nodes of a "
                        "line together: say the same of both, in the variables of a group for the location"
                    )
                    problems.add(
                        Problem(alerts, "nothing" if own is None else f"{rule}: {own!r:.80}", words), view.host
                    )


def ways_out(uplink: str, nodes: list[View], claims: list[schedule.Claim]) -> str:
    """What makes nodes fit on their uplink, with the longest measure_timeout_seconds that does."""
    timeouts = {view.number(LOGGER + "measure_timeout_seconds") for view in nodes if claim_of(view).uplink == uplink}
    around = {claim.length for claim in claims}
    if len(timeouts) > 1 or len(around) > 1:
        return WAYS_OUT
    fitting = int(timeouts.pop() - around.pop() + schedule.longest_fitting(claims))
    if fitting < 1:
        return WAYS_OUT
    return WAYS_OUT.replace("measure_timeout_seconds", f"measure_timeout_seconds to {fitting} or less")


def claim_of(view: View) -> schedule.Claim:
    """A node's wish for slots from its variables."""
    length = view.number(LOGGER + "measure_timeout_seconds") + view.number(LOGGER + "start_tolerance_seconds")
    watched = view.number(LOGGER + "busy_window_seconds") if view[LOGGER + "busy_mbps"] else 0
    node, uplink, interval = (view.text(LOGGER + name) for name in ("node_name", "uplink", "interval"))
    return claim_of_node(node, uplink, interval, int(length), int(watched), step(view[LOGGER + "runtime"]))


def claim_of_node(node: str, uplink: str, interval: str, length: int, watched: int, aligned: int = 1) -> schedule.Claim:
    """A node's wish for slots; a node without an uplink has a line of its own."""
    needed = length + schedule.GUARD_SECONDS + watched  # the line is watched before the test begins
    return schedule.Claim(node, uplink or f"only {node}", schedule.parse_duration(interval), needed, aligned)
