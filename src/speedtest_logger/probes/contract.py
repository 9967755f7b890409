"""What every probe gets and gives."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from speedtest_logger.errors import ProbeError
from speedtest_logger.text import printable

MOST_MESSAGE = 500  # characters
NO_ROUTE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL, errno.ENODEV)


@dataclass(frozen=True)
class Job:
    """One run against one target, which the inventory names, or an address in its place; it may take so long (s)."""

    target: str
    seconds: float = 4.0
    source_address: str | None = None
    ip_family: str = "auto"

    @property
    def family(self) -> int:
        """The socket family to ask for."""
        return {"4": socket.AF_INET, "6": socket.AF_INET6}.get(self.ip_family, socket.AF_UNSPEC)


@dataclass
class Answer:
    """What one run found: requests, the round trips (ms) of those that were answered well, and why others were not."""

    sent: int
    times_ms: list[float] = field(default_factory=list)
    ip_family: int | None = None
    reason: str | None = None
    message: str | None = None
    path: str | None = None

    @property
    def failed(self) -> bool:
        """Whether no request at all was answered well."""
        return self.sent > 0 and not self.times_ms


class Output(Protocol):
    """What a program left behind."""

    @property
    def returncode(self) -> int:
        """Its exit code."""

    @property
    def stdout(self) -> bytes:
        """What it wrote."""

    @property
    def stderr(self) -> bytes:
        """What it complained of."""


class Means(Protocol):
    """How a probe reaches the world: through the node's line, or, in a test, through what a test has made."""

    def run(self, argv: Sequence[str], seconds: float) -> Output:
        """Run a program. Raises ProbeError: program_missing, program_failed where it does not end in time."""

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A socket that takes the node's line. Raises OSError."""


class Probe(Protocol):
    """Something that can be asked of a target every minute."""

    def run(self, job: Job, means: Means) -> Answer:
        """Ask. What a network, a target or a program may do is an answer or a ProbeError, never anything else."""


def resolve(host: str, family: int, port: int = 0) -> tuple[int, tuple[str, int]]:
    """The first address of a host: its family and what to connect to. Raises ProbeError (dns_failed)."""
    try:
        found = socket.getaddrinfo(host, port, family, socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:
        raise ProbeError("dns_failed", f"{host}: {getattr(error, 'strerror', None) or error}") from error
    return int(found[0][0]), found[0][4]  # type: ignore[return-value]  # of these families


def version_of(family: int) -> int:
    """4 or 6, of a socket family."""
    return 6 if family == socket.AF_INET6 else 4


def reason_of(error: OSError) -> str:
    """What an error of a socket means, of probe_result.REASONS."""
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if error.errno in NO_ROUTE:
        return "no_route"
    return "bad_answer" if isinstance(error, ConnectionResetError) else "no_answer"


def said(text: object) -> str:
    """Words from outside, on one line and not too many."""
    return printable(" ".join(str(text).split()))[:MOST_MESSAGE]
