"""Fleet: a table that is sorted by links, and lines over each other."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from parsed import parsed
from sample import HOSTILE, LONG, SCRIPT, SampleFigures

from speedtest_logger.dashboard.pages import fleet


class Figures(SampleFigures):
    """With shares and counts that differ."""

    def spans(self, *_, by="location"):
        found = super().spans(by=by)
        return [
            replace(span, outages=place, outbox=3 if span.location == "home" else span.outbox)
            for place, span in enumerate(found)
        ]


@pytest.fixture
def browser(client, load):
    browser = client(load())
    browser.app.state.figures = Figures()
    return browser


def shown(browser, address):
    answer = browser.get(address, headers={"Accept": "text/html"})
    assert answer.status_code == 200, answer.text
    return parsed(answer.text)


def names(page):
    return [row.one("a", kind="name").text for row in page.one("table", kind="fleet").one("tbody").all("tr")]


def test_what_needs_somebody_stands_first(browser):
    page = shown(browser, "/fleet")
    assert names(page) == ["garage", "shed", "flat-3", HOSTILE, SCRIPT, LONG, "home"]
    assert page.one("th", aria_sort="ascending").text == "state ↑"


def test_a_link_sorts_and_the_same_one_again_turns_it_round(browser):
    first = shown(browser, "/fleet?range=7d")
    link = first.one("thead").all("a")[2]["href"]
    assert link == "/fleet?by=location&sort=share&range=7d"
    lowest = shown(browser, link)
    assert names(lowest) == ["flat-3", LONG, "garage", "shed", "home", HOSTILE, SCRIPT]
    assert lowest.one("th", aria_sort="ascending").text == "of the plan ↑"
    turned = shown(browser, lowest.one("thead").all("a")[2]["href"])
    assert names(turned) == ["home", "shed", "garage", LONG, "flat-3", HOSTILE, SCRIPT]  # unmeasured stays last


def test_a_sort_stays_when_the_period_changes(browser):
    page = shown(browser, "/fleet?by=node&sort=-outages")
    assert page.one("nav", aria_label="Period").all("a")[1]["href"] == "/fleet?range=7d&by=node&sort=-outages"
    assert [each["value"] for each in page.one("div", kind="range").all("input", type="hidden")] == ["node", "-outages"]


def test_a_line_that_measured_nothing_has_no_zero(browser):
    rows = {row["data-location"]: row for row in shown(browser, "/fleet").one("tbody").all("tr")}
    assert [cell.text for cell in rows[SCRIPT].all("td")] == ["New", *["—"] * 6, "4", "—", "never", "—"]
    assert not rows[SCRIPT].all("rect")
    assert rows["flat-3"].one("td", data_label="of the plan").one("rect", kind="fill")["width"] == "20.6"
    assert rows["home"].one("b", kind="warn").text == "3"


def test_nodes_have_rows_of_their_own(browser):
    page = shown(browser, "/fleet?by=node")
    assert {"bench", "door", "attic", "cellar"} <= {*names(page)}
    assert not page.all("input", type="checkbox")


def test_compared_lines_have_a_table_and_one_chart_for_all(browser):
    page = shown(browser, "/compare?location=home&location=flat-3&range=30d")
    assert [row["data-location"] for row in page.one("tbody").all("tr")] == ["home", "flat-3"]
    data = json.loads(page.one("script", id="chart-data").text)
    assert (data["location"], data["others"]) == ("home", ["flat-3"])
    assert [each["data-chart"] for each in page.all("figure")] == ["speed", "delay"]
    assert (
        page.one("nav", aria_label="Period").all("a")[0]["href"] == "/compare?range=24h&location=home&location=flat-3"
    )


@pytest.mark.parametrize(
    ("address", "status", "words"),
    [
        ("/fleet?by=town", 400, "by=town"),
        ("/fleet?sort=beauty", 400, "sort=beauty"),
        ("/fleet?range=9d", 400, "range=9d"),
        ("/compare?location=home", 400, "two lines"),
        ("/compare?location=home&location=home", 400, "two lines"),
        ("/compare?location=home&location=nowhere", 404, "nowhere"),
    ],
)
def test_what_makes_no_sense_is_said(browser, address, status, words):
    answer = browser.get(address)
    assert answer.status_code == status
    assert words in answer.json()["detail"]


def test_an_archive_without_rows_says_so(client, load):
    assert "Nothing was measured" in shown(client(load()), "/fleet").text


def test_the_fleet_is_one_sentence_and_the_worst_of_it_first(browser):
    said = shown(browser, "/fleet").one(id="sentence").text
    assert said.startswith("Of 7 lines 1 is down (garage), 1 is silent (shed), 1 is slow (flat-3)")
    lines = browser.app.state.figures.lines()
    well = [replace(line, state="well") for line in lines]
    down = [replace(line, state="down", location=f"line-{place}") for place, line in enumerate(lines[:5])]
    assert fleet.sentence_of([]) == "No line is known yet."
    assert fleet.sentence_of(well) == "All 7 lines are well."
    assert fleet.sentence_of(well[:1]) == "The only line is well."
    assert (
        fleet.sentence_of([*down, *well[5:]])
        == "Of 7 lines 5 are down (line-0, line-1, line-2 and 2 more) and 2 are well."
    )
