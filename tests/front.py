"""The real receiver behind the real front: what nodes that deliver over https meet, on loopback."""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import ssl
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

from builders import ROOT
from ports import free_port

from plugins.desired import speedtest_front
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.inventory.roles import known

NAME = "localhost"
MODULE = "speedtest_logger.archive.arrive.receive_http"


class Receiver:
    """The service and Caddy as the roles have them, but for their places."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.layout = Layout(folder / "archive")
        self.layout.prepare()
        self.tokens_file = folder / "tokens"
        self.socket = folder / "socket"
        self.tokens: dict[str, str] = {}
        self.port = free_port()
        self.root = folder / "caddy/pki/authorities/local/root.crt"
        self.environment = {**os.environ, "PYTHONPATH": f"{ROOT}/src"}
        self.service = self.front = None
        self.invitations_file: Path | None = None
        self.journal, self.bundles_dir = folder / "journal", ""

    def know(self, *nodes: str) -> None:
        """Give nodes tokens; who has one keeps it, who is not named has none any more."""
        self.tokens = {node: self.tokens.get(node) or secrets.token_hex(32) for node in nodes}
        lines = [f"{node} {hashlib.sha256(token.encode()).hexdigest()}\n" for node, token in self.tokens.items()]
        new = self.tokens_file.with_suffix(".new")
        new.write_text("".join(lines))
        new.replace(self.tokens_file)

    def start(self, *before: str, program: list[str] | None = None) -> None:
        """Start the service and wait for it; `before`: what its module is run by, `program`: another one."""
        self.socket.unlink(missing_ok=True)
        argv = ["--root", str(self.layout.root), "--tokens", str(self.tokens_file), "--socket", str(self.socket)]
        argv += ["--invitations", str(self.invitations_file)] if self.invitations_file else []
        program = program or [sys.executable, *([*before, MODULE] if before else ["-m", MODULE])]
        with open(self.journal, "ab") if self.invitations_file else nullcontext() as said:
            self.service = subprocess.Popen([*program, *argv], env=self.environment, stderr=said)
        wait(self.listens)

    def listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0

    def start_front(self) -> None:
        """Start Caddy as the role configures it."""
        prefix = "speedtest_front_"
        plain = {name.removeprefix(prefix): item.default for name, item in known().items() if name.startswith(prefix)}
        values = {**plain, "name": NAME, "dashboard_bind": "127.0.0.1", "dashboard_port": 1, "workbench_port": 0}
        values |= {
            "deliver_enabled": True,
            "bundles_dir": self.bundles_dir,
            "https_port": self.port,
            "http_port": free_port(),
        }
        values |= {"invitations_enabled": bool(self.invitations_file)}
        text = speedtest_front.text(values, "etc/speedtest-front/Caddyfile")
        assert speedtest_front.RECEIVER in text
        (self.folder / "Caddyfile").write_text(text.replace(speedtest_front.RECEIVER, str(self.socket)))
        places = dict.fromkeys(("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"), str(self.folder))
        argv = ["caddy", "run", "--adapter", "caddyfile", "--config", str(self.folder / "Caddyfile")]
        with open(self.folder / "caddy.log", "wb") as log:
            self.front = subprocess.Popen(argv, env={**os.environ, **places}, stdout=log, stderr=log)
        wait(self.answers)

    def answers(self) -> bool:
        try:
            with self.connected():
                return True
        except OSError:
            return False

    def connected(self, seconds: float = 60) -> ssl.SSLSocket:
        """A connection to the front."""
        trusting = ssl.create_default_context(cafile=str(self.root))
        plain = socket.create_connection(("127.0.0.1", self.port), seconds)
        return trusting.wrap_socket(plain, server_hostname=NAME)

    def stop_service(self) -> None:
        """End what receives, as a power cut does."""
        self.service.kill()
        self.service.wait(60)

    def stop(self) -> None:
        for process in (self.front, self.service):
            if process and process.poll() is None:
                process.terminate()
                process.wait(60)


def wait(until, seconds: float = 120) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.05)
