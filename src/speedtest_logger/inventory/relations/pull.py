"""What a node needs that brings itself to its desired state."""

from __future__ import annotations

from collections.abc import Iterator

from speedtest_logger.inventory.found import Problem, View
from speedtest_logger.inventory.relations.common import LOGGER, as_list, as_mapping, problem

ARCHIVES = (".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".tar", ".zip")


def pull(view: View) -> Iterator[Problem]:
    """Where bundles come from, who signs them, and only what a node can carry out by itself."""
    if view[LOGGER + "converge"] != "pull":
        return
    if not view.text(LOGGER + "pull_url"):
        yield problem(view, LOGGER + "pull_url", f"{LOGGER}converge is pull: set where its bundle is served")
    if not as_list(view[LOGGER + "pull_signers"]):
        words = f"{LOGGER}converge is pull: set the public key of whoever signs bundles; nothing is trusted unseen"
        yield problem(view, LOGGER + "pull_signers", words)
    if view[LOGGER + "runtime"] not in ("systemd", "compose"):
        words = f"{LOGGER}converge is pull: a cluster looks after such a node; set systemd or compose"
        yield problem(view, LOGGER + "runtime", words)
    for engine, entry in as_mapping(view[LOGGER + "downloads"]).items():
        url = str(as_mapping(entry).get("url", ""))
        if as_mapping(entry).get("program") and not url.endswith(ARCHIVES):
            words = (
                f"{LOGGER}converge is pull: a node unpacks {', '.join(ARCHIVES)} by itself, not what {engine}'s "
                "url has; leave program out where the file is the program, or converge: push"
            )
            yield problem(view, LOGGER + "downloads", words)
