"""A bridge for each lab, a network namespace and a veth pair for each node, and the tbf shapers on both ends.

Addresses come from 198.18.0.0/15, which RFC 2544 reserves for benchmarks. Nodes can reach each other and this
machine and nothing else: nothing here translates addresses or forwards to the outside.
"""

from __future__ import annotations

import fcntl
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.shell import run, succeeds

BURST = "256kb"
# A node that is its own target measures a gigabit line: without a limit it would measure how fast two processors copy.
LOOPBACK = ("tbf", "rate", "1gbit", "burst", "1mb", "latency", "50ms")
# Addresses that no lab uses must not leave by the default route.
UNREACHABLE = ("unreachable", "198.18.0.0/15", "metric", "4096")
LOCK = Path("/run/speedtest-lab-route")  # one for the machine, whatever directory a lab lies in


def bridge(number: int) -> str:
    """Name of a lab's bridge."""
    return f"lab{number}"


def subnet(number: int) -> str:
    """First three octets of a lab's network."""
    return f"198.18.{number}"


def namespace(number: int, node: str) -> str:
    """Name of a node's network namespace."""
    return f"lab{number}-{node}"


def veth(number: int, index: int) -> str:
    """Host end of a node's veth pair (at most 15 characters)."""
    return f"lab{number}n{index}"


def create_bridge(number: int) -> None:
    """Make the bridge with this machine as .1, and the route that is for all labs."""
    delete_bridge(number)
    run("ip", "link", "add", bridge(number), "type", "bridge")
    run("ip", "address", "add", f"{subnet(number)}.1/24", "dev", bridge(number))
    with one_at_a_time():
        run("ip", "link", "set", bridge(number), "up")
        run("ip", "route", "replace", *UNREACHABLE)


def delete_bridge(number: int) -> None:
    """Remove the bridge if it is there."""
    if succeeds(["ip", "link", "show", bridge(number)]):
        run("ip", "link", "delete", bridge(number))


def delete_route() -> None:
    """Remove the route that is for all labs, once none is up, be it one of another lab directory."""
    with one_at_a_time():
        if not numbers_in_use():
            succeeds(["ip", "route", "delete", *UNREACHABLE])


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Held while the route is made or removed: a lab that comes up must not lose it to the last one that goes."""
    with LOCK.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def attach(number: int, index: int, node: str) -> None:
    """Give a node its namespace, its eth0 with address .{10+index}, and a default route to this machine."""
    ns, outer = namespace(number, node), veth(number, index)
    detach(number, index, node)
    run("ip", "netns", "add", ns)
    run("ip", "link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", ns)
    run("ip", "link", "set", outer, "master", bridge(number), "up")
    inside = ("ip", "-n", ns)
    run(*inside, "address", "add", f"{subnet(number)}.{10 + index}/24", "dev", "eth0")
    run(*inside, "link", "set", "lo", "up")
    run("tc", "-n", ns, "qdisc", "add", "dev", "lo", "root", *LOOPBACK)
    run(*inside, "link", "set", "eth0", "up")
    run(*inside, "route", "add", "default", "via", f"{subnet(number)}.1")


def detach(number: int, index: int, node: str) -> None:
    """Remove a node's veth pair and namespace if they are there."""
    if succeeds(["ip", "link", "show", veth(number, index)]):
        run("ip", "link", "delete", veth(number, index))
    if namespace(number, node) in run("ip", "netns", "list").split():
        run("ip", "netns", "delete", namespace(number, node))


def shape(number: int, index: int, node: str, down_mbit: float, up_mbit: float) -> None:
    """Limit a node's line with tc tbf: receives down_mbit, sends up_mbit (Mbit/s; 0 = no limit)."""
    ends = ((("tc",), veth(number, index), down_mbit), (("tc", "-n", namespace(number, node)), "eth0", up_mbit))
    for tc, device, rate in ends:
        if '"tbf"' in run(*tc, "-j", "qdisc", "show", "dev", device):
            run(*tc, "qdisc", "delete", "dev", device, "root")
        if rate:
            run(
                *tc,
                "qdisc",
                "add",
                "dev",
                device,
                "root",
                "tbf",
                "rate",
                f"{rate}mbit",
                "burst",
                BURST,
                "latency",
                "50ms",
            )


def cut(number: int, index: int) -> None:
    """Pull the cable: the node sees its carrier go."""
    run("ip", "link", "set", veth(number, index), "down")


def restore(number: int, index: int) -> None:
    """Plug the cable in again."""
    run("ip", "link", "set", veth(number, index), "up")


def link_is_up(number: int, index: int) -> bool:
    """Whether the node's cable is plugged in."""
    shown = json.loads(run("ip", "-j", "link", "show", veth(number, index), check=False) or "[]")
    return bool(shown) and "UP" in shown[0]["flags"]


def numbers_in_use() -> set[int]:
    """Numbers whose network this machine has a route to already, be it another lab directory's bridge or not ours."""
    return {int(number) for number in re.findall(r"^198\.18\.(\d+)\.", run("ip", "route", "show"), re.MULTILINE)}
