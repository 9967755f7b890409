"""What every engine gets and gives."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Job:
    """One try: which program, against which server (None: the engine chooses), from where, for how long (s)."""

    program: str
    server: str | None = None
    blocked_servers: tuple[str, ...] = ()
    extra_args: tuple[str, ...] = ()
    duration: int = 10
    source_interface: str | None = None
    source_address: str | None = None
    ip_family: str = "auto"
    version: str | None = None  # of the program, where it is known


@dataclass(frozen=True)
class Command:
    """A command line and what it reads on standard input; `instead` is asked in its order where this finds nobody."""

    argv: list[str]
    stdin: bytes = b""
    instead: tuple[Command, ...] = ()


@dataclass(frozen=True)
class Output:
    """What a program left behind."""

    returncode: int
    stdout: bytes
    stderr: bytes = b""
    truncated: bool = False

    @property
    def text(self) -> str:
        """Standard output and standard error, for looking at messages."""
        return (self.stdout[:20_000] + b"\n" + self.stderr[:20_000]).decode(errors="replace")


@dataclass
class Result:
    """An engine's measurement in canonical units: bit/s, ms, percent, bytes; names as in record.Record.

    `message` tells what was left out of it.
    """

    download_bps: float | None = None
    upload_bps: float | None = None
    latency_ms: float | None = None
    latency_low_ms: float | None = None
    latency_high_ms: float | None = None
    jitter_ms: float | None = None
    download_latency_ms: float | None = None
    upload_latency_ms: float | None = None
    packet_loss_pct: float | None = None
    bytes_received: int | None = None
    bytes_sent: int | None = None
    server_id: str | None = None
    server_name: str | None = None
    server_host: str | None = None
    server_country: str | None = None
    isp: str | None = None
    external_ip: str | None = None
    ip_family: int | None = None
    result_url: str | None = None
    message: str | None = None


class Engine(Protocol):
    """A measurement program."""

    def version_of(self, text: str) -> str | None:
        """The version in the output of `program --version`; None where it is another program under this name."""

    def commands(self, job: Job) -> list[Command]:
        """The command lines of one measurement, run one after the other. Raises EngineError for what it cannot do."""

    def parse(self, outputs: list[Output]) -> Result:
        """The measurement in the outputs. Raises EngineError with the reason where there is none."""


def server_host(server: str) -> str:
    """The host name or address in a server's URL, HOST:PORT or [IPV6]:PORT."""
    place = server.rsplit("://", maxsplit=1)[-1].split("/", maxsplit=1)[0]
    match = re.fullmatch(r"\[([^\]]+)\](?::\d+)?|([^:]+)(?::\d+)?", place)
    return (match[1] or match[2]) if match else place
