"""ping: three echo requests (RFC 792, RFC 4443) from a datagram socket, which needs no privilege (icmp(7)).

The kernel lets groups within net.ipv4.ping_group_range open such a socket, and gives it its own answers only. Where
this group is none of them, a raw socket does, for a process that has CAP_NET_RAW, as a unit may. Debian's fping (5.1)
hears no answer on a datagram socket, so that a container, which can have no capability, could not use it.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from contextlib import closing, suppress

from speedtest_logger.errors import ProbeError
from speedtest_logger.probes.contract import Answer, Job, Means, reason_of, resolve, said, version_of

REQUESTS = 3
PAUSE_SECONDS = 0.2  # between an answer and the next request
WAIT_SECONDS = 1.0  # for each answer
PADDING = bytes(40)
ECHO = {socket.AF_INET: (8, 0, socket.IPPROTO_ICMP), socket.AF_INET6: (128, 129, socket.IPPROTO_ICMPV6)}


class Ping:
    """See contract.Probe."""

    def run(self, job: Job, means: Means) -> Answer:
        """Three requests, one after the other."""
        family, there = resolve(job.target, job.family)
        answer = Answer(0, ip_family=version_of(family))
        try:
            with closing(opened(family, means)) as icmp:
                icmp.connect(there)
                for number in range(REQUESTS):
                    if number:
                        time.sleep(PAUSE_SECONDS)
                    _ask(icmp, family, number, answer)
        except OSError as error:
            answer.sent = max(1, answer.sent)
            answer.reason, answer.message = reason_of(error), said(error.strerror or error)
        return answer


def opened(family: int, means: Means) -> socket.socket:
    """A socket for echo requests. Raises ProbeError where this process may have none, OSError for other failures."""
    for kind in (socket.SOCK_DGRAM, socket.SOCK_RAW):
        with suppress(PermissionError):
            return means.socket(family, kind, ECHO[socket.AddressFamily(family)][2])
    words = (
        "this process may not send echo requests: it has no CAP_NET_RAW, its group is not in net.ipv4.ping_group_range"
    )
    raise ProbeError("program_failed", words)


def _ask(icmp: socket.socket, family: int, number: int, answer: Answer) -> None:
    request, reply, _ = ECHO[socket.AddressFamily(family)]
    token = os.urandom(8)
    body = struct.pack("!BBHHH", request, 0, 0, 0, number) + token + PADDING
    answer.sent += 1
    began = time.monotonic()
    try:
        icmp.send(body if family == socket.AF_INET6 else with_checksum(body))
        while (left := began + WAIT_SECONDS - time.monotonic()) > 0:
            icmp.settimeout(left)
            got = without_header(icmp.recv(2048), family, icmp.type)
            if len(got) >= 16 and got[0] == reply and got[6:16] == struct.pack("!H", number) + token:
                answer.times_ms.append((time.monotonic() - began) * 1000)
                return
    except TimeoutError:
        pass
    except OSError as error:  # as unreachable, of this request
        answer.reason, answer.message = reason_of(error), said(error.strerror or error)
        return
    answer.reason, answer.message = "no_answer", f"no answer within {WAIT_SECONDS:g} s"


def without_header(packet: bytes, family: int, kind: int) -> bytes:
    """The ICMP packet: on a raw socket that of IPv4 comes with the header of IP."""
    if family == socket.AF_INET and kind == socket.SOCK_RAW and packet:
        return packet[4 * (packet[0] & 0xF) :]
    return packet


def with_checksum(packet: bytes) -> bytes:
    """An ICMP packet with its checksum (RFC 1071); the kernel makes it anew where it gives the id."""
    total = sum(struct.unpack(f"!{len(packet) // 2}H", packet))
    total = (total & 0xFFFF) + (total >> 16)
    return packet[:2] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + packet[4:]


PROBE = Ping()
