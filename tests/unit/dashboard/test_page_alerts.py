"""Alerts: what lasts, worst first, with what follows from it; and whether somebody is told."""

from __future__ import annotations

import time

import pytest
from parsed import parsed
from sample import HOSTILE, SCRIPT, SampleFigures

from speedtest_logger.alerts import state
from speedtest_logger.alerts.findings import Finding
from speedtest_logger.alerts.follow import Watched
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.read import told


@pytest.fixture
def browser(client, load):
    return client(load())


def show(browser):
    answer = browser.get("/alerts")
    assert answer.status_code == 200
    return parsed(answer.text)


def rows_of(page, identity):
    return page.one("section", id=identity).one("tbody").all("tr")


def cells(row, *names):
    return [row.one("td", data_label=name).text for name in names]


def remember(root, *entries, at=None, **posts):
    """Write down what alerts remember."""
    (root / "alerts").mkdir(exist_ok=True)
    known = state.State(evaluated=time.time() if at is None else at)
    known.book.entries = list(entries)
    known.posts = posts or {"phone": state.Post()}
    state.save(Layout(root), known)


def finding(rule="line_down", ended=None, **changes):
    began = int(time.time()) - 3_000
    return Finding(rule, "home", None, began, began + 600, ended, began + 600, 2, reason="no_route", **changes)


def test_the_worst_is_first_and_what_follows_is_under_it(browser):
    browser.app.state.figures = SampleFigures(int(time.time()))
    page = show(browser)
    assert page.one("h1").text == "5 findings last."
    rows = rows_of(page, "lasting")
    assert [row.one("span", kind="state").text for row in rows] == [
        "line down",
        "clock",
        "disk",
        "below plan",
        "budget",
    ]
    assert [row.attributes.get("class") for row in rows] == ["lasts", "follows", "lasts", None, None]
    assert cells(rows[0], "of", "for", "told") == ["garage", "51 min", "yes"]
    assert cells(rows[1], "told") == ["held back"]
    assert rows[1].one("th").text.startswith("follows: clock")
    assert rows[0].one("a")["href"] == "/line/garage"
    assert rows[2].all("a") == []  # the archive is no line


def test_hostile_names_are_text(browser):
    browser.app.state.figures = SampleFigures(int(time.time()))
    text = browser.get("/alerts").text
    page = parsed(text)
    assert SCRIPT not in text
    assert HOSTILE not in text
    assert cells(rows_of(page, "lasting")[3], "of") == [HOSTILE]
    assert SCRIPT in [row.one("th").text for row in rows_of(page, "destinations")]


def test_destinations_say_whether_they_work(browser):
    browser.app.state.figures = SampleFigures(int(time.time()))
    works, fails = rows_of(show(browser), "destinations")
    assert cells(works, "state", "waiting", "sent", "failed tries") == ["Works", "0", "41", "0"]
    assert cells(fails, "waiting", "sent", "failed tries") == ["3", "7", "12"]
    assert cells(fails, "state")[0].startswith("Fails since ")


def test_what_was_says_from_when_to_when_and_whether_it_was_so(browser):
    browser.app.state.figures = SampleFigures(int(time.time()))
    silent, down = rows_of(show(browser), "ended")
    assert cells(silent, "of", "length", "told") == ["home", "46 min", "yes"]
    assert cells(down, "length", "told") == ["10 min", "withdrawn"]


def test_where_no_destination_is_set_the_page_says_what_to_set(browser):
    page = show(browser)
    assert page.one("h1").text == "Nothing is known of alerts."
    assert "no destination is set (speedtest_archive_alerts_destinations)" in page.one("p", kind="note").text
    assert "not set" not in browser.get("/").text


def test_the_page_is_made_anew_when_something_else_was_written_down(browser, root):
    assert "no destination" in show(browser).text
    remember(root)
    assert show(browser).one("h1").text == "Nothing is wrong."
    found = finding()
    remember(root, Watched(found, found.id, told_begin=True, since_told=1.0))
    page = show(browser)
    assert page.one("h1").text == "1 finding lasts."
    assert cells(rows_of(page, "lasting")[0], "what is wrong") == [
        f"the line is down: the node had no default route or its interface was down ({found.id})"
    ]
    over = finding(ended=int(time.time()))
    remember(root, Watched(over, over.id))
    page = show(browser)
    assert page.one("h1").text == "Nothing is wrong."
    assert cells(rows_of(page, "ended")[0], "told") == ["no"]
    told.file_of(Layout(root)).write_bytes(b"{")
    assert "damaged" in show(browser).one("p", kind="note").text


def test_the_same_is_read_once(browser, root, monkeypatch):
    reads = []
    read = told.read
    monkeypatch.setattr(told, "read", lambda layout: reads.append(1) or read(layout))
    remember(root)
    for _ in range(3):
        show(browser)
        browser.get("/api/v1/alerts")
    assert len(reads) == 1


def test_an_evaluation_that_stays_away_is_said(browser, root):
    remember(root, at=time.time() - 400)
    page = show(browser)
    assert "nothing has been judged since" in page.one("p", kind="note").text
    assert "good" not in page.one("h1")["class"]


def test_a_program_is_told_the_same_and_no_address(browser, root):
    found, over = finding(), finding("below_plan", ended=int(time.time()), worst=41.0)
    remember(root, Watched(found, found.id), Watched(over, over.id), phone=state.Post(sent=3, why="ntfy://secret"))
    answer = browser.get("/api/v1/alerts")
    assert answer.status_code == 200
    content = answer.json()
    assert content["problem"] is None
    [lasting], [ended] = content["lasting"], content["ended"]
    assert (lasting["rule"], lasting["sentence"], lasting["told"]) == (found.rule, found.sentence(), False)
    assert (ended["start"], ended["until"]) == (over.began, over.ended)
    assert content["destinations"] == [
        {"name": "phone", "waiting": 0, "sent": 3, "failed": 0, "last_sent": None, "failing_since": None}
    ]
    assert "secret" not in answer.text + browser.get("/alerts").text


def test_a_program_that_has_the_answer_is_told_so_until_it_is_another_one(browser, root):
    remember(root)
    etag = browser.get("/api/v1/alerts").headers["etag"]
    assert browser.get("/api/v1/alerts", headers={"If-None-Match": etag}).status_code == 304
    remember(root)
    again = browser.get("/api/v1/alerts", headers={"If-None-Match": etag})
    assert again.status_code == 200
    assert again.headers["etag"] != etag
