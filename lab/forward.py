"""A port that a node serves on its own loopback, reached from this machine's."""

from __future__ import annotations

import socket
import subprocess

from lab.lab import Lab, Node
from lab.shell import LabError, run

LOOPBACK = "127.0.0.1"
TRIED = 20  # ports, from the node's own number on
OF_ITS_OWN = [
    *("-o", "ControlMaster=no", "-o", "ControlPath=none"),  # a shared connection would end with somebody else's
    *("-o", "ExitOnForwardFailure=yes", "-o", "ServerAliveInterval=5", "-N"),
]


def free_port(first: int) -> int:
    """The first port that nothing listens on. Raises LabError after TRIED."""
    for port in range(first, min(first + TRIED, 65_536)):
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise LabError(f"the ports from {first} on are all taken here: name another with --to")


def forward_in_background(lab: Lab, node: Node, port: int, to: int | None) -> int:
    """Forward a port of this machine to a node's until the node goes; which one.

    Without `to` it is one that is free; another one where somebody else takes that in the meantime.
    """
    while True:
        here = to or free_port(port)
        try:
            forward(lab, node, port, here, background=True)
        except LabError:
            if to or free_port(here) == here:
                raise
        else:
            return here


def forward(lab: Lab, node: Node, port: int, here: int, *, background: bool = False) -> int:
    """Forward `here` to a node's port until it is ended, or at once in the background until the node goes: ssh's code.

    Raises LabError where that cannot be done.
    """
    login = lab.ssh(node)
    between = [*OF_ITS_OWN, *login[1:-1], "-L", f"{LOOPBACK}:{here}:{LOOPBACK}:{port}", login[-1]]
    if not background:
        return subprocess.run(["ssh", *between], stdin=subprocess.DEVNULL, check=False).returncode
    run("ssh", "-f", *between)
    return 0
