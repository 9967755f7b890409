"""Annotations by the API: the notes of pages, by whom it is given, each deleted by whoever wrote it."""

from __future__ import annotations

import json
import time

import pytest
from dashboards import HOME, PASSWORD
from sample import SampleFigures

from speedtest_logger.archive.read.local_time import Zone
from speedtest_logger.dashboard import notes
from speedtest_logger.dashboard.app import MOST_BODY, create_app

PLACE = "/api/v1/annotations"


@pytest.fixture
def people(guarded, client, entry_of):
    """Programs and a user of one application, by name."""
    entries = {
        "robot": entry_of("annotate"),
        "other": entry_of("annotate", "read"),
        "reader": entry_of("read", "quiet"),
    }
    app = create_app(guarded(*entries.values()))
    app.state.figures = SampleFigures()
    app.state.figures.source.zone = Zone.named("Europe/Berlin")
    made = {name: client(app, Authorization=f"Bearer {entry['key']}") for name, entry in entries.items()}
    made["eva"] = client(app, Origin=HOME)
    made["eva"].post("/login", data={"name": "eva", "password": PASSWORD})
    return made


def write(by, status=201, **content):
    text = json.dumps({"location": "home", "text": "a new router", **content})
    answer = by.post(PLACE, content=text, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    return answer.json()


def listed(who, **query):
    return who.get(PLACE, params=query).json()["annotations"]


def test_what_a_program_writes_pages_show_and_what_people_write_programs_read(people):
    now = int(time.time())
    made = write(people["robot"], text=" a new\n router ")
    assert made["text"] == "a new router"
    assert now <= made["at"] == made["written"] <= now + 60
    assert made["who"].startswith("a program ")
    page = people["eva"].get("/line/home", headers={"Accept": "text/html"}).text
    assert "a new router" in page
    people["eva"].post("/line/garage/notes", data={"text": "the provider was here", "at": "2026-01-31T12:00:00Z"})
    assert [(each["location"], each["who"]) for each in listed(people["other"])] == [
        ("garage", "eva"),
        ("home", made["who"]),
    ]
    assert [each["location"] for each in listed(people["other"], location="home")] == ["home"]
    assert [each["location"] for each in listed(people["other"], range="7d")] == ["home"]
    assert [each["location"] for each in listed(people["eva"], start="2026-01-31", end="2026-01-31")] == ["garage"]
    assert write(people["robot"], at="2026-07-01")["at"] == 1_782_856_800  # midnight in Berlin


def test_who_may_not_read_may_write_and_the_other_way_round(people):
    assert people["robot"].get(PLACE).status_code == 403
    write(people["reader"], 403)
    assert (
        people["eva"]
        .post(PLACE, json={"location": "home", "text": "x"}, headers={"Origin": "https://elsewhere.example"})
        .status_code
        == 403
    )
    assert listed(people["eva"]) == []


def test_only_who_wrote_it_deletes_it(people):
    theirs, hers = write(people["robot"]), write(people["eva"])
    assert hers["who"] == "eva"
    for who, note, status in (
        ("other", theirs, 403), ("eva", theirs, 403), ("robot", hers, 403), ("reader", theirs, 403),
        ("robot", theirs, 204), ("robot", theirs, 404), ("eva", hers, 204),
    ):  # fmt: skip
        assert people[who].delete(f"{PLACE}/{note['id']}").status_code == status, (who, status)
    assert listed(people["eva"]) == []
    assert people["robot"].delete(f"{PLACE}/..").status_code in (404, 405, 422)


WRONG = [
    ({"text": ""}, 400), ({"text": " \n "}, 400), ({"text": "x" * 501}, 400), ({"text": "x" * 2_001}, 422),
    ({"text": "rings\a"}, 400), ({"text": "\ud800"}, 422), ({"text": None}, 422), ({"location": "nowhere"}, 404),
    ({"location": "../home"}, 422), ({"at": "yesterday"}, 400), ({"at": "1999-01-01"}, 400),
    ({"at": "2031-01-01"}, 400), ({"at": "2" * 41}, 422), ({"who": "eva"}, 422), ({"id": "0" * 16}, 422),
]  # fmt: skip


def test_what_is_no_annotation_is_refused_and_not_kept(people):
    for content, status in WRONG:
        write(people["other"], status, **content)
    assert listed(people["other"]) == []


def test_there_is_an_end_to_their_size_and_number(people, monkeypatch):
    monkeypatch.setattr(notes, "MOST_OF_LINE", 2)
    for _ in range(2):
        write(people["other"])
    assert "as many notes as there may be" in write(people["other"], 400)["detail"]
    large = people["other"].post(PLACE, content=b'{"location": "home", "text": "' + b"x" * MOST_BODY + b'"}')
    assert large.status_code == 413
    assert len(listed(people["other"])) == 2


def test_a_damaged_file_is_not_written_over(people):
    file = people["other"].app.state.notes.file
    file.write_text("{damaged\n")
    for answer in (people["other"].get(PLACE), people["other"].post(PLACE, json={"location": "home", "text": "x"})):
        assert answer.status_code == 503
    assert file.read_text() == "{damaged\n"
