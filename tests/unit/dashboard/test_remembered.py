"""Answers that are kept: made once, for whom they were made, and never after something has changed."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter

import httpx
import pytest
from builders import put, slot, write_schedule
from dashboards import HOME, PASSWORD
from starlette.testclient import TestClient

from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.dashboard import remembered
from speedtest_logger.dashboard.app import create_app
from speedtest_logger.dashboard.figures import standing
from speedtest_logger.record import utc_text

STEP = 600


def registry(layout, plan):
    since = utc_text(int(time.time()) // STEP * STEP - 10 * STEP)
    entry = {"valid_from": since, "valid_to": None, "interval_seconds": STEP, "offset_seconds": 0, "location": "home"}
    write_schedule(layout, attic=[{**entry, "plan_download_mbps": plan}])


@pytest.fixture
def app(guarded, root, entry_of):
    """The application over one line; `made` counts the answers that were made, by path."""
    layout = Layout(root)
    layout.prepare()
    now = int(time.time()) // STEP * STEP
    put(layout, *(slot("attic", now - STEP * back, download_bps=90e6) for back in range(1, 4)))
    registry(layout, 100)
    key = entry_of("read", "annotate")
    made = create_app(guarded(key))
    made.state.layout, made.state.key, made.state.made = layout, key["key"], Counter()
    inner = made.router.app if hasattr(made.router, "app") else made.router

    class Counting:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            if scope["type"] == "http":
                made.state.made[scope["path"]] += 1
            await self.app(scope, receive, send)

    assert inner
    made.user_middleware.append(type(made.user_middleware[0])(Counting))  # the innermost
    yield made
    made.state.figures.source.rollups.close()


@pytest.fixture
def client(app, monkeypatch):
    """A program with a key, in one minute."""
    now = time.time()
    monkeypatch.setattr("speedtest_logger.dashboard.figures.time.time", lambda: now)
    return TestClient(app, base_url=HOME, headers={"Authorization": f"Bearer {app.state.key}"})


PATHS = (
    "/",
    "/line/home?range=7d",
    "/fleet",
    "/alerts",
    "/api/v1/alerts",
    "/api/v1/locations",
    "/api/v1/series?location=home",
)


@pytest.mark.parametrize("address", PATHS)
def test_the_same_is_made_once(app, client, address):
    first, second = client.get(address), client.get(address)
    assert (first.status_code, second.status_code) == (200, 200)
    assert (first.content, dict(first.headers)) == (second.content, dict(second.headers))
    assert app.state.made[address.partition("?")[0]] == 1


def a_record(app, client):
    put(app.state.layout, slot("attic", int(time.time()) // STEP * STEP - 8 * STEP, download_bps=50e6))


def a_note(app, client):
    written = {"location": "home", "text": "a new router"}
    answer = client.post("/api/v1/annotations", json=written)
    assert answer.status_code == 201, answer.text


def another_plan(app, client):
    registry(app.state.layout, 500)
    app.state.figures.source._known = (0.0, *app.state.figures.source._known[1:])  # as a second later


def a_delivery(app, client):
    app.state.live.cursor += 1


@pytest.mark.parametrize("change", [a_record, a_note, another_plan, a_delivery])
def test_it_is_made_again_after_a_change(app, client, monkeypatch, change):
    client.get("/line/home")
    if change is another_plan:
        monkeypatch.setattr("speedtest_logger.dashboard.figures.kept.FRESH_SECONDS", -1.0)
    change(app, client)
    client.get("/line/home")
    assert app.state.made["/line/home"] == 2


def test_alerts_are_shown_anew_when_they_were_evaluated_and_nothing_else_is(app, client):
    file = app.state.layout.root / "alerts/state.json"
    file.parent.mkdir()
    for made in (1, 2, 3):
        for address in ("/alerts", "/api/v1/alerts", "/line/home"):
            assert client.get(address).status_code == client.get(address).status_code == 200
        assert dict(app.state.made) == {"/alerts": made, "/api/v1/alerts": made, "/line/home": 1}
        file.write_text(f"{made}" * made)


def test_it_is_made_again_each_minute(app, client, monkeypatch):
    client.get("/")
    later = time.time() + 60
    monkeypatch.setattr("speedtest_logger.dashboard.figures.kept.FRESH_SECONDS", -1.0)
    monkeypatch.setattr("speedtest_logger.dashboard.figures.time.time", lambda: later)
    client.get("/")
    assert app.state.made["/"] == 2


def test_whoever_wants_it_made_anew_has_it_made_anew(app, client):
    for _ in range(2):
        assert client.get("/", headers={"Cache-Control": "No-Cache"}).status_code == 200
    assert app.state.made["/"] == 2


def test_nobody_gets_what_was_made_for_somebody_else(app, client):
    assert client.get("/").status_code == 200
    stranger = TestClient(app, base_url=HOME)
    assert stranger.get("/", follow_redirects=False).status_code in (303, 401)
    assert stranger.get("/", headers={"Authorization": "Bearer stk_nothing_like_it"}).status_code == 401
    form = {"name": "eva", "password": PASSWORD}
    eva = TestClient(app, base_url=HOME, headers={"Origin": HOME})
    assert eva.post("/login", data=form, follow_redirects=False).status_code == 303
    assert "eva" in eva.get("/", headers={"Accept": "text/html"}).text
    assert "eva" not in client.get("/", headers={"Accept": "text/html"}).text


@pytest.mark.parametrize("address", ["/system", "/api/status", "/line/nowhere", "/api/v1/locations/nowhere"])
def test_what_is_not_kept(app, client, address):
    for _ in range(2):
        client.get(address)
    assert app.state.made[address] == 2


def test_many_at_once_wait_for_one(app, client, monkeypatch):
    """The question is held up until all have asked."""
    asked, all_asked = Counter(), threading.Event()
    real = standing.lines

    def held_up(*words):
        asked["lines"] += 1
        all_asked.wait(120)
        return real(*words)

    client.get("/fleet")  # the rollups are there
    monkeypatch.setattr("speedtest_logger.dashboard.figures.kept.FRESH_SECONDS", -1.0)
    monkeypatch.setattr(standing, "lines", held_up)

    async def many():
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url=HOME, headers=client.headers) as browser:
            asking = [asyncio.create_task(browser.get("/")) for _ in range(20)]
            async with asyncio.timeout(120):
                while not asked["lines"]:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            all_asked.set()
            return await asyncio.gather(*asking)

    answers = asyncio.run(many())
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert app.state.made["/"] == 1


def test_what_is_kept_has_a_bound(app, client, monkeypatch):
    monkeypatch.setattr(remembered, "TOGETHER", 100)
    for _ in range(2):
        client.get("/")
    monkeypatch.setattr(remembered, "LARGEST", 10)
    assert json.loads(client.get("/api/v1/locations").text)["locations"]
    client.get("/api/v1/locations")
    assert app.state.made == {"/": 2, "/api/v1/locations": 2}
