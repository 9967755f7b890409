"""Guessing is slow: so many attempts at once, then one every so often, for each address and for each name."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

MOST_KNOWN = 10_000


@dataclass
class Buckets:
    """A bucket of tokens for each of the latest `most` keys that were charged."""

    burst: int
    seconds: float  # until a token comes back
    most: int = MOST_KNOWN
    clock: Callable[[], float] = time.monotonic
    _left: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)

    def wait(self, key: str) -> float:
        """How long until this key has a token (s); 0 where it has one."""
        return max(0.0, 1 - self._tokens(key)) * self.seconds

    def take(self, key: str, tokens: float = 1) -> None:
        """Take a token away, or give one back (-1)."""
        self._left[key] = (min(self.burst, self._tokens(key) - tokens), self.clock())
        self._left.move_to_end(key)
        while len(self._left) > self.most:
            self._left.popitem(last=False)

    def _tokens(self, key: str) -> float:
        tokens, at = self._left.get(key, (float(self.burst), 0.0))
        return min(self.burst, tokens + (self.clock() - at) / self.seconds)


class Throttle:
    """Attempts to log in. An attempt costs a token until it turns out to be right.

    Names have more of them than addresses: who guesses from one address does not lock out whoever has the name.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.addresses = Buckets(burst=5, seconds=30, clock=clock)
        self.names = Buckets(burst=30, seconds=60, clock=clock)
        self._lock = threading.Lock()

    def attempt(self, address: str, name: str) -> float:
        """Begin an attempt: 0, or how long to wait before the next (s), which costs nothing."""
        network = network_of(address)
        with self._lock:
            if wait := max(self.addresses.wait(network), self.names.wait(name)):
                return wait
            self.addresses.take(network)
            self.names.take(name)
        return 0.0

    def right(self, address: str, name: str) -> None:
        """The attempt was right."""
        with self._lock:
            self.addresses.take(network_of(address), -1)
            self.names.take(name, -1)


def network_of(address: str) -> str:
    """What one machine has: an IPv4 address, or the /64 of an IPv6 address."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(found, ipaddress.IPv6Address):
        return str(found.ipv4_mapped or ipaddress.ip_network((found, 64), strict=False))
    return str(found)
