"""The object store's keys and ports."""

from __future__ import annotations

from collections.abc import Iterator

from speedtest_logger.inventory.found import Problem, View
from speedtest_logger.inventory.relations.common import FRONT, MONITORING, STORE, as_list, problem
from speedtest_logger.inventory.relations.dashboard import dashboard_ports

KEY_LENGTH, KEY_VARIETY = 20, 8  # characters, and different ones, of a secret key


def store_keys(view: View) -> Iterator[Problem]:
    """Nobody opens a store without a key, or with one that can be guessed."""
    if view[STORE + "state"] == "absent":
        return
    access, secret = view.text(STORE + "access_key"), view.text(STORE + "secret_key")
    if not access:
        yield problem(view, STORE + "access_key", "whoever writes there needs a key: set its id, from a vault")
    make = "`openssl rand -hex 20` makes one; keep it in a vault"
    if not secret:
        yield problem(view, STORE + "secret_key", f"whoever writes there needs a key: {make}")
    elif len(secret) < KEY_LENGTH or len(set(secret)) < KEY_VARIETY or (access and access in secret):
        words = f"it can be guessed ({KEY_LENGTH} characters at least, not all alike, without the id in it): {make}"
        yield problem(view, STORE + "secret_key", words)


def store_ports(view: View) -> Iterator[Problem]:
    """Nobody else on the host has a port of the store's parts."""
    first = int(view.number(STORE + "port"))
    mine = {port + more for port in range(first, first + 4) for more in (0, 10_000)}
    others = dashboard_ports(view) if "speedtest_dashboard" in view.roles else []
    others += [FRONT + "http_port", FRONT + "https_port"] if "speedtest_front" in view.roles else []
    others += [MONITORING + "port", MONITORING + "alertmanager_port"] if "speedtest_monitoring" in view.roles else []
    if "speedtest_target" in view.roles:
        others += ["speedtest_target_librespeed_port", "speedtest_target_iperf3_ports"]
    for other in others if view[STORE + "state"] == "present" else ():
        if other not in view.bad and mine & set(as_list(view[other]) or [view[other]]):
            words = (
                f"{other} is one of {first} to {first + 3}, or of those plus 10000, which the store has: choose another"
            )
            yield problem(view, STORE + "port", words)
