"""Deliveries over https: a real node's push, a real Caddy as the role has it, the real service; and attacks on them."""

from __future__ import annotations

import gzip
import json
import re
import socket
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from builders import ROOT
from front import NAME, Receiver, wait

from speedtest_logger.archive import open_archive
from speedtest_logger.archive.write import ingest
from speedtest_logger.errors import DeliveryError
from speedtest_logger.log import Log
from speedtest_logger.node import config, doctor, push
from speedtest_logger.node.spool import Spool
from speedtest_logger.record import Record, utc_text

KILLER = ROOT / "tests/killer.py"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    made = Receiver(tmp_path_factory.mktemp("https"))
    made.know("attic", "porch", "mallory")
    (made.layout.fleet / "limits.env").write_text("SPEEDTEST_LIMIT_FREE_MB=1\nSPEEDTEST_LIMIT_LOW_DISK_MB=1\n")
    try:
        made.start()
        made.start_front()
        yield made
    finally:
        made.stop()


@pytest.fixture
def node(served, tmp_path):
    """A node's settings; its name is its token's."""

    def settings(name="attic", token=None, **changes):
        file = tmp_path / f"token-{name}"
        file.write_text(f"{token or served.tokens[name]}\n")
        plain = {
            "SPEEDTEST_NODE": name,
            "SPEEDTEST_TRANSPORT": "https",
            "SPEEDTEST_ARCHIVE_HOST": NAME,
            "SPEEDTEST_ARCHIVE_PORT": str(served.port),
            "SPEEDTEST_TOKEN_FILE": str(file),
            "SPEEDTEST_CA_FILE": str(served.root),
            "SPEEDTEST_STATE_DIR": str(tmp_path / name),
        }
        made = replace(config.load(plain), **changes)
        Spool(made.state_dir).prepare()
        return made

    return settings


def record(node="attic", age=100.0):
    now = time.time() - age
    return Record(
        run_id=str(uuid.uuid4()), node=node, location="home", started_at=utc_text(now), finished_at=utc_text(now + 10),
        status="ok", download_bps=1e8, upload_bps=5e7,
    )  # fmt: skip


def lines(*records):
    return b"".join(json.dumps(each.to_row()).encode() + b"\n" for each in records)


def ask(served, token, body, *headers, head=None, seconds=60, length=None):
    """Status and answer to a request that is sent as it is."""
    plain = [
        "POST /deliver HTTP/1.1",
        f"Host: {NAME}:{served.port}",
        f"Authorization: Bearer {token}",
        f"Content-Length: {len(body) if length is None else length}",
        "Connection: close",
        *headers,
    ]
    text = "\r\n".join(head or plain) + "\r\n\r\n"
    with served.connected(seconds) as stream:
        with suppress(OSError):  # it has said already what it thinks
            stream.sendall(text.encode("latin-1") + body)
        return answered(stream)


def answered(stream):
    heard = b""
    with suppress(ConnectionResetError):
        while chunk := stream.recv(65_536):
            heard += chunk
    head, _, content = heard.partition(b"\r\n\r\n")
    status = int(head.split()[1]) if head else 0
    try:
        return status, json.loads(content)
    except ValueError:
        return status, content


def head(served, node, length):
    """What a request of a node says before its body."""
    token = f"Host: {NAME}:{served.port}\r\nAuthorization: Bearer {served.tokens[node]}"
    return f"POST /deliver HTTP/1.1\r\n{token}\r\nContent-Length: {length}\r\n\r\n".encode()


def most_memory(pid):
    """The most bytes that a process has ever had in memory."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) * 1024


def archived(served):
    ingest.ingest(served.layout)
    found = open_archive(served.layout.root).query("SELECT run_id, count(*) AS n FROM records GROUP BY 1").to_pylist()
    return {row["run_id"]: row["n"] for row in found}


def test_a_push_delivers_and_releases_what_is_receipted(served, node):
    here = node()
    spool, kept = Spool(here.state_dir), [record(age=100 + n) for n in range(5)]
    for each in kept:
        spool.write(each)
    assert push.push(here, Log(None)).accepted == 5
    assert not spool.waiting()
    assert {each.run_id for each in kept} <= archived(served).keys()
    assert "answers node 'attic': receipt " in push.hello(here, Log(None))
    assert doctor.archive(here).passed
    assert doctor.key(here).passed


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"archive_host": "no-such-name.invalid"}, "the name no-such-name.invalid cannot be resolved"),
        ({"archive_port": 1}, "nothing listens on localhost port 1"),
        ({"archive_host": "127.0.0.1"}, "127.0.0.1 port"),
        ({"ca_file": None}, "its certificate is not trusted by the system's certificates"),
        ({"ca_file": Path("/dev/null")}, "cannot be read"),
        ({"token_file": Path("/nowhere")}, "this node's token /nowhere cannot be read"),
        ({"node": "porch"}, "the archive knows this key as node 'attic', not 'porch'"),
    ],
)
def test_what_is_wrong_is_said_in_plain_words(served, node, changes, words, monkeypatch):
    monkeypatch.setattr(push, "FIRST_WAIT_SECONDS", 0)
    with pytest.raises(DeliveryError, match=words):
        push.hello(replace(node(), **changes), Log(None))


def test_a_token_that_is_revoked_or_nobody_s_delivers_nothing(served, node, monkeypatch):
    monkeypatch.setattr(push, "FIRST_WAIT_SECONDS", 0)
    here = node("porch")
    assert "receipt" in push.hello(here, Log(None))
    served.know("attic", "mallory")
    with pytest.raises(DeliveryError, match="does not know this node's token"):
        push.hello(here, Log(None))
    for token in ("0" * 64, "", "a b", "\x80" * 64, "x" * 5_000):
        status, _ = ask(served, token, lines(record("porch")))
        assert status in (400, 401), token
    served.know("attic", "porch", "mallory")


def test_a_node_speaks_for_itself_only_and_nothing_comes_twice(served):
    own, other = record("mallory"), record("attic")
    status, answer = ask(served, served.tokens["mallory"], lines(own, other))
    assert (status, answer["accepted"]) == (200, [own.run_id])
    assert answer["rejected"][other.run_id].startswith("other_node")
    for _ in range(3):
        assert ask(served, served.tokens["mallory"], lines(own))[1]["accepted"] == [own.run_id]
    found = archived(served)
    assert found[own.run_id] == 1
    assert other.run_id not in found


@pytest.mark.parametrize(
    ("body", "headers", "status", "reason"),
    [
        (b"x" * 40_000, (), 422, "line_too_long"),
        (gzip.compress(b"0" * 50_000_000), ("Content-Encoding: gzip",), 422, "line_too_long"),
        (gzip.compress(b"\n" * 50_000_000), ("Content-Encoding: gzip",), 422, "too_many_rows"),
        (
            gzip.compress(b"\n" * 5_000) + gzip.compress(b"0" * 50_000_000),
            ("Content-Encoding: gzip",),
            422,
            "line_too_long",
        ),
        (b"no gzip at all", ("Content-Encoding: gzip",), 422, "bad_gzip"),
        (gzip.compress(b"{}\n")[:-4], ("Content-Encoding: gzip",), 422, "bad_gzip"),
        (b"x", ("Content-Encoding: zstd",), 415, "bad_request"),
    ],
    ids=[
        "long line",
        "long line, packed",
        "many lines, packed",
        "two parts",
        "not packed",
        "half of it",
        "packed otherwise",
    ],
)
def test_bodies_that_mean_harm_cost_little(served, body, headers, status, reason):
    before = most_memory(served.service.pid)
    seen, answer = ask(served, served.tokens["mallory"], body, *headers)
    assert (seen, answer["refused"]) == (status, reason)
    assert most_memory(served.service.pid) - before < 20_000_000  # of fifty million bytes it has unpacked few


def test_requests_that_two_sides_could_understand_differently_are_refused(served):
    token, good = served.tokens["mallory"], lines(record("mallory"))
    host, bearer = f"Host: {NAME}:{served.port}", f"Authorization: Bearer {token}"
    for said in (
        ["POST /deliver HTTP/1.1", host, bearer, "Content-Length: 5", f"Content-Length: {len(good)}"],
        ["POST /deliver HTTP/1.1", host, bearer, "Transfer-Encoding: chunked", f"Content-Length: {len(good)}"],
        ["POST /deliver HTTP/1.1", host, bearer, "Transfer-Encoding: xchunked"],
        ["POST /deliver HTTP/1.1", host, bearer, f"Content-Length: +{len(good)}"],
        ["POST /deliver HTTP/1.1", host, bearer, f"Content-Length : {len(good)}"],
        ["GET /deliver HTTP/1.1", host, bearer, f"Content-Length: {len(good)}"],
        ["POST /deliver/../deliver HTTP/1.1", host, bearer, f"Content-Length: {len(good)}"],
        ["POST /%2e%2e/deliver HTTP/1.1", host, bearer, f"Content-Length: {len(good)}"],
        ["POST /deliver HTTP/1.1", host, bearer, f"Content-Length: {len(good)}", f"X: {'y' * 2_000_000}"],
    ):
        status, _ = ask(served, token, good, head=[*said, "Connection: close"])
        assert status >= 400 or status == 0, said  # 0: the front has closed it
    # straight at the service, without a front that would have judged first
    for said in (
        b"POST /deliver HTTP/1.1\r\nAuthorization: Bearer %s\r\nContent-Length: 3\r\ncontent-length: 3\r\n\r\n{}\n",
        b"POST /deliver HTTP/1.1\r\nAuthorization: Bearer %s\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /deliver HTTP/1.1\nAuthorization: Bearer %s\nContent-Length: 3\n\n{}\n\r\n\r\n",
        b"POST /deliver HTTP/1.0\r\nAuthorization: Bearer %s\r\nContent-Length: 3\r\n\r\n{}\n",
        b"POST /deliver HTTP/1.1\r\nAuthorization: Bearer %s\r\n X: folded\r\nContent-Length: 3\r\n\r\n{}\n",
        b"\x16\x03\x01\x02\x00\r\n\r\n" + b"%s",
        b"POST /deliver HTTP/1.1\r\nX: " + b"y" * 20_000 + b"%s",
    ):
        with socket.socket(socket.AF_UNIX) as stream:
            stream.settimeout(60)
            stream.connect(str(served.socket))
            stream.sendall(said % token.encode())
            assert 400 <= answered(stream)[0] < 500, said


def half_a_body(served, node):
    """A connection with a delivery that the receiver waits for the rest of: one of a node at a time."""
    for _ in range(20):
        stream = served.connected()
        # the front passes on what fills its buffer
        stream.sendall(head(served, node, 50_000) + 20 * lines(record(node)))
        time.sleep(0.5)  # a question that comes before it would have it refused
        if ask(served, served.tokens[node], b"")[0] == 429:
            return stream
        stream.close()
    raise AssertionError("no half delivery is under way")


def test_half_a_body_leaves_nothing_and_a_slow_one_holds_up_nobody(served, node):
    before = sorted(served.layout.inbox.rglob("*"))
    with half_a_body(served, "porch"):
        assert ask(served, served.tokens["attic"], lines(record()))[0] == 200
        assert ask(served, served.tokens["porch"], b"")[0] == 429  # the slow one is under way still
    wait(lambda: ask(served, served.tokens["porch"], b"")[0] == 200)
    after = [path for path in served.layout.inbox.rglob("*") if path not in before and "attic" not in path.parts]
    assert not [path for path in after if path.is_file() and path.parent.name == "porch"]


def test_two_hundred_connections_of_one_node_keep_no_other_one_out(served, node):
    held = []
    try:
        for _ in range(200):
            stream = served.connected()
            stream.sendall(head(served, "mallory", 60_000) + b"x")
            held.append(stream)
        assert ask(served, served.tokens["attic"], lines(record()))[0] == 200
        assert ask(served, served.tokens["mallory"], b"")[0] == 429  # they are there still
    finally:
        for stream in held:
            stream.close()
    wait(lambda: ask(served, served.tokens["mallory"], b"")[0] == 200)


def test_who_connects_and_says_nothing_or_half_a_head_is_let_go(served):
    with (
        served.connected(60) as silent,
        served.connected(60) as slow,
        socket.create_connection(silent.getpeername(), 60) as plain,
    ):
        slow.sendall(head(served, "mallory", 10)[:-2])
        assert [each.recv(1) for each in (silent, slow, plain)] == [b""] * 3


def test_an_answer_that_drips_is_given_up_in_time(node, tmp_path, monkeypatch):
    here = node()
    ours, theirs = socket.socketpair()

    def drip():
        try:
            while True:
                theirs.sendall(b"H")
                time.sleep(0.2)
        except OSError:
            return

    dripping = threading.Thread(target=drip, daemon=True)
    dripping.start()
    from speedtest_logger.node.connection import https, send

    monkeypatch.setattr(https, "connected", lambda *_: ours)
    with pytest.raises(DeliveryError, match="no answer from localhost within 1 s"):
        send(replace(here, push_timeout_seconds=1), b"")
    assert dripping.is_alive()
    theirs.close()


def test_a_receiver_that_is_down_is_named(served, node, monkeypatch):
    monkeypatch.setattr(push, "FIRST_WAIT_SECONDS", 0)
    monkeypatch.setattr(push, "TRIES", 1)
    served.service.terminate()
    served.service.wait(60)
    try:
        with pytest.raises(DeliveryError, match="systemctl status speedtest-receive-http"):
            push.hello(node(), Log(None))
    finally:
        served.start()


def test_killed_before_each_write_nothing_is_lost_and_nothing_there_twice(served, node):
    """A kill -9 before the Nth change of the disk: who got no receipt sends again, and all of it is there once."""
    served.service.terminate()
    served.service.wait(60)
    sent, deadly = [], 3
    while True:
        served.start(str(KILLER), str(deadly))
        kept = record(age=200 + deadly)
        sent.append(kept.run_id)
        first = straight(served, served.tokens["attic"], lines(kept))
        killed = served.service.poll() is not None or first is None
        if killed:
            served.service.wait(60)
            served.start()
            assert straight(served, served.tokens["attic"], lines(kept))["accepted"] == [kept.run_id]
        served.service.kill()
        served.service.wait(60)
        if not killed:
            assert first["accepted"] == [kept.run_id]
            break
        deadly += 1
    served.start()
    found = archived(served)
    assert deadly > 5
    assert {found.get(run_id) for run_id in sent} == {1}


def straight(served, token, body):
    """A receipt of the service without its front, None where there came none."""
    with socket.socket(socket.AF_UNIX) as stream:
        stream.settimeout(60)
        stream.connect(str(served.socket))
        head = f"POST /deliver HTTP/1.1\r\nAuthorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n"
        stream.sendall(head.encode() + b"Connection: close\r\n\r\n" + body)
        return answered(stream)[1] or None
