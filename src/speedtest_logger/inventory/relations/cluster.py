"""The members of a cluster fit together."""

from __future__ import annotations

from collections.abc import Iterator

from speedtest_logger.inventory.found import Problem, Problems, View
from speedtest_logger.inventory.relations.common import as_list, problem
from speedtest_logger.inventory.tables.cluster import SCHEDULER, WORKER

CLUSTER = "speedtest_cluster_"
ALIKE = ("scheduler_address", "port", "version", "requirements_file")


def cluster_keys(view: View) -> Iterator[Problem]:
    """A worker reads the store."""
    if view[CLUSTER + "state"] == "absent" or WORKER not in as_list(view[CLUSTER + "parts"]):
        return
    for name in ("store_access_key", "store_secret_key"):
        if not view.text(CLUSTER + name):
            yield problem(view, CLUSTER + name, "a worker reads the object store: set a key that may, from a vault")


def cluster_ports(view: View) -> Iterator[Problem]:
    """Scheduler and worker of one host have a port each."""
    if view[CLUSTER + "port"] == view[CLUSTER + "worker_port"] and len(as_list(view[CLUSTER + "parts"])) > 1:
        yield problem(view, CLUSTER + "worker_port", f"{CLUSTER}port is the same: choose another")


def cluster_members(members: list[View], problems: Problems) -> None:
    """There is one scheduler, where all members look for it, and all run the same."""
    members = [view for view in members if view[CLUSTER + "state"] == "present"]
    schedulers = [view for view in members if SCHEDULER in as_list(view[CLUSTER + "parts"])]
    if members and len(schedulers) != 1:
        names = ", ".join(view.host for view in schedulers) or "none"
        words = f"the cluster has one scheduler, here it has {len(schedulers)} ({names}): give the part to one host"
        view = (schedulers or members)[-1]
        problems.add(problem(view, CLUSTER + "parts", words), view.host)
    for view in schedulers:
        if view[CLUSTER + "address"] != view[CLUSTER + "scheduler_address"]:
            words = f"the scheduler's {CLUSTER}address is another one: members would look for it in vain"
            problems.add(problem(view, CLUSTER + "scheduler_address", words), view.host)
    for name in ALIKE:
        first = members[0][CLUSTER + name] if members else None
        for view in (view for view in members if view[CLUSTER + name] != first):
            words = f"{members[0].host} has another one: it has to be the same on all members of the cluster"
            problems.add(problem(view, CLUSTER + name, words), view.host)
