"""Whose a token is: root's file with the SHA-256 of each node's token, a node and its digest a line.

A node makes its token itself, 256 random bits; nobody can find it from its digest. The file is read again whenever it
is another one: who leaves it is known no more with the next request.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from speedtest_logger.files import Identity, identity, in_mount, read_bounded
from speedtest_logger.record import is_id

MOST_BYTES = 200_000_000  # of a million nodes
TOKEN = re.compile(rb"[0-9a-f]{64}")
LINE = re.compile(r"([a-z0-9-]+) ([0-9a-f]{64})")


class Tokens:
    """The nodes that may deliver, by the digests of their tokens."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.seen: Identity | None = None
        self.nodes: dict[str, str] = {}

    def node_of(self, token: bytes) -> str | None:
        """Whose token it is; None where it is nobody's. Raises OSError where the file cannot be read."""
        if not TOKEN.fullmatch(token):
            return None
        self.refresh()
        # found by its digest: how long that takes tells of the digest at most, which leads to no token
        return self.nodes.get(hashlib.sha256(token).hexdigest())

    def refresh(self) -> None:
        """Read the file where it is not the one that was read last; without one nobody may deliver."""
        file = in_mount(self.file)
        now = identity(file)
        if now == self.seen:
            return
        self.nodes = parsed(read_bounded(file, MOST_BYTES).decode(errors="replace")) if now else {}
        self.seen = now


def parsed(text: str) -> dict[str, str]:
    """Nodes by digest. What is no such line is left out, and so is a digest that two nodes have: it tells nobody."""
    found: dict[str, str] = {}
    twice = set()
    for line in text.splitlines():
        match = LINE.fullmatch(line)
        if match is None or not is_id(match[1]):
            continue
        if found.setdefault(match[2], match[1]) != match[1]:
            twice.add(match[2])
    return {digest: node for digest, node in found.items() if digest not in twice}
