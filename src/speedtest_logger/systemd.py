"""What a service tells systemd (sd_notify(3))."""

from __future__ import annotations

import os
import socket


def ready() -> None:
    """Tell systemd, where it has started this, that the service can be used."""
    if place := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            told.connect(f"\0{place[1:]}" if place.startswith("@") else place)
            told.sendall(b"READY=1")
