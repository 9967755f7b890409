"""A line's year as a table of days."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from parsed import parsed
from sample import HOSTILE, SampleFigures

from speedtest_logger.dashboard.figures import Series
from speedtest_logger.dashboard.pages.shown import part

CROSS = "\N{MULTIPLICATION SIGN}"


class Figures(SampleFigures):
    """With three days of 2025: well, half of the plan, and none of whose tests measured."""

    def year(self, _, year):
        at = [int(datetime(2025, *day, tzinfo=timezone.utc).timestamp()) for day in ((1, 1), (2, 28), (12, 31))]
        if year != 2025:
            return Series("day", [], {"download": []})
        return Series("day", at, {"download": [250e6, 130e6, None]}, [], [288, 288, 12], [0, 144, 12])


@pytest.fixture
def show(client, load):
    browser = client(load())
    browser.app.state.figures = Figures()

    def show(address):
        answer = browser.get(address)
        return parsed(answer.text) if answer.status_code == 200 else answer.status_code

    return show


def days(page):
    """The days that have something to say, by their address."""
    links = page.one("table").one("tbody").all("td")
    found = [(cell, link) for cell in links for link in cell.all("a") if link.text != "—"]
    return {link["href"].rpartition("=")[2]: (cell["class"], link.text, link["aria-label"]) for cell, link in found}


def test_each_day_has_its_share_of_the_plan_in_words_and_a_link(show):
    page = show("/line/home/year/2025")
    assert days(page) == {
        "2025-01-01": ("h9", "100", "Wednesday 1 January: 250 Mbit/s, 0 of 288 tests failed: 100\u202f%"),
        "2025-02-28": ("h0", "52", "Friday 28 February: 130 Mbit/s, 144 of 288 tests failed: 52\u202f%"),
        "2025-12-31": (
            "none lost",
            "\N{MULTIPLICATION SIGN}",
            "Wednesday 31 December: — Mbit/s, 12 of 12 tests failed",
        ),
    }
    rows = page.one("table").one("tbody").all("tr")
    assert [len(row.all("a")) for row in rows] == [n + 1 for n in (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)]
    assert {len(row.all("td")) for row in rows} == {31}
    assert rows[1].all("a")[0]["href"] == "/line/home?start=2025-02-01&end=2025-02-28"


def test_or_how_many_of_its_tests_measured(show):
    assert [figure for _, figure, _ in days(show("/line/home/year/2025?by=measured")).values()] == ["100", "50", "0"]


def test_a_year_without_a_test_and_one_to_come(show):
    assert "Nothing was measured in 2024." in show("/line/home/year/2024").text
    assert "2101" not in show("/line/home/year/2100").text.split()


@pytest.mark.parametrize("year", ["1999", "2101", "25", "20x5", "٢٠٢٥"])
def test_what_is_no_year(show, year):
    assert show(f"/line/home/year/{part(year)}") == 404


def test_an_unknown_line_an_unknown_choice_and_a_hostile_name(show):
    assert show("/line/nowhere/year/2025") == 404
    assert show("/line/home/year/2025?by=luck") == 400
    page = show(f"/line/{part(HOSTILE)}/year/2025")
    assert page.one("h1").text == f"{HOSTILE} in 2025"
    assert days(page)["2025-01-01"][1] == "100"  # of its fastest day: it has no plan
