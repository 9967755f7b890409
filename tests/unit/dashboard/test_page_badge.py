"""Badge and kiosk."""

from __future__ import annotations

from dataclasses import replace

import pytest
from parsed import parsed
from sample import HOSTILE, SCRIPT, SampleFigures

from speedtest_logger.dashboard.pages import badge
from speedtest_logger.dashboard.pages.shown import part


@pytest.fixture
def browser(client, load):
    browser = client(load())
    browser.app.state.figures = SampleFigures()
    return browser


def test_a_badge_says_how_fast_a_line_is(browser):
    answer = browser.get("/badge/home.svg")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "image/svg+xml"
    assert answer.headers["Cache-Control"] == "private, max-age=60"
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    figure = SampleFigures().line("home").median["download"] / 1e6
    assert [text.text for text in parsed(answer.text).all("text")] == ["home", f"{figure:.0f} of 250 Mbit/s"]


@pytest.mark.parametrize(
    ("location", "said"),
    [("garage", "Down"), ("shed", "Silent"), ("flat-3", "Slow: 51.4 of 250 Mbit/s"), (SCRIPT, "New: nothing measured")],
)
def test_a_badge_of_a_line_that_is_not_well_says_so(location, said):
    assert badge.parts_of(SampleFigures().line(location))["said"] == said


def test_names_that_mean_harm_are_text_and_long_ones_are_cut(browser):
    answer = browser.get(f"/badge/{part(HOSTILE)}.svg")
    picture = parsed(answer.text)
    assert not picture.all("img")
    assert picture.all("text")[0].text == '"><img src=x onerror=al\N{HORIZONTAL ELLIPSIS}'
    assert browser.get("/badge/nowhere.svg").status_code == 404


def test_nothing_measured_is_never_a_zero():
    line = SampleFigures().line("home")
    empty = replace(line, median=dict.fromkeys(line.median))
    assert badge.parts_of(empty)["said"] == "nothing measured"


def test_a_kiosk_is_now_without_navigation_and_fresh_by_itself(browser):
    page = parsed(browser.get("/kiosk").text)
    assert page.one("h1").text == parsed(browser.get("/").text).one("h1").text
    assert not page.all("nav")
    assert not page.all("header")
    assert page.one("meta", http_equiv="refresh")["content"] == "30"
    assert page.one("body")["class"] == "kiosk"
