"""The service that puts what receive took into the store, and says so: it has the keys, which receive has not.

Whoever may open its socket is believed: on a host that is the archive's own account, whose programs receive.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from contextlib import suppress
from socketserver import StreamRequestHandler, ThreadingUnixStreamServer
from typing import Any

from speedtest_logger.archive.arrive.handover import UNREACHABLE
from speedtest_logger.archive.shared.objects import BESIDE, INBOX
from speedtest_logger.errors import StorageError
from speedtest_logger.log import Log
from speedtest_logger.record import is_id
from speedtest_logger.sinks.objects import Objects

RECORDS = "inbox"
FOLDERS = (RECORDS, "raw-inbox", "log-inbox", "probe-inbox")
MOST_HEAD = 4_000
MOST_BYTES = 256_000_000  # of a delivery
AT_ONCE = 16
SECONDS = 60
FIRST_INHERITED = 3  # descriptor that systemd hands over


class Gate(ThreadingUnixStreamServer):
    """Takes deliveries on a listening socket."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, objects: Objects, listening: socket.socket) -> None:
        super().__init__(b"", Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.objects = objects
        self.room = threading.BoundedSemaphore(AT_ONCE)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """One that went away meanwhile."""


class Handler(StreamRequestHandler):
    """One delivery."""

    timeout = SECONDS
    server: Gate

    def handle(self) -> None:
        """Take it, and say what became of it."""
        with self.server.room:
            try:
                self.answer({"stored": True} if self.store() else {"refused": "bad_parcel", "message": "no delivery"})
            except StorageError as error:
                Log(None).event("warning", "not_stored", message=str(error))
                self.answer({"refused": UNREACHABLE, "message": str(error)})

    def store(self) -> bool:
        """Put its parts into the store, its records last; False for what is none."""
        head = _head(self.rfile.readline(MOST_HEAD))
        if head is None:
            return False
        node, name, parts = head
        contents = {folder: self.rfile.read(size) for folder, (_, size) in parts.items()}
        if any(len(contents[folder]) != size for folder, (_, size) in parts.items()):
            return False
        for folder, content in contents.items():
            if folder != RECORDS:
                self.server.objects.put_new(f"{BESIDE}{name}.{node}.{folder}.jsonl", content)
        if RECORDS in contents:
            self.server.objects.put_new(f"{INBOX}{node}/{parts[RECORDS][0]}", contents[RECORDS])
        return True

    def answer(self, content: dict[str, Any]) -> None:
        """One line, where somebody still listens."""
        with suppress(OSError):
            self.wfile.write(json.dumps(content).encode() + b"\n")


def _head(line: bytes) -> tuple[str, str, dict[str, tuple[str, int]]] | None:
    """Node, name, and the parts' file names and sizes; None for what is none."""
    try:
        head = json.loads(line)
        node, name = head["node"], head["name"]
        parts = {folder: (file, size) for folder, (file, size) in head["parts"].items()}
        texts = [name, *(file for file, _ in parts.values())]
        fits = 0 <= sum(size for _, size in parts.values()) <= MOST_BYTES
        right = is_id(node) and all(text.replace(".", "").isalnum() and text.isascii() for text in texts)
        sizes = all(type(size) is int and size >= 0 for _, size in parts.values())
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return (node, name, parts) if right and fits and sizes and parts.keys() <= set(FOLDERS) else None


def serve(objects: Objects) -> None:
    """Be the service on the socket that systemd made."""
    if os.environ.get("LISTEN_FDS") != "1" or os.environ.get("LISTEN_PID") != str(os.getpid()):
        raise StorageError("there is no socket: this is run by speedtest-shared-inbox.socket")
    with Gate(objects, socket.socket(fileno=FIRST_INHERITED)) as gate:
        gate.serve_forever()
