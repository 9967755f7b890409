"""Many clients, and slow ones: who asks is answered, and what others hold is given back."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
import uvicorn
from builders import fresh, put, slot
from starlette.responses import PlainTextResponse, Response

from speedtest_logger.dashboard import bounds
from speedtest_logger.dashboard.bounds import Bounded, Server

WAITING = 120.0  # s: how long is waited for what has to happen
REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
LARGE = 30_000_000


def until(holds, what):
    end = time.monotonic() + WAITING
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.02)


@pytest.fixture
def small(monkeypatch):
    """A server with small bounds; what it answers is short, large, or never comes."""
    monkeypatch.setattr(bounds, "CONNECTIONS", 8)
    monkeypatch.setattr(bounds, "HEADER_SECONDS", 0.3)
    monkeypatch.setattr(bounds, "TAKING_SECONDS", 0.5)
    monkeypatch.setattr(bounds, "SWEEP_TICKS", 1)

    async def app(scope, receive, send):
        if scope["path"] == "/large":
            await Response(b"x" * LARGE)(scope, receive, send)
            return
        if scope["path"] == "/never":
            await asyncio.sleep(60)
        await PlainTextResponse("here")(scope, receive, send)

    with socket.create_server(("127.0.0.1", 0), backlog=100) as listening:
        server = Server(uvicorn.Config(app, log_config=None, lifespan="off", http=Bounded, timeout_graceful_shutdown=1))
        server.address = listening.getsockname()
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        until(lambda: server.started, "it starts")
        yield server
        server.should_exit = True
        thread.join(WAITING)


def connected(server, *, receives=None):
    made = socket.socket()
    if receives:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives)
    made.settimeout(WAITING)
    made.connect(server.address)
    return made


def is_ended(client):
    """Whether the server has ended a connection, what it said on it aside."""
    try:
        while client.recv(65_536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def answer_to(client):
    """What a connection that goes on answers to a short request."""
    client.sendall(REQUEST)
    said = b""
    while not said.endswith(b"here"):
        more = client.recv(1_000)
        assert more, said
        said += more
    return said


def waiting(server):
    """How many bytes wait to be taken."""
    return sum(each.transport.get_write_buffer_size() for each in list(server.server_state.connections))


def ask(server):
    with connected(server) as client:
        return answer_to(client)


@pytest.mark.parametrize("sent", [b"", b"GET / HT", REQUEST[:-2]])
def test_a_request_that_does_not_come_is_not_waited_for(small, sent):
    with connected(small) as client:
        client.sendall(sent)
        assert is_ended(client)
    assert not small.server_state.connections


def test_letter_by_letter_is_too_slow(small):
    with connected(small) as client:
        with suppress(OSError):
            for letter in b"GET /" + b"x" * 2_000:
                client.sendall(bytes([letter]))
                time.sleep(0.01)
        assert is_ended(client)


def test_a_second_request_has_its_own_time(small, monkeypatch):
    monkeypatch.setattr(bounds, "HEADER_SECONDS", 1.0)
    with connected(small) as client:
        for _ in range(2):
            answer_to(client)
            time.sleep(1.3)  # between two requests a connection may rest for longer
        client.sendall(b"GET /")
        assert is_ended(client)


def test_an_answer_that_nobody_takes_is_given_up(small, monkeypatch):
    monkeypatch.setattr(bounds, "HEADER_SECONDS", 600.0)
    monkeypatch.setattr(bounds, "TAKING_SECONDS", 600.0)
    with connected(small, receives=4_096) as client:
        client.sendall(b"GET /large HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        until(
            lambda: any(each.transport.get_write_buffer_size() for each in small.server_state.connections), "it waits"
        )
        monkeypatch.setattr(bounds, "TAKING_SECONDS", 0.5)
        until(lambda: not small.server_state.connections, "it is ended")
        monkeypatch.setattr(bounds, "TAKING_SECONDS", 600.0)
        ask(small)


def test_answers_that_wait_have_a_bound_together(small, monkeypatch):
    monkeypatch.setattr(bounds, "HEADER_SECONDS", 600.0)
    monkeypatch.setattr(bounds, "TAKING_SECONDS", 600.0)
    monkeypatch.setattr(bounds, "MOST_BUFFERED", LARGE * 2)
    clients = [connected(small, receives=4_096) for _ in range(4)]
    for client in clients:
        client.sendall(b"GET /large HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    until(lambda: 0 < len(small.server_state.connections) < 4 and waiting(small) <= LARGE * 2, "the bound is kept")
    ask(small)
    for client in clients:
        client.close()


def test_who_asks_is_answered_while_others_only_hold_connections(small, monkeypatch):
    monkeypatch.setattr(bounds, "HEADER_SECONDS", 600.0)
    idle = [connected(small) for _ in range(30)]
    for _ in range(5):
        ask(small)
    assert len(small.server_state.connections) <= 8
    busy = [connected(small) for _ in range(8)]
    for client in busy:
        client.sendall(b"GET /never HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    until(lambda: sum(each.is_asked for each in small.server_state.connections) == 8, "all are busy")
    assert len(small.server_state.connections) == 8  # where each has a request, the new one goes
    for client in (*idle, *busy):
        client.close()
    until(lambda: not small.server_state.connections, "all is given back")
    ask(small)


SIEGE = 2_400  # sockets
PROGRAM = """
import sys
from speedtest_logger.dashboard import bounds
from speedtest_logger.dashboard.cli import main
bounds.HEADER_SECONDS = 600.0  # so that they stay as long as the test looks
sys.exit(main(["serve", "--port", "0"]))
"""


@pytest.fixture
def running(tmp_path_factory):
    """A dashboard of its own process over an archive, its address and its process."""
    layout = fresh(tmp_path_factory)
    now = int(time.time()) // 600 * 600
    put(layout, *(slot("attic", now - 600 * n) for n in range(1, 30)))
    own = tmp_path_factory.mktemp("own")
    variables = {"SPEEDTEST_ARCHIVE_DIR": str(layout.root), "SPEEDTEST_DASHBOARD_DIR": str(own)}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], env={**os.environ, **variables}, stdout=subprocess.PIPE, text=True
    )
    said = process.stdout.readline()
    port = int(re.search(r":(\d+)/", said)[1])
    yield ("127.0.0.1", port), process
    process.send_signal(signal.SIGTERM)
    assert process.wait(WAITING) == 0
    process.stdout.close()


def descriptors(process):
    return len(os.listdir(f"/proc/{process.pid}/fd"))


def memory(process):
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
    return int(found[1]) * 1024


async def besiege(address, look):
    """Sockets that are idle, that send half a header, half a body, or a handshake and then nothing."""
    beginnings = [
        b"", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-", b"POST /login HTTP/1.1\r\nContent-Length: 900\r\n"
        b"Content-Type: application/x-www-form-urlencoded\r\nHost: 127.0.0.1\r\n\r\nname=",
        b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    ]  # fmt: skip
    held = []

    async def one(number):
        with suppress(OSError):
            _, writer = await asyncio.open_connection(*address)
            held.append(writer)
            writer.write(beginnings[number % len(beginnings)])
            await writer.drain()

    for first in range(0, SIEGE, 200):
        await asyncio.gather(*(one(number) for number in range(first, first + 200)))
    try:
        await asyncio.to_thread(look)
    finally:
        for writer in held:
            writer.transport.abort()


def test_a_dashboard_under_siege_goes_on(running):
    address, process = running
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, SIEGE + 500)), hard))

    def get(path):
        with socket.create_connection(address, timeout=60) as client:
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
            return b"".join(iter(lambda: client.recv(65_536), b""))

    def look():
        for path in ("/", "/health", "/line/home", "/api/v1/records?range=7d"):
            assert get(path).startswith(b"HTTP/1.1 200"), path
        assert descriptors(process) <= bounds.CONNECTIONS + bounds.OTHER_FILES
        assert memory(process) < 700_000_000

    try:
        until(lambda: get("/").startswith(b"HTTP/1.1 200"), "its rollups are made")
        before = descriptors(process)
        asyncio.run(besiege(address, look))
        assert process.poll() is None
        until(lambda: descriptors(process) <= before + 20, "descriptors are given back")
        look()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
