"""dns: one question (RFC 1035) over UDP. Any answer of the server to this very question counts, a cut off one too.

The server is asked, not the system's resolver, which has a cache and waits for as long as it likes. Where the target
names none, those of resolv.conf are asked in their order until one answers; each question without an answer is lost.
"""

from __future__ import annotations

import secrets
import socket
import struct
import time
from contextlib import closing
from pathlib import Path

from speedtest_logger.errors import ProbeError
from speedtest_logger.probes.contract import Answer, Job, Means, reason_of, resolve, said, version_of

RESOLV_CONF = Path("/etc/resolv.conf")
PORT = 53
WAIT_SECONDS = 1.5  # for each server
MOST_SERVERS = 3  # of resolv.conf (resolv.conf(5))
TYPES = {socket.AF_INET6: 28}  # AAAA; A where nothing else is asked for
A, IN = 1, 1
RECURSE, RESPONSE = 0x0100, 0x8000
NO_ERROR, NO_SUCH_NAME = 0, 3
CODES = {1: "FORMERR", 2: "SERVFAIL", 4: "NOTIMP", 5: "REFUSED"}


class Dns:
    """See contract.Probe."""

    def run(self, job: Job, means: Means) -> Answer:
        """Ask servers until one answers."""
        name, _, server = job.target.partition("@")
        answer = Answer(0)
        asked = question(name, TYPES.get(socket.AddressFamily(job.family), A))
        for each in [server] if server else name_servers():
            _ask(each, asked, answer, means)
            if answer.times_ms or answer.reason in ("dns_failed", "bad_answer"):
                break
        return answer


def name_servers() -> list[str]:
    """The system's. Raises ProbeError where it has none."""
    try:
        lines = RESOLV_CONF.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    words = [line.split() for line in lines]
    if found := [each[1] for each in words if len(each) > 1 and each[0] == "nameserver"][:MOST_SERVERS]:
        return found
    raise ProbeError("dns_failed", f"{RESOLV_CONF} names no name server")


def question(name: str, kind: int) -> bytes:
    """The question section: a name, a type, the class Internet. Raises ProbeError for a name that cannot be asked."""
    try:
        labels = [label.encode("ascii") for label in name.rstrip(".").split(".")]
    except UnicodeEncodeError as error:
        raise ProbeError("dns_failed", f"{said(name)} is no name for a name server") from error
    if any(not 0 < len(label) < 64 for label in labels) or sum(len(label) + 1 for label in labels) > 254:
        raise ProbeError("dns_failed", f"{said(name)} is no name for a name server")
    return b"".join(bytes([len(label)]) + label for label in labels) + struct.pack("!BHH", 0, kind, IN)


def _ask(server: str, asked: bytes, answer: Answer, means: Means) -> None:
    host, port = split(server)
    family, there = resolve(host, socket.AF_UNSPEC, port)
    answer.ip_family = version_of(family)
    answer.sent += 1
    number = secrets.randbelow(0x10000)
    try:
        with closing(means.socket(family, socket.SOCK_DGRAM)) as udp:
            udp.connect(there)  # from a port that the kernel takes at random; others than the server are not heard
            began = time.monotonic()
            udp.send(struct.pack("!6H", number, RECURSE, 1, 0, 0, 0) + asked)
            while (left := began + WAIT_SECONDS - time.monotonic()) > 0:
                udp.settimeout(left)
                code = _code(udp.recv(4096), number, asked)
                if code is not None:
                    _judge(code, (time.monotonic() - began) * 1000, server, answer)
                    return
    except TimeoutError:
        pass
    except OSError as error:
        answer.reason, answer.message = reason_of(error), said(f"{server}: {error.strerror or error}")
        return
    answer.reason, answer.message = "no_answer", f"{server} did not answer within {WAIT_SECONDS:g} s"


def split(server: str) -> tuple[str, int]:
    """Address and port of ADDRESS, ADDRESS:PORT or [IPV6]:PORT."""
    host, colon, port = server.rpartition(":")
    if not colon or (":" in host.strip("[]") and not host.endswith("]")):
        return server.strip("[]"), PORT
    return host.strip("[]"), int(port)


def _code(packet: bytes, number: int, asked: bytes) -> int | None:
    """The answer's code; None for what is no answer to this question."""
    if len(packet) < 12 + len(asked):
        return None
    seen, flags, questions = struct.unpack("!3H", packet[:6])
    same = packet[12 : 12 + len(asked)].lower() == asked.lower()
    return flags & 0xF if seen == number and flags & RESPONSE and questions == 1 and same else None


def _judge(code: int, time_ms: float, server: str, answer: Answer) -> None:
    if code == NO_ERROR:
        answer.times_ms.append(time_ms)
    elif code == NO_SUCH_NAME:
        answer.reason, answer.message = "dns_failed", f"{server} says that there is no such name"
    else:
        answer.reason, answer.message = "bad_answer", f"{server} says {CODES.get(code, f'code {code}')}"


PROBE = Dns()
