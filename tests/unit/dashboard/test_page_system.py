"""System: parts and nodes, what is wrong first."""

from __future__ import annotations

from dataclasses import replace

import pytest
from parsed import parsed
from sample import AT, SCRIPT, SampleFigures

from speedtest_logger.dashboard.pages import system


def show(client, load, figures=None):
    browser = client(load())
    if figures:
        browser.app.state.figures = figures
    answer = browser.get("/system")
    assert answer.status_code == 200
    return parsed(answer.text)


def test_parts_that_are_wrong_come_first_with_why_and_since(client, load):
    page = show(client, load, SampleFigures())
    rows = page.one("table", kind="parts").one("tbody").all("tr")
    assert [row.one("th").text for row in rows] == ["backup", "quarantine", "ingest"]
    assert [row.one("span", kind="state").text for row in rows] == ["Wrong", "Wrong", "Well"]
    assert rows[0].one("td", data_label="what it says").text == "the last one is 3 d old"
    assert rows[0].one("td", data_label="since").text.startswith("25 Nov 2026 02:01 UTC, ")
    assert page.one("h1").text == "2 of 3 parts need you."
    assert SCRIPT in rows[1].text


def test_nodes_that_are_wrong_come_first(client, load):
    class Figures(SampleFigures):
        def nodes(self):
            well = replace(super().nodes()[0], last_seen=2**31, interval=300)
            return [well, replace(well, name="full", outbox=7, version=None)]

    page = show(client, load, Figures())
    first, second = page.one("section", id="of-nodes").one("tbody").all("tr")
    assert first.one("th").text == "full"
    assert first.one("td", data_label="what is wrong").text == "7 records wait on it"
    assert first.one("td", data_label="version").text == "—"
    assert second.one("td", data_label="what is wrong").text == "nothing"


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({}, []),
        ({"outbox": None, "clock_offset": None, "disk_free": None}, []),
        ({"outbox": 1_200}, ["1,200 records wait on it"]),
        ({"clock_offset": -90.2}, ["its clock is 90 s slow"]),
        ({"bundle_error": "its serial is older"}, ["it is not as its bundle says: its serial is older"]),
        ({"disk_free": 20_000_000}, ["20.0\u202fMB of its disk are free"]),
        ({"last_seen": AT - 1_000, "last": None}, ["silent for 16 min"]),
        ({"last_seen": None, "last": None}, ["nothing was heard of it yet"]),
        ({"last_seen": None, "last": None, "interval": None}, []),  # nothing is expected of it
    ],
)
def test_what_is_wrong_with_a_node(changes, wrong):
    node = SampleFigures().node("attic")
    assert system.wrong_with(replace(node, **changes), AT) == wrong


def test_an_archive_without_rows_is_shown(client, load):
    page = show(client, load)
    assert {"archive", "ingest"} <= {
        row.one("th").text for row in page.one("table", kind="parts").one("tbody").all("tr")
    }
    assert "No node is known yet." in page.text
