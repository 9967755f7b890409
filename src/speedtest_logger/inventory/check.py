"""Everything that is wrong with an inventory, before any host is contacted."""

from __future__ import annotations

import re

from speedtest_logger.inventory import names, relations, roles
from speedtest_logger.inventory.found import (
    ARCHIVE,
    CLUSTER,
    NODES,
    Failure,
    Inventory,
    Problem,
    Problems,
    View,
    seen,
    views,
)
from speedtest_logger.inventory.relations.cluster import cluster_members
from speedtest_logger.inventory.relations.fleet import alerts_of_locations, of_fleet
from speedtest_logger.inventory.relations.secrets import secrets_of_fleet
from speedtest_logger.inventory.relations.transport import https_of_fleet


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
        of_values(view, inventory, found)
        for problem in relations.of_host(view, inventory):
            found.add(problem, view.host)
    nodes = {view.host: view for view in all_views}
    members = [nodes[host] for host in inventory.groups.get(NODES, []) if host in nodes]
    of_fleet([view for view in members if not view.bad & CLAIM], found)
    alerts_of_locations([view for view in members if not view.bad & ALERTS], found)
    cluster = [nodes[host] for host in inventory.groups.get(CLUSTER, []) if host in nodes]
    cluster_members([view for view in cluster if not any(name.startswith(CLUSTER) for name in view.bad)], found)
    archives = [nodes[host] for host in inventory.groups.get(ARCHIVE, []) if host in nodes]
    https_of_fleet([view for view in members if "speedtest_logger_transport" not in view.bad], archives, found)
    secrets_of_fleet(all_views, inventory, found)
    return found.lines()


ALERTS = {"speedtest_logger_alerts", "speedtest_logger_location"}
# What a node's wish for slots is made of.
CLAIM = {
    f"speedtest_logger_{name}"
    for name in (
        *("node_name", "uplink", "interval", "measure_timeout_seconds"),
        *("start_tolerance_seconds", "busy_mbps", "busy_window_seconds", "runtime"),
    )
}


# The name was made of the inventory's, and nobody has set the variable that is named.
SET_NAME = "; the host's name in the inventory is not a valid one: set speedtest_logger_node_name in host_vars/{}.yml"


def of_values(view: View, inventory: Inventory, found: Problems) -> None:
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
            found.add(failure(value, name, inventory), view.host)
        elif said := known[name].domain.problem(value):
            made = SET_NAME.format(view.host) if name == named and name not in view.values else ""
            found.add(Problem(name, seen(known[name], value), said + made), view.host)
        else:
            continue
        view.bad.add(name)


def failure(value: Failure, name: str, inventory: Inventory) -> Problem:
    """A template that fails, with the files where it stands; of a secret no more than a variable that it lacks."""
    undefined = re.fullmatch(r"'\w+' is undefined", value)
    words = "it cannot be read" if roles.known()[name].secret and not undefined else str(value)
    if undefined:
        words += ": define it in group_vars/ or host_vars/, or in a vault that this run can read"
    places = names.files_with(name, inventory.folders, inventory.sources)
    where = f" in {', '.join(places)}" if places else ""
    return Problem(name, f"a template that fails{where}", words)
