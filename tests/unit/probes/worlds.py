"""A world for each probe in which its target answers well, loses requests, is dead, or says nonsense."""

from __future__ import annotations

import hashlib
import socket
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from builders import ROOT

from speedtest_logger.errors import ProbeError

RECORDED = ROOT / "tests/fixtures/probes"
GARBAGE = (
    b"",
    b"\0" * 64,
    b"{",
    b"[" * 100_000,
    b'{"round_trips": [{"lost": "false", "delay": {"rtt": -5}}], "config": {"ip_version": []}}',
    b'{"round_trips": [{"lost": "false", "delay": {"rtt": "x"}}], "config": {"ip_version": "IPv4"}}',
    b'{"report": {"hubs": [{"host": "evil name", "Avg": 1}]}}',
    b'{"report": {"hubs": [{"host": "192.0.2.1", "Avg": NaN}]}}',
    b"HTTP/1.1 abc\r\n\r\n",
    b"HTTP/1.1 \xd9\xa1\xd9\xa2\xd9\xa3 OK\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.2\r\n",
    *(hashlib.shake_128(b"garbage").digest(size) for size in (1, 8, 12, 40, 512, 4096)),
)


@dataclass(frozen=True)
class Ended:
    """What a program left behind."""

    stdout: bytes
    stderr: bytes = b""
    returncode: int = 0


class FakeSocket:
    """A socket whose peer gives, to each packet, what `answers` makes of it: packets, or an error."""

    def __init__(self, answers: Callable[[bytes], Iterable[bytes | OSError]]) -> None:
        self.answers, self.waiting, self.type = answers, list[bytes | OSError](), socket.SOCK_DGRAM

    def close(self) -> None:
        """Nothing is left behind."""

    def connect(self, there: Any) -> None:
        """Nobody is looked for."""

    def settimeout(self, seconds: float) -> None:
        """Nobody waits, and nobody may ask to wait for ever."""
        assert 0 < seconds <= 10

    def send(self, packet: bytes) -> int:
        """The peer answers at once."""
        self.waiting += self.answers(packet)
        return len(packet)

    sendall = send

    def recv(self, most: int) -> bytes:
        """The next packet; without one the time is over."""
        if not self.waiting:
            raise TimeoutError("timed out")
        got = self.waiting.pop(0)
        if isinstance(got, OSError):
            raise got
        return got[:most]


@dataclass
class World:
    """See contract.Means."""

    answers: Callable[[bytes], Iterable[bytes | OSError]] | None = None
    ended: Ended | None = None

    def run(self, argv: Sequence[str], seconds: float) -> Ended:
        """What the program leaves behind; it is missing where the world has none."""
        assert 0 < seconds <= 10
        if self.ended is None:
            raise ProbeError("program_missing", f"{argv[0]}: No such file or directory")
        return self.ended

    def socket(self, *_: int) -> socket.socket:
        """One whose peer is of this world."""
        assert self.answers, "this probe has a program"
        return FakeSocket(self.answers)  # type: ignore[return-value]  # as far as probes go


def recorded(name: str) -> World:
    """What a real program left behind."""
    files = [RECORDED / f"{name}.{end}" for end in ("out", "err")]
    stdout, stderr = (file.read_bytes() for file in files)
    return World(ended=Ended(stdout, stderr, 1 if stderr else 0))


def echo(packet: bytes) -> list[bytes | OSError]:
    """An answer to an echo request, and before it one to somebody else's."""
    reply = b"\0" if packet[0] == 8 else b"\x81"
    return [reply + packet[1:6] + b"\xff\xff" + packet[8:], reply + packet[1:]]


def every_third_lost() -> Callable[[bytes], list[bytes | OSError]]:
    """Echoes but the second of three."""
    return lambda packet: [] if packet[6:8] == b"\0\x01" else echo(packet)


def dns_answer(code: int, flags: int = 0x8180) -> Callable[[bytes], list[bytes | OSError]]:
    """An answer with a code; before it come others' answers: another id, another question."""

    def answers(packet: bytes) -> list[bytes | OSError]:
        number, asked = packet[:2], packet[12:]
        head = struct.pack("!5H", flags | code, 1, 0, 0, 0)
        other = bytes([asked[0]]) + b"x" * asked[0] + asked[1 + asked[0] :]
        return [bytes([number[0] ^ 1, number[1]]) + head + asked, number + head + other, number + head + asked]

    return answers


def says(*packets: bytes | OSError) -> Callable[[bytes], list[bytes | OSError]]:
    """The same to whatever is asked."""
    return lambda _: list(packets)


REFUSED = says(ConnectionRefusedError(111, "Connection refused"))
SILENT = says()
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes"
# What a probe meets where all is well, where some requests are lost, and where nobody answers; a target of each.
TARGETS = {
    "ping": "192.0.2.1",
    "dns": "example.org@192.0.2.53",
    "http": "http://192.0.2.80/",
    "irtt": "10.99.1.2",
    "traceroute": "10.99.2.2",
}
GOOD = {
    "ping": World(echo),
    "dns": World(dns_answer(0)),
    "http": World(says(OK[:20], OK[20:])),
    "irtt": recorded("irtt_good"),
    "traceroute": recorded("traceroute_good"),
}
LOSS = {"ping": World(every_third_lost()), "irtt": recorded("irtt_loss")}
DEAD = {
    "ping": [World(SILENT), World(REFUSED), World(says(OSError(113, "No route to host")))],
    "dns": [World(SILENT), World(REFUSED), World(dns_answer(3)), World(dns_answer(2))],
    "http": [World(SILENT), World(REFUSED), World(says(b"HTTP/1.1 503 Busy\r\n\r\n"))],
    "irtt": [recorded(f"irtt_{name}") for name in ("dead", "refused", "no_name", "no_route")],
    "traceroute": [recorded(f"traceroute_{name}") for name in ("dead", "no_name", "unreachable", "no_route")],
}
