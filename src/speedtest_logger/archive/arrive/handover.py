"""Deliveries of an archive that several hosts share: into the object store, before the receipt.

receive has no key of the store and no client for it. A service on the same host has both; it takes a delivery over a
socket and answers once all of it is in the store. A small file of root's, `<archive>/fleet/shared.env`, says that
deliveries go there. Standard library only: receive uses it.

    {"node": NAME, "name": ULID, "parts": {FOLDER: [FILE NAME, BYTES] …}} and the parts' bytes in this order
    {"stored": true}, or {"refused": REASON, "message": TEXT}
"""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass, field
from pathlib import Path

from speedtest_logger import env_file
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.errors import RefusedError

FILE = "shared.env"
VARIABLE = "SPEEDTEST_SHARED_SOCKET"
SECONDS = 45  # less than a node waits for its receipt
MOST_ANSWER = 4_000
UNREACHABLE = "store_unreachable"


@dataclass
class Parcel:
    """What one delivery hands over, part by part: by the folder that each would lie in on a single host."""

    socket: Path
    node: str
    parts: dict[str, tuple[str, bytes]] = field(default_factory=dict)

    def send(self, name: str) -> None:
        """Have it in the store when this returns. Raises RefusedError: the node keeps what it sent."""
        if not self.parts:
            return
        sizes = {folder: [file, len(content)] for folder, (file, content) in self.parts.items()}
        head = json.dumps({"node": self.node, "name": name, "parts": sizes}).encode() + b"\n"
        try:
            with socket.socket(socket.AF_UNIX) as link:
                link.settimeout(SECONDS)
                link.connect(str(self.socket))
                link.sendall(b"".join([head, *(content for _, content in self.parts.values())]))
                with link.makefile("rb") as answers:
                    answer = json.loads(answers.readline(MOST_ANSWER) or b"{}")
        except (OSError, ValueError, RecursionError) as error:
            raise RefusedError(UNREACHABLE, f"the service that keeps deliveries does not answer: {error}") from error
        if not isinstance(answer, dict) or answer.get("stored") is not True:
            known = answer if isinstance(answer, dict) else {}
            raise RefusedError(
                str(known.get("refused", UNREACHABLE)), str(known.get("message", "the object store did not take it"))
            )


def is_shared(layout: Layout) -> bool:
    """Whether deliveries go into a store."""
    return os.path.lexists(layout.fleet / FILE)


def parcel(layout: Layout, node: str) -> Parcel | None:
    """Where a node's delivery goes; None where it stays on this host. Raises OSError for a file that makes no sense."""
    file = layout.fleet / FILE
    if not is_shared(layout):
        return None
    place = env_file.read(file).get(VARIABLE, "")
    if not place.startswith("/"):
        raise OSError(f"{file}: {VARIABLE} is no absolute path: run site.yml")
    return Parcel(Path(place), node)
