"""What is special in each probe."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
from worlds import OK, World, dns_answer, recorded, says

from speedtest_logger.errors import ProbeError
from speedtest_logger.probes import dns, http, irtt, ping, traceroute
from speedtest_logger.probes.catalogue import is_question
from speedtest_logger.probes.contract import Answer, Job


class Real:
    """The machine's own sockets."""

    def socket(self, family, kind, protocol=0):
        return socket.socket(family, kind, protocol)


@pytest.fixture
def served() -> Iterator[list[bytes]]:
    """What a web server on a port of its own, the last item, says to each connection, in turn."""
    said: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    client, _ = listening.accept()
                except OSError:
                    return
                with client, suppress(OSError):
                    client.recv(4096)
                    client.sendall(said.pop(0))  # who listens no more has heard enough

        threading.Thread(target=serve, daemon=True).start()
        said.append(str(listening.getsockname()[1]).encode())
        yield said
        listening.shutdown(socket.SHUT_RDWR)


def ask(served: list[bytes], *says: bytes, scheme: str = "http", path: str = "/a?b=1") -> Answer:
    """The http probe's answer of a server that says so."""
    port = int(served.pop())
    served += [each.replace(b"PORT", str(port).encode()) for each in says]
    return http.PROBE.run(Job(f"{scheme}://127.0.0.1:{port}{path}"), Real())


def test_http_reads_the_headers_of_a_real_server_and_no_more(served):
    found = ask(served, OK + b"x" * 1_000_000)
    assert (found.sent, len(found.times_ms), found.ip_family) == (1, 1, 4)


def test_http_follows_three_redirections_and_no_fourth(served):
    there = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:PORT/next\r\n\r\n"
    assert not ask(served, there, there, there, OK).failed


def test_http_gives_up_a_circle(served):
    there = b"HTTP/1.1 302 Found\r\nLocation: /again\r\n\r\n"
    found = ask(served, there, there, there, there, OK)
    assert (found.failed, found.reason) == (True, "bad_answer")
    assert served == [OK]


@pytest.mark.parametrize("location", [b"ftp://127.0.0.1/", b"file:///etc/passwd", b"http://127.0.0.1:99999/"])
def test_http_is_led_nowhere_else(served, location):
    found = ask(served, b"HTTP/1.1 302 Found\r\nLocation: " + location + b"\r\n\r\n")
    assert (found.failed, found.reason) == (True, "bad_answer")


def test_https_to_what_has_no_certificate_fails(served):
    assert ask(served, OK, scheme="https").reason == "tls_failed"


def test_ping_needs_a_group_that_may():
    class Forbidden(World):
        def socket(self, *_):
            raise PermissionError(13, "Permission denied")

    with pytest.raises(ProbeError, match="ping_group_range"):
        ping.PROBE.run(Job("192.0.2.1"), Forbidden())


def test_a_real_ping_of_this_machine_by_root_needs_no_group():
    found = ping.PROBE.run(Job("127.0.0.1"), Real())
    assert (found.sent, len(found.times_ms), found.reason) == (3, 3, None)


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_RAW])
def test_the_header_of_a_raw_socket_is_passed_over(kind):
    packet = b"\x46" + bytes(23) + b"icmp" if kind == socket.SOCK_RAW else b"icmp"
    assert ping.without_header(packet, socket.AF_INET, kind) == b"icmp"
    assert ping.without_header(b"icmp", socket.AF_INET6, kind) == b"icmp"


def test_the_checksum_is_that_of_rfc_1071():
    packet = ping.with_checksum(bytes([8, 0, 0, 0, 0, 1, 0, 2]) + b"\xff\xff\x12\x34")
    assert sum(int.from_bytes(packet[at : at + 2], "big") for at in range(0, len(packet), 2)) % 0xFFFF == 0
    assert packet[2:4] != b"\0\0"


def test_dns_asks_the_system_s_servers_until_one_answers(monkeypatch, tmp_path):
    conf = tmp_path / "resolv.conf"
    conf.write_text("search lan\nnameserver 192.0.2.1\nnameserver 192.0.2.2\n")
    monkeypatch.setattr(dns, "RESOLV_CONF", conf)
    worlds = iter([says(), dns_answer(0)])

    class Two(World):
        def socket(self, *asked):
            self.answers = next(worlds)
            return super().socket(*asked)

    found = dns.PROBE.run(Job("example.org"), Two())
    assert (found.sent, len(found.times_ms), found.reason) == (2, 1, "no_answer")


def test_a_system_without_name_servers_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(dns, "RESOLV_CONF", tmp_path / "none")
    with pytest.raises(ProbeError, match="no name server"):
        dns.PROBE.run(Job("example.org"), World(says()))


def test_a_truncated_answer_is_an_answer():
    assert not dns.PROBE.run(Job("example.org@192.0.2.53"), World(dns_answer(0, flags=0x8380))).failed


@pytest.mark.parametrize(
    ("server", "parts"),
    [
        ("192.0.2.1", ("192.0.2.1", 53)),
        ("192.0.2.1:54", ("192.0.2.1", 54)),
        ("2001:db8::1", ("2001:db8::1", 53)),
        ("[2001:db8::1]:54", ("2001:db8::1", 54)),
    ],
)
def test_servers_of_questions(server, parts):
    assert dns.split(server) == parts
    assert is_question(f"example.org@{server}")


@pytest.mark.parametrize("text", ["192.0.2.1", "example.org@ns.example.org", "example.org@", "@192.0.2.1"])
def test_what_is_no_question(text):
    assert not is_question(text)


def test_the_question_is_that_of_rfc_1035():
    assert dns.question("a.bc.", dns.A) == b"\x01a\x02bc\x00\x00\x01\x00\x01"


@pytest.mark.parametrize("name", ["a..b", "x" * 64, ".".join(["abc"] * 70), "ä.de"])
def test_names_that_cannot_be_asked(name):
    with pytest.raises(ProbeError):
        dns.question(name, dns.A)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("dead", "no_answer"), ("refused", "refused"), ("no_name", "dns_failed"), ("no_route", "no_route")],
)
def test_what_irtt_says(name, reason):
    with pytest.raises(ProbeError) as caught:
        irtt.parse(recorded(f"irtt_{name}").ended)
    assert caught.value.reason == reason


def test_the_way_is_told_hop_by_hop():
    good = traceroute.parse(recorded("traceroute_good").ended, "10.99.2.2")
    words = good.path.split()
    assert (words[0], words[2], len(words)) == ("10.99.1.2", "10.99.2.2", 4)
    dead = traceroute.parse(recorded("traceroute_dead").ended, "8.8.8.8")
    assert (dead.failed, dead.reason, dead.path.split()[0], dead.path.split()[-1]) == (
        True,
        "no_answer",
        "10.99.1.2",
        "*",
    )


def test_a_long_way_is_cut_to_what_a_column_takes():
    hops = [("2001:db8:1111:2222:3333:4444:5555:6666", 123.45)] * 25
    assert 900 < len(traceroute.in_words(hops)) <= 1000
