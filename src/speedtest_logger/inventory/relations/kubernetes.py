"""What a node needs that a cluster's CronJob starts."""

from __future__ import annotations

from collections.abc import Iterator

from speedtest_logger import schedule
from speedtest_logger.inventory.found import Problem, View
from speedtest_logger.inventory.kubernetes import LEAST_TOLERANCE_SECONDS, RUNTIME
from speedtest_logger.inventory.relations.common import LOGGER, as_list, as_mapping, problem


def kubernetes(view: View) -> Iterator[Problem]:
    """Slots that cron can say, time for a pod to start, and nothing that only a machine of ours could have."""
    if view[LOGGER + "runtime"] != RUNTIME:
        yield from elsewhere(view)
        return
    try:
        schedule.Schedule(schedule.parse_duration(view.text(LOGGER + "interval")), 0).cron()
    except ValueError as error:
        yield problem(view, LOGGER + "interval", f"{LOGGER}runtime is {RUNTIME}: {error}")
    if view.number(LOGGER + "start_tolerance_seconds") < LEAST_TOLERANCE_SECONDS:
        words = f"{LOGGER}runtime is {RUNTIME}: a pod starts some seconds after its slot; set 90"
        yield problem(view, LOGGER + "start_tolerance_seconds", words)
    left_out = "a slot's run is all that is started, of what the image has; leave it out"
    for name, items in (("probes", as_list), ("downloads", as_mapping)):
        if items(view[LOGGER + name]):
            yield problem(view, LOGGER + name, f"{LOGGER}runtime is {RUNTIME}: {left_out}")
    if view[LOGGER + "state"] == "absent":
        words = (
            f"{LOGGER}runtime is {RUNTIME}: no run reaches it; take it out of the chart's values and of the inventory"
        )
        yield problem(view, LOGGER + "state", words)
    yield from identity(view)


def identity(view: View) -> Iterator[Problem]:
    """What the node told of itself fits how it delivers."""
    told, https = view.text(LOGGER + "identity"), view[LOGGER + "transport"] == "https"
    if told and told.startswith("ssh-") == https:
        expected = "the SHA-256 of its token" if https else "its public key, ssh-ed25519 AAAA…"
        words = f"{LOGGER}transport is {view[LOGGER + 'transport']}: set {expected}, as the pod's `identity` prints it"
        yield problem(view, LOGGER + "identity", words)


def elsewhere(view: View) -> Iterator[Problem]:
    """What only a node in a cluster has is not set for another one."""
    for name in ("identity", "machine"):
        if view.text(LOGGER + name):
            words = f"{LOGGER}runtime is {view[LOGGER + 'runtime']}: leave it out, or set {RUNTIME} there"
            yield problem(view, LOGGER + name, words)
