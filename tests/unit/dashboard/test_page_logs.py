"""Logs: the page and the API, over lines that nodes delivered."""

from __future__ import annotations

import io
import json
import time
from urllib.parse import parse_qsl, urlsplit

import pytest
from parsed import parsed
from sample import HOSTILE, SCRIPT, SampleFigures

from speedtest_logger import wire
from speedtest_logger.archive.arrive import receive
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.write import ingest
from speedtest_logger.dashboard.pages import logs as page_of_logs
from speedtest_logger.record import utc_text

LIMITS = receive.Limits(free_mb=0, low_disk_mb=0)
NODES = ("attic", "porch")


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    """Two nodes with 300 lines each, one a minute."""
    layout = Layout(tmp_path_factory.mktemp("logs") / "root")
    layout.prepare()
    now = time.time()
    for node in NODES:
        lines = []
        for number in range(300):
            level = "warning" if number % 10 == 0 else "info"
            said = {"time": utc_text(now - 60 * (300 - number)), "level": level, "event": "tried", "number": number}
            lines.append((number * 100, json.dumps({**said, "message": f"Timeout after {number} s"})))
        receive.receive(layout, node, io.BytesIO(wire.log_lines("a-1", lines)), LIMITS)
    ingest.ingest(layout)
    return layout


@pytest.fixture
def browser(client, load, layout):
    return client(load(SPEEDTEST_ARCHIVE_DIR=str(layout.root)))


@pytest.fixture
def show(browser):
    def show(address="/logs", status=200):
        answer = browser.get(address, headers={"Accept": "text/html"})
        assert answer.status_code == status, answer.text
        return parsed(answer.text)

    return show


@pytest.fixture
def ask(browser):
    def ask(status=200, **query):
        answer = browser.get("/api/v1/logs", params=query)
        assert answer.status_code == status, answer.text
        return answer.json()

    return ask


def shown(page):
    """Node and number of each line."""
    rows = page.one("table", kind="logs").one("tbody").all("tr")
    return [
        (row.one("td", data_label="node").text, int(row.one("td", kind="words").text[7:].split()[0])) for row in rows
    ]


def test_the_newest_lines_are_first_and_older_ones_are_a_link_away(show):
    page, told = show(), []
    assert page.one("a", href="/logs", aria_current="page").text == "Logs"
    for _ in range(3):
        told += shown(page)
        links = [link["href"] for link in page.all("a") if link.text == "Older ones"]
        if not links:
            break
        assert len(set(links)) == 1
        page = show(links[0])
    assert told == [(node, number) for number in reversed(range(300)) for node in reversed(NODES)]


def test_lines_are_filtered_and_the_link_says_how(show):
    page = show("/logs?node=porch&level=warning&text=timeout&range=7d")
    assert shown(page) == [("porch", number) for number in reversed(range(0, 300, 10))]
    chosen = [option.text for option in page.all("option", selected="")]
    assert chosen == ["porch", "warning and above"]
    assert page.one("input", id="text")["value"] == "timeout"
    link = urlsplit(page.one("nav", aria_label="Period").all("a")[0]["href"])
    assert dict(parse_qsl(link.query)) == {"range": "24h", "node": "porch", "level": "warning", "text": "timeout"}
    assert "There is no such line" in show("/logs?text=nothing").text
    assert "There is no such line" in show("/logs?node=nobody").text


@pytest.mark.parametrize(
    "query", ["level=loud", "range=3h", "before=x", "text=" + "x" * 201, "node=" + "x" * 65, "end=2026-01-01"]
)
def test_what_cannot_be_asked_is_said(show, query):
    assert show(f"/logs?{query}", 400).one("h1").text


def test_the_api_pages_through_all_lines(ask):
    told, cursor = [], None
    while True:
        answer = ask(limit=130, **({"cursor": cursor} if cursor else {}))
        told = [(line["node"], line["fields"]["number"]) for line in answer["lines"]] + told
        if not (cursor := answer["next"]):
            break
    assert told == [(node, number) for number in range(300) for node in NODES]
    assert answer["unreadable"] == []


def test_the_api_filters(ask):
    lines = ask(node="attic", level="warning", text="after 290")["lines"]
    assert [(line["node"], line["level"], line["event"]) for line in lines] == [("attic", "warning", "tried")]
    assert lines[0]["fields"] == {"number": 290, "message": "Timeout after 290 s"}
    assert ask(location="nowhere")["lines"] == []
    assert "no cursor" in ask(400, cursor="x")["detail"]
    ask(422, level="loud")
    ask(422, limit=0)


def test_new_lines_are_seen_at_once(ask, layout, browser):
    before = len(ask(text="brand new")["lines"])
    line = json.dumps({"time": utc_text(time.time()), "level": "info", "event": "brand new"})
    receive.receive(layout, "shed", io.BytesIO(wire.log_lines("a-1", [(time.time_ns() % 2**50, line)])), LIMITS)
    ingest.ingest(layout)
    assert len(ask(text="brand new", node="shed")["lines"]) == before + 1
    assert len(ask(text="brand new")["lines"]) == before + 1  # the answer of before is not told again


def test_the_scope_logs_is_needed_by_programs(guarded, client, entry_of):
    reader, both = entry_of("read"), entry_of("logs")
    program = client(guarded(reader, both))
    for path in ("/api/v1/logs", "/logs"):
        refused = program.get(path, headers={"Authorization": f"Bearer {reader['key']}"})
        assert (refused.status_code, "needs the scope logs" in refused.text) == (403, True)
    assert program.get("/api/v1/logs", headers={"Authorization": f"Bearer {both['key']}"}).status_code == 200


def test_words_that_mean_harm_are_text(client, load):
    browser = client(load())
    browser.app.state.figures = SampleFigures()
    answer = browser.get("/logs")
    page = parsed(answer.text)
    assert SCRIPT in page.text
    assert HOSTILE in page.text
    assert not page.all("img")
    assert "\x1b" not in answer.text
    assert "\u202e" not in answer.text
    assert "The lines that came in on 2026-11-20 cannot be read." in page.text
    assert page_of_logs.LINES == 200
