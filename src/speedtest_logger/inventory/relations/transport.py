"""Deliveries over https: what they need on the archive host."""

from __future__ import annotations

from speedtest_logger.inventory.found import BadValueError, Problem, Problems, View
from speedtest_logger.inventory.relations.common import FRONT, LOGGER, problem

HTTPS = "speedtest_archive_https_enabled"


def https_of_fleet(nodes: list[View], archives: list[View], problems: Problems) -> None:
    """Nodes that deliver over https meet somebody there: a receiver, behind a front with a name."""
    over_https = [view.host for view in nodes if view.text(LOGGER + "transport") == "https"]
    for view in archives:
        try:
            found = missing(view, over_https)
        except BadValueError:
            continue
        if found:
            problems.add(found, view.host)


def missing(view: View, over_https: list[str]) -> Problem | None:
    """What an archive host lacks for deliveries over https; None where that is nothing."""
    enabled = bool(view[HTTPS])
    if over_https and not enabled:
        words = f"{over_https[0]} has {LOGGER}transport https: set true here, or ssh there"
        return problem(view, HTTPS, words)
    front = "speedtest_front" in view.roles and view[FRONT + "state"] != "absent"
    if enabled and not front:
        words = (
            "what receives has no TLS of its own: put this host into the groups speedtest_dashboard and "
            f"speedtest_front, and set {FRONT}name, or set false"
        )
        return problem(view, HTTPS, words)
    return None
