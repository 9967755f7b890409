"""A line's page."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest
import sample_line
from builders import write_schedule
from parsed import parsed
from sample import HOSTILE, LONG, SCRIPT, SampleFigures

from speedtest_logger.archive import open_archive
from speedtest_logger.dashboard.pages import line
from speedtest_logger.dashboard.pages.shown import iso, part
from speedtest_logger.record import utc_text


@pytest.fixture
def get(client, load):
    def get(location, query="", figures=None):
        browser = client(load())
        browser.app.state.figures = figures or SampleFigures(int(time.time()))
        return browser.get(f"/line/{part(location)}{query}", headers={"Accept": "text/html"})

    return get


@pytest.fixture
def show(get):
    def show(*args, **options):
        answer = get(*args, **options)
        assert answer.status_code == 200, answer.text
        return parsed(answer.text)

    return show


def tile(page, name):
    """The big figure under a heading."""
    (found,) = [each for each in page.all("div", kind="tile") if each.one("dt").text == name]
    return found.one("dd", kind="big").text


def test_the_head_says_what_was_promised_and_what_came(show):
    page = show("flat-3")
    assert page.one("h1").text == "flat-3 Slow"
    assert tile(page, "Plan Mbit/s") == "250 / 40"
    assert tile(page, "Of the plan") in {f"{share} %" for share in range(15, 50)}
    assert tile(page, "Availability") == "96.5 %"
    assert tile(page, "Accounted for") == "99.31 %"


def test_a_last_test_that_failed_says_so_and_why(show):
    page = show("garage")
    assert tile(page, "Last test Mbit/s") == "Failed"
    assert "the node had no default route" in page.one(id="head").text


def test_a_line_without_anything_has_dashes_and_no_zero(show):
    class Nothing(SampleFigures):
        def series(self, *args, **options):
            found = super().series(*args, **options)
            none = {name: [None] * len(found.at) for name in found.values}
            return replace(found, values=none, tests=[0] * len(found.at), failed=[0] * len(found.at))

        def spans(self, *_, **__):
            return []

    figures = Nothing(int(time.time()))
    page = show(SCRIPT.replace("/", ""), figures=_named(figures, SCRIPT.replace("/", "")))
    for name in ("Plan Mbit/s", "Last test Mbit/s", "Of the plan", "Availability", "Accounted for"):
        assert tile(page, name) == "—", name
    assert tile(page, "Median of 24 h Mbit/s") == "— / —"
    speeds = page.one("details", id="speed-table").all("tr")[1:]
    assert {tuple(cell.text for cell in row.all("td")) for row in speeds} == {("—", "—", "—", "—", "0", "0")}
    for section in ("slots", "week", "nodes", "outages"):
        assert page.one("section", id=section).all("p", kind="empty"), section


def _named(figures, location):
    """Figures that answer for another name as for the line without a node."""
    own = figures.line

    def line(name):
        return replace(own(SCRIPT), location=location) if name == location else own(name)

    figures.line = line
    figures.cells = lambda *_, **__: []
    week = figures.week
    figures.week = lambda *args, **_: week(*args, location=SCRIPT)
    series = figures.series
    figures.series = lambda *args, **options: series(*args, **{**options, "location": SCRIPT})
    return figures


def test_the_range_is_one_for_all_and_stands_in_links(show):
    page = show("home", "?range=7d")
    (current,) = page.one("div", kind="range").all("a", aria_current="true")
    assert current.text == "7d"
    (report,) = page.all("a", kind="button")
    assert report["href"] == "/line/home/report?range=7d"
    data = json.loads(page.one("script", type="application/json").text)
    assert data["follows"] is True
    assert data["plan"] == {"download": 250e6, "upload": 40e6}
    custom = show("home", "?start=2026-11-01&end=2026-11-02")
    assert json.loads(custom.one("script", type="application/json").text)["end"] == "2026-11-03T00:00:00Z"
    assert not custom.all("a", aria_current="true")
    assert custom.one("input", id="end")["value"] == "2026-11-02"


def test_every_slot_is_a_cell_that_leads_to_its_record(show):
    page = show("home")
    attic, cellar = page.all("div", kind="strip")
    links = attic.all("a", kind="cell")
    assert len(links) > 280
    assert all(link["href"].startswith("/record/") for link in links)
    assert [link.attributes.get("tabindex") for link in links].count(None) == 1  # one stop of the tab key
    (missed,) = cellar.all(kind="missed")
    assert missed.tag == "i"
    assert missed["title"].endswith(": no record")
    table = page.one("details", id="slots-table").all("tr")[1:]
    assert {row.all("td")[1].text for row in table} >= {"skipped", "no record"}
    assert "slot lies in the quiet hours" in page.one("details", id="slots-table").text


def test_the_week_is_a_table_of_words_and_classes(show):
    page = show("flat-3", "?range=30d")
    cells = page.one("table", kind="map").all("td")
    assert len(cells) == 7 * 24
    assert {cell["class"] for cell in cells} == {"h0", "none"}  # 41 % of the plan at best
    assert all((cell.text == "—") == (cell["class"] == "none") for cell in cells)


@pytest.mark.parametrize("name", ["?range=24h", "?range=7d", "?range=30d", "?range=90d", "?range=1y"])
def test_each_range_has_tables_that_say_what_the_charts_draw(show, name):
    page = show("home", name)
    for chart in ("speed", "delay"):
        assert page.one("figure", id=chart).one("div", role="img")
        rows = page.one("details", id=f"{chart}-table").all("tr")[1:]
        assert (
            len(rows) in {"24h": (24, 25), "7d": (7, 8), "30d": (30, 31), "90d": (90, 91), "1y": (365, 366)}[name[7:]]
        )


def test_names_and_words_that_mean_harm_are_text(show):
    page = show(HOSTILE)
    assert page.one("h1").text.startswith(HOSTILE)
    assert not page.all("img")
    assert len(page.all("script")) == 3  # two files and a block of data
    assert page.one("h3").text.startswith(SCRIPT)
    data = page.one("script", type="application/json")
    assert "<" not in data.text
    assert json.loads(data.text)["outages"][0]["why"] == SCRIPT


def test_outages_newest_first_with_why_and_whose(show):
    rows = [[cell.text for cell in row.all("td")] for row in show("home").one(id="outages").all("tr")[1:]]
    assert [row[2] for row in rows] == ["cellar", "attic"]
    assert [row[4] for row in rows] == ["the node", "the line"]
    assert show("garage").one(id="outages").all("b")[0].text == "still going on"


def test_a_long_name_is_there_whole(show):
    assert show(LONG).one("h1").text.startswith(LONG)


def test_an_unknown_line_and_a_range_that_makes_no_sense(get):
    assert get("nowhere").status_code == 404
    assert get("home", "?range=2y").status_code == 400
    assert get("home", "?start=x").status_code == 400


def test_the_evidence_report_is_of_the_same_line_and_period_and_may_have_its_own_style(get, tmp_path):
    layout = sample_line.archive(tmp_path / "archive", sample_line.line("attic", 3, 3600, 60))
    figures = SampleFigures(int(time.time()))
    [entry] = sample_line.history(3600, 60)
    write_schedule(layout, attic=[{**entry, "valid_to": utc_text(sample_line.START + 3 * 86_400)}])
    figures.source.archive = open_archive(layout.root)
    start, end = iso(sample_line.START), iso(sample_line.START + 86_400)
    answer = get("home", f"/report?start={start}&end={end}", figures)
    assert answer.status_code == 200
    page = parsed(answer.text)
    assert page.one("h1").text == "What the line at home delivered"
    assert f"{start[:10]}" in page.one("head").one("title").text
    assert "250" in page.text  # what the plan promises
    assert "style-src 'sha256-" in answer.headers["content-security-policy"]
    assert "script" not in answer.headers["content-security-policy"]
    assert get("nowhere", "/report", figures).status_code == 404
    assert get("home", "/report?range=24h", figures).status_code == 400  # no test in it


@pytest.mark.parametrize(("name", "fewest"), [("24h", 1), ("7d", 2), ("1y", 2)])
def test_a_single_test_that_failed_is_an_outage_of_short_periods_only(show, name, fewest):
    asked = []

    class Figures(SampleFigures):
        def outages(self, *period, shortest=1, **options):
            asked.append(shortest)
            return super().outages(*period, shortest=shortest, **options)

    page = show("home", f"?range={name}", Figures(int(time.time())))
    assert set(asked) == {fewest}
    assert ("single ones are crosses" in page.text) == (fewest > 1)


def test_what_was_not_measured_is_bounded_and_says_so(show, monkeypatch):
    page = show("home", "?range=30d")
    every = page.one("details", id="slots-table").all("tr")[1:]
    assert len(every) > 3
    monkeypatch.setattr(line, "MOST_LISTED", 3)
    page = show("home", "?range=30d")
    assert [row.text for row in page.one("details", id="slots-table").all("tr")[1:]] == [row.text for row in every[:3]]
    assert f"newest 3 of {len(every)}" in page.one("details", id="slots-table").text
