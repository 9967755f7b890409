"""Ports for servers that are told theirs before they start."""

from __future__ import annotations

import random
import socket
from pathlib import Path

LOWEST = 10_000
given: list[socket.socket] = []


def free_port() -> int:
    """A port of loopback that nobody else gets until this process ends.

    The kernel gives it to no connection, and no other process of the tests is given it: each claims it by a name.
    """
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split())
    ports = range(LOWEST, first) if first > LOWEST + 1_000 else range(last + 1, 65_536)
    for port in random.SystemRandom().sample(ports, len(ports)):
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0speedtest-test-port-{port}")
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
            continue
        given.append(claim)
        return port
    raise AssertionError(f"no port of {ports} is free")
