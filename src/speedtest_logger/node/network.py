"""What the kernel says about the node's network: routes, carriers, counters. Linux only (proc(5), netdevice(7)).

Not from /sys: in a container that can be another network namespace's.
"""

from __future__ import annotations

import fcntl
import socket
import struct
from pathlib import Path

SIOCGIFFLAGS = 0x8913
IFF_UP, IFF_RUNNING = 0x1, 0x40
PROC = Path("/proc/self/net")  # with ProcSubset=pid there is no /proc/net


def default_interface() -> str | None:
    """The interface of the default route, IPv4 before IPv6; None without one."""
    for line in _lines(PROC / "route")[1:]:
        words = line.split()
        if words[1] == "00000000" and words[7] == "00000000" and int(words[3], 16) & 1:
            return words[0]
    for line in _lines(PROC / "ipv6_route"):
        words = line.split()
        if words[0] == "0" * 32 and words[1] == "00" and words[9] != "lo" and int(words[8], 16) & 1:
            return words[9]
    return None


def default_gateway(interface: str | None = None) -> str | None:
    """The router of the default route, or of an interface's own: IPv4 before IPv6; empty where the route names none.

    None without a default route.
    """
    for line in _lines(PROC / "route")[1:]:
        words = line.split()
        if words[1] == words[7] == "00000000" and int(words[3], 16) & 1 and interface in (None, words[0]):
            return socket.inet_ntoa(struct.pack("=I", int(words[2], 16))) if int(words[2], 16) else ""
    for line in _lines(PROC / "ipv6_route"):
        words = line.split()
        default = words[0] == "0" * 32 and words[1] == "00" and words[9] != "lo" and int(words[8], 16) & 1
        if default and interface in (None, words[9]):
            address = socket.inet_ntop(socket.AF_INET6, bytes.fromhex(words[4]))
            return "" if address == "::" else f"{address}%{words[9]}" if address.startswith("fe80") else address
    return None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="ascii").splitlines()
    except OSError:
        return []


def has_carrier(interface: str) -> bool:
    """Whether an interface is up and its cable in."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            answer = fcntl.ioctl(probe, SIOCGIFFLAGS, struct.pack("256s", interface.encode()[:15]))
        except OSError:  # no such interface
            return False
    flags = int(struct.unpack_from("H", answer, 16)[0])
    return flags & (IFF_UP | IFF_RUNNING) == IFF_UP | IFF_RUNNING


def counters(interface: str | None) -> tuple[int, int] | None:
    """Bytes that an interface has received and sent since boot; None where there is no such interface."""
    for line in _lines(PROC / "dev")[2:]:
        name, _, values = line.partition(":")
        if name.strip() == interface:
            words = values.split()
            return int(words[0]), int(words[8])
    return None


def outage_reason(interface: str | None) -> str | None:
    """no_route where the kernel itself knows that nothing can be reached."""
    if interface is None or not has_carrier(interface):
        return "no_route"
    return None


def is_own(host: str) -> bool:
    """Whether a name, or an address, leads to this machine: what goes there never reaches a line.

    The kernel gives packets to one of its own addresses that address as their source; nothing is sent to learn it.
    """
    try:
        found = socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        return False
    for family, kind, protocol, _, there in found:
        with socket.socket(family, kind, protocol) as probe:
            try:
                probe.connect(there)
            except OSError:
                continue
            here = probe.getsockname()[0]
            if here in (there[0], "::1") or here.startswith("127."):
                return True
    return False


def resolves(host: str) -> bool:
    """Whether a name, or an address, can be resolved."""
    try:
        return bool(socket.getaddrinfo(host, None))
    except (OSError, UnicodeError):
        return False
