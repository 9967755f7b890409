"""A real object store (SeaweedFS) on loopback, and something in front of it that spoils requests of one's choice."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ports import free_port
from pyarrow import fs

from speedtest_logger.sinks.place import Place

KEYS = {"AWS_ACCESS_KEY_ID": "publisher", "AWS_SECRET_ACCESS_KEY": "of-the-test", "AWS_REGION": "us-east-1"}
BUCKET = "measurements"
PATIENCE = 120  # s
TAKEN = b'HTTP/1.1 200 OK\r\nETag: "1"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n'
CHANGES = (b"PUT", b"POST", b"DELETE")


class Server:
    """A store's process, which can be started again with the objects that it had; `address` stays the same."""

    def __init__(self, folder: Path) -> None:
        identity = {"name": "t", "credentials": [], "actions": ["Admin", "Read", "Write", "List", "Tagging"]}
        identity["credentials"] = [{"accessKey": KEYS["AWS_ACCESS_KEY_ID"], "secretKey": KEYS["AWS_SECRET_ACCESS_KEY"]}]
        (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        (folder / "data").mkdir()
        ports = {name: free_port() for name in ("master", "volume", "filer", "s3")}
        self.command = [
            str(Path(sys.executable).with_name("weed")), "server", f"-dir={folder}/data", "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1", "-filer", "-s3", f"-s3.config={folder}/s3.json", "-s3.port.iceberg=0",
            "-s3.port.lance=0", "-volume.max=100", "-master.volumeSizeLimitMB=64",
            *(f"-{name}.port={port}" for name, port in ports.items()),
            *(f"-{name}.port.grpc={free_port()}" for name in ports),
        ]  # fmt: skip
        self.log = folder / "weed.log"
        self.address = f"http://127.0.0.1:{ports['s3']}"
        self.start()

    def start(self) -> None:
        """Return when it has its bucket."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)
        _make_bucket(self.address, self.log)

    def stop(self, *, kill: bool = False) -> None:
        """As systemd does, or at once."""
        (self.process.kill if kill else self.process.terminate)()
        self.process.wait(PATIENCE)


@contextmanager
def store(folder: Path) -> Iterator[str]:
    """A store with one bucket; gives its address."""
    with server(folder) as running:
        yield running.address


@contextmanager
def server(folder: Path) -> Iterator[Server]:
    """A store with one bucket that can be stopped and started."""
    running = Server(folder)
    try:
        yield running
    finally:
        running.stop(kill=True)  # its data go with the test


def _make_bucket(address: str, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not _has_bucket(address):
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.2)


def _has_bucket(address: str) -> bool:
    """Make the bucket; a store that has just begun refuses at first."""
    with suppress(OSError):
        fs.S3FileSystem(
            access_key=KEYS["AWS_ACCESS_KEY_ID"], secret_key=KEYS["AWS_SECRET_ACCESS_KEY"], endpoint_override=address,
            allow_bucket_creation=True, connect_timeout=1, request_timeout=5,
        ).create_dir(BUCKET)  # fmt: skip
        return True
    return False


class Between:
    """What passes requests on to a store: each that changes something is counted, and `spoil` may do other things.

    Whoever asks it runs in another process.

    `spoil(number, head)` says "pass", "drop" (the request never arrives) or "deafen" (it does; its answer never comes).
    """

    def __init__(self, address: str) -> None:
        host, port = address.removeprefix("http://").split(":")
        self.store = (host, int(port))
        self.spoil: Callable[[int, bytes], str] = lambda _number, _head: "pass"
        self.careless = False  # say that all is well where the store did not take an object, as one does that takes all
        self.changes: list[bytes] = []
        self.lock = threading.Lock()
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self.listening.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def begin(self, spoil: Callable[[int, bytes], str] = lambda _number, _head: "pass") -> None:
        """Count anew, and spoil what is said now."""
        self.changes.clear()
        self.spoil = spoil

    def close(self) -> None:
        self.listening.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.listening.accept()
                threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        """One request of a connection, which ends with it."""
        with suppress(OSError), client, client.makefile("rb") as requests:
            head = _head(requests)
            body = requests.read(_length(head))
            verdict = self._verdict(head)
            if not head or verdict == "drop":
                return
            with socket.create_connection(self.store) as upstream:
                upstream.sendall(head.removesuffix(b"\r\n") + b"Connection: close\r\n\r\n" + body)
                while answer := upstream.recv(1 << 16):
                    if self.careless and answer.startswith(b"HTTP/1.1 412"):
                        client.sendall(TAKEN)
                        return
                    if verdict == "pass":
                        client.sendall(answer)

    def _verdict(self, head: bytes) -> str:
        if not head.startswith(CHANGES):
            return "pass"
        with self.lock:
            self.changes.append(head.split(b"\r\n", 1)[0])
            return self.spoil(len(self.changes), head)


def _head(stream: BinaryIO) -> bytes:
    lines = []
    while line := stream.readline(65_536):
        lines.append(line)
        if line == b"\r\n":
            break
    return b"".join(lines)


def _length(head: bytes) -> int:
    found = re.search(rb"^content-length: *(\d+)", head, re.IGNORECASE | re.MULTILINE)
    return int(found[1]) if found else 0


def places(address: str, test: str) -> Callable[..., Place]:
    """Makes places in the store, or in what lies before it, by default in a folder named after a test."""
    name = "".join(letter if letter.isalnum() else "-" for letter in test)

    def place(endpoint: str = address, folder: str = name) -> Place:
        return Place.of(f"s3://{BUCKET}/{folder}", {**KEYS, "AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true"})

    return place
