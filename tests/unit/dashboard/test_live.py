"""News over WebSockets: a real server, real clients, and deliveries as the archive receives them."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import os
import socket
import threading
import time
import types
from collections import Counter
from contextlib import contextmanager, suppress
from types import SimpleNamespace

import pytest
import uvicorn
import websockets
from builders import slot
from dashboards import HOME
from starlette.testclient import TestClient, WebSocketDenialResponse

from speedtest_logger.archive.arrive import receive
from speedtest_logger.archive.arrive.limits import Limits
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.dashboard import live
from speedtest_logger.dashboard.app import create_app

WAITING = 120  # s: how long is waited for what has to happen
LIVE = HOME.replace("http", "ws") + "/ws"


@contextmanager
def serving(app):
    """The application on a real socket; its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(
            app, log_config=None, ws_max_size=4_096, ws_per_message_deflate=False, timeout_graceful_shutdown=5
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            time.sleep(0.02)
        try:
            yield f"ws://127.0.0.1:{listening.getsockname()[1]}/ws"
        finally:
            server.should_exit = True
            thread.join(WAITING)
            assert not thread.is_alive()


@pytest.fixture
def layout(root):
    """The archive, ready to receive."""
    made = Layout(root)
    for folder in (made.inbox, made.raw_inbox, made.quarantine):
        folder.mkdir(exist_ok=True)
    return made


def deliver(layout, node, *times, **values):
    """Have records of a node received; returns them."""
    rows = [slot(node, at, "home", **values) for at in times]
    sent = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    (layout.inbox / node).mkdir(exist_ok=True)
    (layout.raw_inbox / node).mkdir(exist_ok=True)
    receipt = receive.receive(layout, node, io.BytesIO(sent), Limits(free_mb=1, low_disk_mb=1))
    assert len(receipt["accepted"]) == len(rows), receipt
    return rows


def now():
    return int(time.time()) // 60 * 60


async def heard(connection, kind, seconds=WAITING):
    """The next message of a kind."""
    async with asyncio.timeout(seconds):
        while True:
            message = json.loads(await connection.recv())
            if message["type"] == kind:
                return message


async def ended(connection, seconds=WAITING):
    """The code with which the server ends a connection."""
    with suppress(websockets.ConnectionClosedError):
        async with asyncio.timeout(seconds):
            async for _ in connection:
                pass
    return connection.close_code


async def conversation(address, layout, looked):
    async with websockets.connect(address) as one, websockets.connect(address) as other:
        hello = await heard(one, "hello")
        await heard(other, "hello")
        assert await asyncio.to_thread(looked.wait, WAITING)  # what comes before the first look is no news
        rows = deliver(layout, "attic", now() - 120, now() - 60, latency_ms=9.5)
        for each in (one, other):
            message = await heard(each, "record")
            assert message["cursor"] == hello["cursor"] + 2
            assert [record["run_id"] for record in message["records"]] == [row["run_id"] for row in rows]
            assert message["record"] == message["records"][-1]
            assert (message["record"]["node"], message["record"]["location"]) == ("attic", "home")
            assert (message["record"]["status"], message["record"]["latency"]) == ("ok", 9.5)
    # who comes back is told what it missed, or that nobody knows any more
    async with websockets.connect(f"{address}?since={hello['cursor'] + 1}") as back:
        gap = await heard(back, "record")
        assert [record["run_id"] for record in gap["records"]] == [rows[1]["run_id"]]
    async with websockets.connect(f"{address}?since=12") as stranger:
        assert (await heard(stranger, "reset"))["cursor"] == hello["cursor"] + 2
    # who talks is cut
    async with websockets.connect(address) as talker:
        for _ in range(live.MOST_SAID):
            await talker.send("x")
        assert await ended(talker) == 1008


def test_a_delivery_reaches_every_browser(load, layout):
    deliver(layout, "attic", now() - 600)  # it lies there already, and is no news
    app, looked = create_app(load()), threading.Event()
    real = app.state.live.look

    def look():
        found = real()
        looked.set()
        return found

    app.state.live.look = look
    with serving(app) as address:
        asyncio.run(conversation(address, layout, looked))
        deadline = time.monotonic() + WAITING
        while app.state.live.clients and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not app.state.live.clients


async def kept(address, server):
    async with websockets.connect(address) as connection:
        await heard(connection, "hello")
        server()
        assert await ended(connection) == 1012


def test_the_server_ends_with_browsers_looking(load):
    with serving(create_app(load())) as address:
        thread = threading.Thread(target=lambda: asyncio.run(kept(address, ready.set)))
        ready = threading.Event()
        thread.start()
        assert ready.wait(WAITING)
    thread.join(WAITING)
    assert not thread.is_alive()


def test_foreign_pages_and_people_who_may_not_read_hear_nothing(guarded, client, entry_of):
    reader, other = entry_of("read"), entry_of("metrics")
    program = client(guarded(reader, other))
    as_reader = {"Authorization": f"Bearer {reader['key']}"}
    for headers, status in (
        ({}, 401),
        ({"Authorization": f"Bearer {other['key']}"}, 403),
        ({**as_reader, "Origin": "https://elsewhere.example"}, 403),
    ):
        with pytest.raises(WebSocketDenialResponse) as refused, program.websocket_connect(LIVE, headers=headers):
            pass
        assert refused.value.status_code == status
    with program.websocket_connect(LIVE, headers={**as_reader, "Origin": HOME}) as connection:
        assert connection.receive_json()["type"] == "hello"


def test_a_cursor_that_is_none_is_answered_with_what_was_seen(load):
    program = TestClient(create_app(load()), base_url=HOME)
    for since in ("yesterday", "-1", "1.5"):
        with pytest.raises(WebSocketDenialResponse) as refused, program.websocket_connect(f"{LIVE}?since={since}"):
            pass
        assert refused.value.status_code == 422
        assert "query.since" in refused.value.json()["detail"]
        assert since in refused.value.json()["detail"]


def test_nobody_looks_beyond_the_most(load, monkeypatch):
    monkeypatch.setattr(live, "MOST_CLIENTS", 1)
    program = TestClient(create_app(load()), base_url=HOME)
    with program.websocket_connect(LIVE) as connection:
        connection.receive_json()
        with pytest.raises(WebSocketDenialResponse) as refused, program.websocket_connect(LIVE):
            pass
        assert refused.value.status_code == 503
    with program.websocket_connect(LIVE) as connection:
        connection.receive_json()


def test_who_falls_behind_is_dropped(load):
    made = create_app(load()).state.live
    slow, quick = made.join(None), made.join(None)
    for _ in range(live.MOST_WAITING):
        quick.texts.clear()
        made.tell([], [])
    assert (slow.code, quick.code) == (live.TOO_SLOW, None)


async def taking_nothing(address, app, loop):
    """Whether a browser that takes nothing is let go while one that takes is not."""
    largest = {"max_size": None, "close_timeout": 0.1}
    async with (
        websockets.connect(address, max_queue=1, **largest) as slow,
        websockets.connect(address, **largest) as quick,
    ):
        await heard(slow, "hello")
        await heard(quick, "hello")
        text = json.dumps({"type": "large", "filling": os.urandom(2_000_000).hex()})
        for _ in range(2 * live.MOST_WAITING + 4):
            for client in list(app.state.live.clients):
                loop.call_soon_threadsafe(client.tell, text)
            await heard(quick, "large")
        deadline = time.monotonic() + 60
        while len(app.state.live.clients) > 1 and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        return len(app.state.live.clients)


def test_who_takes_nothing_is_let_go_and_holds_up_nobody(load):
    app = create_app(load())
    with serving(app) as address:
        assert asyncio.run(taking_nothing(address, app, app.state.live._task.get_loop())) == 1


async def tasks_of_two(address, loop):
    """How many tasks the server has before and while two browsers look."""
    alone = len(asyncio.all_tasks(loop))
    async with websockets.connect(address) as one, websockets.connect(address) as other:
        for each in (one, other):
            await heard(each, "hello")
        for _ in range(100):  # until what sent that has ended
            if len(asyncio.all_tasks(loop)) <= alone + 2:
                break
            await asyncio.sleep(0.05)
        return alone, len(asyncio.all_tasks(loop))


def test_a_browser_that_is_told_nothing_costs_one_task(load):
    app = create_app(load())
    with serving(app) as address:
        alone, together = asyncio.run(tasks_of_two(address, app.state.live._task.get_loop()))
    assert together == alone + 2


def frames():
    """How many calls of which coroutines there are."""
    return Counter(each.__qualname__ for each in gc.get_objects() if type(each) is types.CoroutineType)


async def frames_of_one(address):
    before = frames()
    async with websockets.connect(address) as connection:
        await heard(connection, "hello")
        return frames() - before


def test_a_browser_that_looks_holds_no_frame_of_the_layers_within(load):
    with serving(create_app(load())) as address:
        held = asyncio.run(frames_of_one(address))
    assert held["attend"] == 1
    assert not held.keys() & {"Counted.__call__", "Gate.__call__", "Remembered.__call__"}


def test_a_line_that_changes_is_told_of_once(load, monkeypatch):
    made = create_app(load()).state.live
    client = made.join(None)
    client.texts.pop()
    made.tell([], [{"location": "home", "state": "down", "since": 5, "sentence": "the line is down"}])
    told = json.loads(client.texts.pop())
    assert (told["type"], told["lines"][0]["state"]) == ("status", "down")
    made.tell([], None)
    assert not client.texts
    monkeypatch.setattr(live, "PING_SECONDS", 0)
    made.tell([], None)
    assert json.loads(client.texts.pop()) == {"type": "ping", "cursor": made.cursor}


def test_a_session_that_has_ended_hears_nothing_more(guarded, client, entry_of, monkeypatch):
    entry = entry_of("read")
    app = create_app(guarded(entry))
    monkeypatch.setattr(live, "PING_SECONDS", 0)
    with client(app).websocket_connect(LIVE, headers={"Authorization": f"Bearer {entry['key']}"}) as connection:
        assert connection.receive_json()["type"] == "hello"
        app.state.guard.keys = type(app.state.guard.keys)([])
        [looking] = app.state.live.clients
        connection.portal.call(looking.tell, "{}")
        assert connection.receive()["code"] == 1008


def test_the_inbox_is_read_once_bounded_and_without_trust(layout, tmp_path, monkeypatch):
    inbox, minute = live.Inbox(layout.inbox), now()
    assert inbox.news() == []
    rows = deliver(layout, "attic", minute)
    assert [record["run_id"] for record in inbox.news()] == [rows[0]["run_id"]]
    assert inbox.news() == []
    # ingest takes files away, and more come
    for file in (layout.inbox / "attic").glob("*.jsonl"):
        file.unlink()
    rows = deliver(layout, "attic", minute - 60)
    folder = layout.inbox / "attic"
    (tmp_path / "secret").write_text(json.dumps(slot("attic", minute, "secret")))
    (folder / "1.jsonl").symlink_to(tmp_path / "secret")
    os.mkfifo(folder / "2.jsonl")
    (folder / "3.jsonl").write_text('{"node": "attic"}\n[]\nnot json\n' + json.dumps(slot("barn", minute, "farm")))
    odd = json.dumps({**slot("attic", minute - 240, "home"), "latency_ms": float("inf")})
    (folder / "4.jsonl").write_text(odd)
    found = inbox.news()
    assert sorted(record["at"] for record in found) == [minute - 240 + 1, minute - 60 + 1]
    assert {record["location"] for record in found} == {"home"}
    assert None in {record["latency"] for record in found}
    # of a large file its end, and of many files so much at a time
    monkeypatch.setattr(live, "FILE_BYTES", 2_000)
    monkeypatch.setattr(live, "TICK_BYTES", 3_000)
    for number in range(3):
        lines = [json.dumps(slot("attic", minute - 60 * n, "home")) + "\n" for n in range(20, 0, -1)]
        (folder / f"5{number}.jsonl").write_text("".join(lines))
    first, second = inbox.news(), inbox.news()
    assert len(first) == 2 * len(second) > 0
    assert inbox.news() == []
    assert {record["at"] for record in second} < {minute - 60 * n + 1 for n in range(20)}


def test_a_look_finds_lines_whose_state_is_another_one(load, monkeypatch):
    made = create_app(load()).state.live
    lines, cursor = {"home": "well", "farm": "well"}, ["a"]
    monkeypatch.setattr(
        made.figures,
        "lines",
        lambda: [SimpleNamespace(location=k, state=v, since=None, sentence=v) for k, v in lines.items()],
    )
    monkeypatch.setattr(made.figures.source.rollups, "cursor", lambda: cursor[0])
    assert made.look() == ([], None)  # nobody looks: nothing is judged
    made.join(None)
    assert made.look() == ([], None)  # what was before is not known
    lines["farm"] = "down"
    assert made.look() == ([], None)  # not so soon: no figure is another one
    cursor[0] = "b"
    assert made.look()[1] == [{"location": "farm", "state": "down", "since": None, "sentence": "down"}]
    cursor[0] = "c"
    assert made.look()[1] == []  # other figures, all lines as before
    monkeypatch.setattr(live, "STATUS_SECONDS", 0)
    assert made.look()[1] is None
    del lines["home"]
    lines["farm"] = "silent"  # by the clock alone
    assert [line["state"] for line in made.look()[1]] == ["silent"]
