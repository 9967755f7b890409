"""Now: the sentence, what is wrong, every line."""

from __future__ import annotations

from dataclasses import replace

import pytest
from markupsafe import Markup
from parsed import parsed
from sample import AT, HOSTILE, LONG, SCRIPT, SampleFigures

from speedtest_logger.dashboard.figures import Now
from speedtest_logger.dashboard.pages.now import MOST_LINES, Once


class Figures(SampleFigures):
    """With a fleet of one's own."""

    def __init__(self, lines=None):
        super().__init__()
        self.shown = lines

    def now(self):
        if self.shown is None:
            return super().now()
        return Now(AT, AT, "All lines are well.", self.shown, None, [])


@pytest.fixture
def show(client, load):
    def show(figures=None):
        browser = client(load())
        browser.app.state.figures = figures or Figures()
        answer = browser.get("/")
        assert answer.status_code == 200
        return parsed(answer.text)

    return show


def test_the_sentence_comes_first_and_then_only_what_is_wrong_worst_first(show):
    page = show()
    assert page.one("h1").text == "4 of 7 lines need you"
    assert [each.one(kind="state").text for each in page.one("ul", kind="ills").all("li")] == [
        "Down", "Silent", "Slow", "Failing",
    ]  # fmt: skip
    first = page.one("ul", kind="ills").all("li")[0].text
    assert first == "Down garage line down since 01:10 UTC: both nodes agree since 01:10 UTC, 51 min"
    assert page.one("ul", kind="note").text.startswith("the backup is 3 d old")


def test_every_line_has_a_row_with_its_figures(show):
    rows = {row["data-location"]: row for row in show().all("tr") if "data-location" in row.attributes}
    assert list(rows) == ["garage", "shed", "flat-3", HOSTILE, SCRIPT, "home", LONG]
    slow, idle = rows["flat-3"], SampleFigures().line("flat-3").median["latency"]
    assert slow.one("td", data_label="Download").text == "51.4 of 250"
    assert slow.one("td", data_label="Download").one("rect", kind="fill")["width"] == "20.6"
    assert slow.one("td", data_label="Latency").text == f"{idle:.1f} → {idle + 61:.1f} ms"
    assert slow.one("time", data_form="until").text == "4:06"
    assert len(slow.one("div", kind="ticks").all("i")) == 24


def test_what_failed_is_a_mark_and_what_was_not_measured_a_dash(show):
    rows = {row["data-location"]: row for row in show().all("tr") if "data-location" in row.attributes}
    down = [tick["class"].split()[1] for tick in rows["garage"].all("i")]
    assert down[-1] == "failed"
    assert set(down[:3]) == {"ok"}
    assert [tick["class"] for tick in rows[SCRIPT].all("i")] == ["tick none"] * 24
    cells = [cell.text for cell in rows[SCRIPT].all("td")]
    assert cells == ["", "—", "—", "— → — ms", "—"]
    assert not rows[SCRIPT].all("rect")


def test_names_and_words_that_mean_harm_are_text(show):
    page = show()
    assert [each["src"] for each in page.all("script")] == ["/static/dashboard.js"]
    assert not page.all("img")
    assert SCRIPT in page.one("table", kind="lines").text
    links = [link["href"] for link in page.one("table").all("a")]
    assert "/line/%22%3E%3Cimg%20src%3Dx%20onerror%3Dalert%281%29%3E" in links


def test_a_fleet_without_a_line_says_what_comes(show):
    page = show(Figures([]))
    assert not page.all("table")
    assert "There is no record yet." in page.text


def test_nothing_is_wrong_where_all_are_well(show):
    well = [line for line in SampleFigures().lines() if line.state in ("well", "new")]
    page = show(Figures(well))
    assert not page.all("ul", kind="ills")
    assert "good" in page.one("h1")["class"]


def test_the_page_obeys_its_own_policy(show):
    def every(element):
        for child in element.children:
            if not isinstance(child, str):
                yield child
                yield from every(child)

    for element in every(show()):
        assert not [name for name in element.attributes if name == "style" or name.startswith("on")]


def test_of_thousands_of_lines_the_worst_are_shown_and_the_others_are_counted(show):
    lines = Figures().lines()
    many = [replace(lines[0], location=f"line-{number}") for number in range(1234)]
    page = show(Figures(many))
    assert len(page.one("ul", kind="ills").all("li")) == MOST_LINES
    assert len([row for row in page.all("tr") if "data-location" in row.attributes]) == MOST_LINES
    said = [each.text for each in page.all("p")]
    assert f"These are the {MOST_LINES} worst. Fleet has all." in said
    assert f"These are the first {MOST_LINES} of 1,234 lines, what is wrong first. Fleet has all." in said


def test_lines_that_were_not_looked_at_just_now_say_when(show):
    class Late(Figures):
        def now(self):
            return replace(super().now(), judged_at=AT - 40)

    assert "The lines were looked at 40 s ago." in " ".join(each.text for each in show(Late()).all("p"))
    assert "looked at" not in " ".join(each.text for each in show().all("p"))


def test_a_line_is_drawn_once_while_it_stands_as_it_did(client, load):
    browser = client(load())
    lines = SampleFigures().now().lines
    browser.app.state.figures = figures = Figures(lines)
    asked = {"headers": {"Cache-Control": "no-cache"}}  # whole pages are kept too
    first = browser.get("/", **asked).text
    drawn = dict(browser.app.state.drawn._drawn)
    assert drawn.keys() == {line.location for line in lines}
    figures.shown = [replace(line) for line in lines]  # judged again
    assert browser.get("/", **asked).text == first
    assert all(browser.app.state.drawn._drawn[name] is each for name, each in drawn.items())
    figures.shown = [replace(line, state="well") if line.location == "garage" else line for line in lines]
    rows = parsed(browser.get("/", **asked).text).all("tr")
    (garage,) = (row for row in rows if row.attributes.get("data-location") == "garage")
    assert garage.one(kind="state").text == "Well"
    kept = browser.app.state.drawn._drawn
    assert [name for name in kept if kept[name] is not drawn[name]] == ["garage"]


def test_lines_that_are_shown_no_more_are_not_kept_for_ever():
    once, (line, *_) = Once(), SampleFigures().now().lines
    for number in range(1000):
        once(replace(line, location=f"line-{number}"), lambda each: Markup("<td>{}</td>").format(each.location))
        assert len(once._drawn) <= 2 * MOST_LINES
