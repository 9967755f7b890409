"""Everything that is wrong with an inventory, before any host is contacted."""

from __future__ import annotations

from speedtest_logger.inventory import names, relations, roles
from speedtest_logger.inventory.found import NODES, Failure, Inventory, Problem, Problems, View, seen, views


def problems(inventory: Inventory) -> list[str]:
    """One line for each problem: the variable, the value seen, the hosts, what to set. Sorted; empty = all is well."""
    found = Problems()
    for problem in names.of_sources(inventory):
        found.add(problem)
    if not inventory.hosts:
        return found.lines()
    for problem in [*names.of_groups(inventory), *names.of_files(inventory)]:
        found.add(problem)
    names.of_variables(inventory, found)
    all_views = list(views(inventory))
    for view in all_views:
        of_values(view, found)
        for problem in relations.of_host(view, inventory):
            found.add(problem, view.host)
    nodes = {view.host: view for view in all_views}
    members = [nodes[host] for host in inventory.groups.get(NODES, []) if host in nodes]
    relations.of_fleet([view for view in members if not view.bad & CLAIM], found)
    return found.lines()


# What a node's wish for slots is made of.
CLAIM = {
    f"speedtest_logger_{name}"
    for name in (
        *("node_name", "uplink", "interval", "measure_timeout_seconds"),
        *("start_tolerance_seconds", "busy_mbps", "busy_window_seconds"),
    )
}


def of_values(view: View, found: Problems) -> None:
    """What is wrong with each value by itself; the view remembers which these are."""
    known = roles.known()
    named = "speedtest_logger_node_name"
    given = dict(view.values)
    if "speedtest_logger" in view.roles:
        given.setdefault(named, view[named])
    for name, value in given.items():
        if name not in known:
            continue
        if isinstance(value, Failure):
            words = "it cannot be read" if known[name].secret else str(value)
            found.add(Problem(name, "a template that fails", words), view.host)
        elif said := known[name].domain.problem(value):
            found.add(Problem(name, seen(known[name], value), said), view.host)
        else:
            continue
        view.bad.add(name)
