"""A real scheduler and real workers with TLS, each member with a key of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from builders import ROOT
from ports import free_port

from speedtest_logger.distributed.keys import FILES, Keys, read

PATIENCE = 240  # s
TTL = 10  # s; a busy machine was seen to hold a worker up for half of that
MEMBERS = ("scheduler", "worker-1", "worker-2", "client")


def member(folder: Path, name: str) -> Path:
    """A folder with a member's key and certificate, as the role makes them."""
    mine = folder / name
    mine.mkdir(parents=True)
    command = (ROOT / "roles/speedtest_cluster/files/new_key.sh").read_text()
    subprocess.run(
        ["sh", "-c", command], check=True, env={**os.environ, "folder": str(mine), "member": name}, capture_output=True
    )
    return mine


def introduce(folders: list[Path]) -> None:
    """Everyone gets everyone's certificate."""
    everyone = "".join((each / FILES[1]).read_text() for each in folders)
    for each in folders:
        (each / FILES[2]).write_text(everyone)


class Gate:
    """What passes on to a store, and can hold everything back: then a question is certainly under way."""

    def __init__(self, address: str, host: str = "127.0.0.1") -> None:
        name, port = address.removeprefix("http://").split(":")
        self.store = (name, int(port))
        self.open = threading.Event()
        self.open.set()
        self.held = threading.Semaphore(0)
        self.connections: list[socket.socket] = []
        self.listening = socket.create_server((host, 0))
        self.address = f"http://{host}:{self.listening.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def shut(self) -> None:
        self.held = threading.Semaphore(0)
        self.open.clear()

    def holds(self, requests: int) -> None:
        """Until so many requests are held back."""
        for _ in range(requests):
            assert self.held.acquire(timeout=PATIENCE)

    def cut(self) -> None:
        """End all connections."""
        for each in self.connections:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.open.set()
        self.listening.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.listening.accept()
                threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with suppress(OSError), client, socket.create_connection(self.store) as upstream:
            self.connections += [client, upstream]
            threading.Thread(target=self._pump, args=(upstream, client), daemon=True).start()
            self._pump(client, upstream, may_hold=True)

    def _pump(self, source: socket.socket, target: socket.socket, *, may_hold: bool = False) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if may_hold and not self.open.is_set():
                    self.held.release()
                    self.open.wait()
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)


@dataclass
class Cluster:
    """Processes by their names; `environment` is what workers know of the store."""

    folder: Path
    environment: dict[str, str]
    port: int = field(default_factory=free_port)
    host: str = "127.0.0.1"
    running: dict[str, Any] = field(default_factory=dict)
    stack: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        """Members know each other."""
        introduce([member(self.folder, name) for name in MEMBERS])

    def __enter__(self) -> Cluster:
        """Members are started by name."""
        return self

    def __exit__(self, *_: object) -> None:
        """Nobody stays."""
        for process in self.running.values():
            process.kill()
            process.wait()
        self.stack.close()

    @property
    def address(self) -> str:
        return f"dask://{self.host}:{self.port}"

    @property
    def keys(self) -> Keys:
        return read(self.folder / "client")

    def start(self, name: str, *before: str, host: str = "127.0.0.1") -> None:
        """A member; `before` is a command that runs it, such as in another network."""
        key, certificate, members = (str(self.folder / name / file) for file in FILES)
        if name == "scheduler":
            what = ["distributed.cli.dask_scheduler", "--host", host, "--port", str(self.port), "--protocol", "tls"]
        else:
            local = self.folder / f"{name}-space"
            local.mkdir(exist_ok=True)
            what = ["distributed.cli.dask_worker", f"tls://{self.host}:{self.port}", "--protocol", "tls", "--no-nanny",
                    "--host", host,
                    "--nthreads", "1", "--memory-limit", "0", "--local-directory", str(local),
                    "--name", name]  # fmt: skip
        what += ["--no-dashboard", "--dashboard-address", "127.0.0.1:0",
                 "--tls-ca-file", members, "--tls-cert", certificate, "--tls-key", key]  # fmt: skip
        environment = {
            **os.environ, **self.environment, "PYTHONPATH": f"{ROOT}/src:{ROOT}/tests", "OMP_NUM_THREADS": "1",
            "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "true", "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": f"{TTL}s",
            "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "10",
            "DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES": "[]", "DASK_DISTRIBUTED__WORKER__HTTP__ROUTES": "[]",
        }  # fmt: skip
        self.running[name] = self.begun(before, what, environment, self.folder / f"{name}.log")

    def begun(self, before: tuple[str, ...], what: list[str], environment: dict[str, str], log: Path) -> Any:
        """A process of a module with arguments."""
        said = self.stack.enter_context(log.open("ab"))
        return subprocess.Popen([*before, sys.executable, "-m", *what], env=environment, stdout=said, stderr=said)

    def kill(self, name: str) -> None:
        process = self.running.pop(name)
        process.kill()
        process.wait()

    def wait_for(self, workers: int, act: Callable[[], None] = lambda: None) -> None:
        """Until so many workers are there, no more and no less; `act` is done meanwhile, again and again."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            act()
            if self._workers() == workers:
                return
            time.sleep(0.2)
        raise AssertionError("".join(file.read_text()[-2000:] for file in self.folder.glob("*.log")))

    def _workers(self) -> int | None:
        """How many there are; None where there is no scheduler."""
        from speedtest_logger.distributed.dask import DaskEngine
        from speedtest_logger.errors import DeliveryError

        with suppress(DeliveryError), DaskEngine(self.address, self.keys).connected() as client:
            return len(client.nthreads())
        return None
