"""Outages: the list, its filter, months."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from parsed import parsed
from sample import HOSTILE, SCRIPT, SampleFigures

from speedtest_logger.archive.read.local_time import Zone
from speedtest_logger.dashboard.figures import Outage
from speedtest_logger.dashboard.pages import outages


@pytest.fixture
def show(client, load):
    browser = client(load())
    figures = browser.app.state.figures = SampleFigures()
    browser.asked = []

    def found(start, end, **how):
        browser.asked.append(how)
        return SampleFigures.outages(figures, 0, 2**40, **how)

    figures.outages = found

    def show(address="/outages"):
        answer = browser.get(address)
        assert answer.status_code == 200, answer.text
        return parsed(answer.text), browser.asked[-1]

    return show


def test_what_lasts_is_first_then_the_newest_with_why_and_whose(show):
    page, asked = show()
    rows = page.one("table", kind="outages").one("tbody").all("tr")
    assert [row.one("a").text for row in rows] == ["garage", HOSTILE, "flat-3", "home", "home"]
    assert rows[0].one("td", data_label="to").text == "still going on"
    assert rows[0].one("td", data_label="whose").text == "the line"
    assert rows[0].one("td", data_label="why").text.startswith("the node had no default route")
    assert rows[3].one("td", data_label="why").text == "no record arrived"
    assert rows[3].one("td", data_label="length").text == "30 min"
    assert "1 is still going on. 5 outages" in page.text
    assert asked == {"location": None, "shortest": 2}


def test_a_row_leads_to_the_line_at_that_time(show):
    page, _ = show()
    link = page.one("table", kind="outages").one("tbody").all("a")[3]["href"]
    assert link == "/line/home?start=2026-11-27T14%3A01%3A00Z&end=2026-11-27T16%3A31%3A00Z"


def test_one_line_and_single_tests_can_be_chosen(show):
    page, asked = show("/outages?location=home&single=yes&range=7d")
    assert {row.one("a").text for row in page.one("table", kind="outages").one("tbody").all("tr")} == {"home"}
    assert asked == {"location": "home", "shortest": 1}
    assert page.one("select").one("option", selected="").text == "home"
    assert page.one("nav", aria_label="Period").all("a")[0]["href"] == "/outages?range=24h&location=home&single=yes"


def test_months_add_up_by_whose_they_were():
    def at(*moment):
        return int(datetime(*moment, tzinfo=timezone.utc).timestamp())

    found = [
        Outage("attic", "home", at(2026, 10, 31, 23, 30), at(2026, 11, 1, 0, 30), 12, "no_route", "line"),
        Outage("attic", "home", at(2026, 11, 2), at(2026, 11, 2, 2), 24, "no_route", "node"),
        Outage("attic", "home", at(2026, 11, 3), None, 12, "no_route", "node"),
    ]
    months = outages.months_of(found, at(2026, 11, 3, 1), Zone.named("UTC"))
    assert [(month.name, month.count, month.longest) for month in months] == [
        ("November 2026", 2, 7_200), ("October 2026", 1, 3_600),
    ]  # fmt: skip
    assert months[0].seconds == {"line": 0, "node": 10_800, "some nodes": 0, "unknown": 0}
    berlin = outages.months_of(found, at(2026, 11, 3, 1), Zone.named("Europe/Berlin"))
    assert [(month.name, month.count) for month in berlin] == [("November 2026", 3)]


def test_words_that_mean_harm_are_text_and_an_unknown_line_is_404(show, client, load):
    page, _ = show()
    assert SCRIPT in page.text
    assert not page.all("img")
    browser = client(load())
    browser.app.state.figures = SampleFigures()
    assert browser.get("/outages?location=nowhere").status_code == 404
