"""Deliveries over https: what they need on the archive host."""

from __future__ import annotations

from speedtest_logger.inventory.found import BadValueError, Problem, Problems, View
from speedtest_logger.inventory.relations.common import FRONT, LOGGER, problem

HTTPS, CA = "speedtest_archive_https_enabled", "fleet_archive_ca"
INVITATIONS = "speedtest_archive_invitations_enabled"


def https_of_fleet(nodes: list[View], archives: list[View], problems: Problems) -> None:
    """Nodes that deliver over https meet somebody there: a receiver, behind a front with a name."""
    over_https = [view.host for view in nodes if view.text(LOGGER + "transport") == "https"]
    there = [view for view in archives if "speedtest_archive_state" in view.bad or not is_taken_off(view)]
    for view in there:
        try:
            found = missing(view, over_https) or (unknown(view, there) if over_https else None)
        except BadValueError:
            continue
        if found:
            problems.add(found, view.host)


def is_taken_off(view: View) -> bool:
    """Whether an archive host is to be none any more."""
    return view["speedtest_archive_state"] == "absent"


def missing(view: View, over_https: list[str]) -> Problem | None:
    """What an archive host lacks for deliveries over https; None where that is nothing."""
    enabled = bool(view[HTTPS])
    if over_https and not enabled:
        words = f"{over_https[0]} has {LOGGER}transport https: set true here, or ssh there"
        return problem(view, HTTPS, words)
    if view[INVITATIONS] and not enabled:
        return problem(view, INVITATIONS, f"who is invited comes over https: set {HTTPS} true as well, or set false")
    front = "speedtest_front" in view.roles and view[FRONT + "state"] != "absent"
    if enabled and not front:
        words = (
            "what receives has no TLS of its own: put this host into the groups speedtest_dashboard and "
            f"speedtest_front, and set {FRONT}name, or set false"
        )
        return problem(view, HTTPS, words)
    return None


def unknown(view: View, archives: list[View]) -> Problem | None:
    """A front, one of several that nodes know, of which nobody says whom they trust; None where that is said."""
    own = view[FRONT + "tls"] == "internal" or any(each.values.get(CA) for each in archives)
    if len(archives) > 1 and own and not view.values.get(CA):
        words = (
            "nodes that deliver over https to several hosts trust what is given for each of them: set the certificates "
            f"of this host's front (with {FRONT}tls internal, when site.yml has made it, "
            "/var/lib/speedtest-front/caddy/pki/authorities/local/root.crt there)"
        )
        return Problem(CA, "nothing", words)
    return None
