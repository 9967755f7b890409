"""Notes: kept durably and within bounds, written and deleted on a line's page by whom it is given."""

from __future__ import annotations

import json
import time
from dataclasses import asdict

import pytest
from dashboards import HOME, PASSWORD
from parsed import parsed
from sample import SCRIPT, SampleFigures

from speedtest_logger.dashboard import notes
from speedtest_logger.dashboard.notes import Notes
from speedtest_logger.errors import StorageError, UsageError

HERE = {"Origin": HOME}


@pytest.fixture
def kept(tmp_path):
    return Notes(tmp_path / "notes.jsonl")


@pytest.fixture
def browser(client, load):
    browser = client(load())
    browser.app.state.figures = SampleFigures()
    return browser


def written(browser, **fields):
    return browser.post("/line/home/notes", data=fields, headers=HERE)


def test_a_note_outlives_the_dashboard_and_is_of_one_line_and_time(kept):
    late = kept.add("home", 2_000.7, "  a new\n router ", "eva", 3_000)
    early = kept.add("home", 1_000, "the old one", None, 3_000)
    kept.add("garage", 1_500, "elsewhere", None, 3_000)
    again = Notes(kept.file)
    assert again.of("home") == [early, late]
    assert (late.at, late.text, late.who) == (2_000, "a new router", "eva")
    assert again.of("home", 1_000, 2_000) == [early]
    assert kept.file.stat().st_mode & 0o777 == 0o600
    assert [json.loads(line)["location"] for line in kept.file.read_text().splitlines()] == ["home", "home", "garage"]


@pytest.mark.parametrize("text", ["", " \n ", "x" * 501, "rings\a"])
def test_what_is_no_note(kept, text):
    with pytest.raises(UsageError):
        kept.add("home", 1_000, text, None, 1_000)
    assert not kept.file.exists()


def test_there_is_an_end_to_them(kept, monkeypatch):
    monkeypatch.setattr(notes, "MOST_OF_LINE", 2)
    monkeypatch.setattr(notes, "MOST", 3)
    for location in ("home", "home", "garage"):
        kept.add(location, 1_000, "x" * 500, None, 1_000)
    for location in ("home", "garage"):
        with pytest.raises(UsageError, match="as many notes as there may be"):
            kept.add(location, 1_000, "one more", None, 1_000)
    longest = asdict(notes.Note("0" * 16, "x" * 63, 2**40, "\U0001f4a1" * 500, "w" * 64, 2**40))
    assert len(json.dumps(longest, ensure_ascii=False).encode()) * 2_000 < notes.MOST_BYTES


def test_only_a_lines_own_note_is_deleted(kept):
    note = kept.add("home", 1_000, "wrong", None, 1_000)
    assert not kept.delete("garage", note.id)
    assert kept.delete("home", note.id)
    assert not kept.delete("home", note.id)
    assert kept.of("home") == []


@pytest.mark.parametrize(
    "content",
    [
        '{"half',
        "[]",
        '{"id": 1}',
        '{"id": 1, "location": "a", "at": 0, "text": "", "who": null, "written": 0}',
    ],
)
def test_a_damaged_file_is_said_and_not_written_over(kept, content):
    kept.file.write_text(content)
    with pytest.raises(StorageError, match="cannot be read"):
        kept.add("home", 1_000, "more", None, 1_000)
    assert kept.file.read_text() == content


def test_damaged_notes_leave_the_line_its_page(browser):
    browser.app.state.notes.file.write_text("{")
    page = parsed(browser.get("/line/home").text)
    assert page.one("section", id="notes").one("p").text.startswith("The notes cannot be read")
    assert not page.all("form", action="/line/home/notes")


def test_a_form_writes_a_note_that_the_page_and_its_charts_show(browser):
    answer = written(browser, text=f"new router {SCRIPT}", at="2026-01-31T12:00")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/line/home#notes")
    page = parsed(browser.get("/line/home?start=2026-01-31&end=2026-01-31").text)
    assert page.one("ul", kind="notes").one("b").text == f"new router {SCRIPT}"
    assert page.one("ul", kind="notes").one("time")["datetime"] == "2026-01-31T12:00:00Z"
    marks = json.loads(page.one("script", id="chart-data").text)["notes"]
    assert marks == [{"at": 1_769_860_800, "text": f"new router {SCRIPT}"}]
    other = parsed(browser.get("/line/home?start=2026-02-01&end=2026-02-01").text)
    assert json.loads(other.one("script", id="chart-data").text)["notes"] == []
    assert not parsed(browser.get("/line/garage").text).all("ul", kind="notes")


def test_a_note_without_a_time_is_about_now_and_its_button_deletes_it(browser):
    written(browser, text="now", at="")
    (note,) = browser.app.state.notes.of("home")
    assert abs(note.at - time.time()) < 60
    action = parsed(browser.get("/line/home").text).one("ul", kind="notes").one("form")["action"]
    assert browser.post(action, headers=HERE).status_code == 303
    assert browser.app.state.notes.of("home") == []
    assert browser.post(action, headers=HERE).status_code == 404


@pytest.mark.parametrize("at", ["soon", "1999-12-31T00:00", "2226-01-01T00:00"])
def test_a_time_that_makes_no_sense_is_refused(browser, at):
    assert written(browser, text="x", at=at).status_code == 400
    assert browser.app.state.notes.of("home") == []


def test_a_note_on_no_line_or_from_elsewhere_is_refused(browser):
    assert browser.post("/line/nowhere/notes", data={"text": "x"}, headers=HERE).status_code == 404
    foreign = {"Origin": "https://elsewhere.example"}
    assert browser.post("/line/home/notes", data={"text": "x"}, headers=foreign).status_code == 403
    assert browser.app.state.notes.of("home") == []


def test_who_wrote_it_is_known_and_a_reader_may_only_read(client, guarded, entry_of):
    reader = entry_of("read")
    browser = client(guarded(reader))
    browser.app.state.figures = SampleFigures()
    key = {"Authorization": f"Bearer {reader['key']}"}
    assert browser.post("/line/home/notes", data={"text": "x"}, headers=key).status_code == 403
    browser.post("/login", data={"name": "eva", "password": PASSWORD}, headers=HERE)
    assert written(browser, text="mine").status_code == 303
    (note,) = browser.app.state.notes.of("home")
    assert note.who == "eva"
    browser.cookies.clear()
    page = parsed(browser.get("/line/home", headers=key).text)
    assert "mine by eva" in page.one("ul", kind="notes").text
    assert not page.all("form", action="/line/home/notes")
    assert not page.one("ul", kind="notes").all("form")
