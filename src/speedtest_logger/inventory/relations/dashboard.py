"""The dashboard, who reaches it, and its workbench."""

from __future__ import annotations

from collections.abc import Iterator

from speedtest_logger import domains
from speedtest_logger.inventory.found import Problem, View
from speedtest_logger.inventory.relations.common import DASHBOARD, FRONT, as_list, problem


def dashboard(view: View) -> Iterator[Problem]:
    """What shows the archive is where the archive is."""
    if view[DASHBOARD + "state"] == "present" and view["speedtest_archive_state"] == "absent":
        words = "speedtest_archive_state is absent, and it shows what lies there: set absent here too"
        yield problem(view, DASHBOARD + "state", words)


def dashboard_access(view: View) -> Iterator[Problem]:
    """Who reaches the dashboard over a network has to log in."""
    if not domains.is_loopback(view.text(DASHBOARD + "bind")) and not view[DASHBOARD + "users"]:
        words = (
            f"{DASHBOARD}users names nobody, so whoever reaches this address would see everything: name users, or "
            "leave it at 127.0.0.1"
        )
        yield problem(view, DASHBOARD + "bind", words)


def dashboard_port(view: View) -> Iterator[Problem]:
    """Nobody else has a port of the dashboard's."""
    ports = dashboard_ports(view)
    targets = "speedtest_target_librespeed_port", "speedtest_target_iperf3_ports"
    for place, variable in enumerate(ports):
        for other in (*ports[:place], *(targets if "speedtest_target" in view.roles else ())):
            if other not in view.bad and view[variable] in (view[other], *as_list(view[other])):
                yield problem(view, variable, f"{other} has it too: give each server a port of its own")


def workbench(view: View) -> Iterator[Problem]:
    """A workbench has no login of its own, so that a front is before it; and it runs as a service."""
    variable = DASHBOARD + "workbench_enabled"
    if not view[variable] or view[DASHBOARD + "state"] == "absent":
        return
    if view[DASHBOARD + "runtime"] == "compose":
        words = f"{DASHBOARD}runtime is compose, and the image has no workbench: set the runtime systemd, or false here"
        yield problem(view, variable, words)
    if "speedtest_front" not in view.roles or view[FRONT + "state"] == "absent":
        words = (
            "it has no login of its own, and the front lets in only who has logged in at the dashboard: put the host "
            "into group speedtest_front, or set false"
        )
        yield problem(view, variable, words)


def dashboard_ports(view: View) -> list[str]:
    """The variables of the ports that the dashboard and its workbench listen on."""
    return [DASHBOARD + "port", *([DASHBOARD + "workbench_port"] if view[DASHBOARD + "workbench_enabled"] else [])]
