"""What a node needs that brings itself to its desired state."""

from __future__ import annotations

from collections.abc import Iterator

from speedtest_logger.inventory.found import Problem, View
from speedtest_logger.inventory.relations.common import LOGGER, as_list, as_mapping, problem


def pull(view: View) -> Iterator[Problem]:
    """Where bundles come from, who signs them, and only what a node can carry out by itself."""
    if view[LOGGER + "converge"] != "pull":
        return
    if not view.text(LOGGER + "pull_url"):
        yield problem(view, LOGGER + "pull_url", f"{LOGGER}converge is pull: set where its bundle is served")
    if not as_list(view[LOGGER + "pull_signers"]):
        words = f"{LOGGER}converge is pull: set the public key of whoever signs bundles; nothing is trusted unseen"
        yield problem(view, LOGGER + "pull_signers", words)
    if view[LOGGER + "runtime"] != "systemd":
        words = f"{LOGGER}converge is pull: a node makes no images by itself; set systemd, or converge: push"
        yield problem(view, LOGGER + "runtime", words)
    if as_mapping(view[LOGGER + "downloads"]):
        words = f"{LOGGER}converge is pull: a node downloads no engines by itself; use those of packages, or push"
        yield problem(view, LOGGER + "downloads", words)
    if view[LOGGER + "state"] == "absent":
        words = f"{LOGGER}converge is pull: a node does not remove itself; use remove.yml, or converge: push"
        yield problem(view, LOGGER + "state", words)
