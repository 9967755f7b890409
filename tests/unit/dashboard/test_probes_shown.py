"""Probes: on a line's page, among the system's parts, and from the API."""

from __future__ import annotations

import csv
import io
import json
import time

import pyarrow.parquet as pq
import pytest
from parsed import parsed
from probing import result, store
from sample import SampleFigures

from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.format.schema import PROBE_SCHEMA
from speedtest_logger.archive.read import probes
from speedtest_logger.archive.read.local_time import Zone
from speedtest_logger.dashboard.figures.probed import Days, Probed, probed

NOW = time.time() // 300 * 300


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    """Two nodes of one line, a day of results every five minutes, and ten minutes without the internet."""
    layout = Layout(tmp_path_factory.mktemp("probes") / "root")
    layout.prepare()
    span = (NOW - 7_200, NOW - 6_600)
    store(layout, [
        result(
            start, "ping", target, node,
            failed=span if target != "gateway" and start < span[1] and start + 240 > span[0] else None,
        )
        for start in range(int(NOW) - 72_000, int(NOW) - 300, 300)
        for target in ("gateway", "1.1.1.1")
        for node in ("attic", "porch")
    ])  # fmt: skip
    return layout


@pytest.fixture
def browser(client, load, layout):
    return client(load(SPEEDTEST_ARCHIVE_DIR=str(layout.root)))


@pytest.fixture
def ask(browser):
    def ask(status=200, **query):
        answer = browser.get("/api/v1/probes", params=query)
        assert answer.status_code == status, answer.text
        return answer

    return ask


def test_pages_of_the_api_are_all_results(ask):
    pages, cursor = [], {}
    while True:
        said = ask(limit=300, **cursor).json()
        pages.insert(0, said["results"])
        if said["next"] is None:
            break
        cursor = {"cursor": said["next"]}
    found = [row for page in pages for row in page]
    assert len(found) == 239 * 4
    assert [row["started_at"] for row in found] == sorted(row["started_at"] for row in found)
    assert set(found[0]) == set(PROBE_SCHEMA.names)
    assert len(ask(node="porch", probe="ping", target="gateway", limit=5_000).json()["results"]) == 239
    assert ask(location="garden").json() == {"results": [], "next": None, "unreadable": []}


def test_its_forms_agree(ask):
    rows = ask(limit=50).json()["results"]
    answer = ask(limit=50, format="csv")
    assert 'rel="next"' in answer.headers["Link"]
    assert answer.headers["Cache-Control"] == "no-store"
    assert [row["started_at"] for row in csv.DictReader(io.StringIO(answer.text))] == [r["started_at"] for r in rows]
    assert pq.read_table(io.BytesIO(ask(limit=50, format="parquet").content)).num_rows == 50


def test_what_is_no_question_is_refused(ask):
    ask(422, probe="; DROP", limit=1)
    ask(422, limit=10_001)
    ask(400, cursor="nonsense")


def test_status_lists_probes_that_were_heard_of(client, load, tmp_path):
    layout = Layout(tmp_path / "root")
    layout.prepare()
    now = int(time.time())  # NOW is the module's, and may be hours old
    store(layout, [result(now - 400, "ping", "gateway", node) for node in ("attic", "porch")])
    browser = client(load(SPEEDTEST_ARCHIVE_DIR=str(layout.root)))
    [each] = browser.get("/api/status").json()["probes"]
    assert (each["probe"], each["nodes"], each["health"]) == ("ping", 2, "well")


def test_a_lines_failures_have_their_diagnosis(layout):
    found = probed(layout, (NOW - 86_400, NOW), "home", Zone.named("UTC"))
    assert [(s.node, s.target, s.failed) for s in found.summaries] == [
        ("attic", "1.1.1.1", 1), ("attic", "gateway", 0), ("porch", "1.1.1.1", 1), ("porch", "gateway", 0),
    ]  # fmt: skip
    assert len(found.failures) == 2
    assert all(each.diagnosis.endswith(": the line or the provider") for each in found.failures)
    drawn = found.to_chart()
    assert [len(each["failed"]) for each in drawn] == [1, 0, 1, 0]
    assert json.loads(json.dumps(drawn)) == drawn
    assert not probed(Layout(layout.root / "none"), (0, 1), "home", Zone.named("UTC")).ever


def of_days(layout, days, *, start=NOW - 4 * 86_400):
    return probed(layout, (start, NOW), "home", Zone.named("UTC"), days)


@pytest.fixture
def opened(monkeypatch):
    """The names of the files that are read, in order."""
    names, really = [], probes.of_day

    def of_day(file, *args):
        names.append(str(file))
        return really(file, *args)

    monkeypatch.setattr(probes, "of_day", of_day)
    return names


def stored(folder, *starts, median=9.0):
    layout = Layout(folder / "root")
    layout.prepare()
    store(layout, [result(start, "ping", "1.1.1.1", median=median) for start in starts])
    return layout


def test_a_day_is_read_once_until_its_file_is_another_one(tmp_path, opened):
    layout, days = stored(tmp_path, NOW - 3 * 86_400, NOW - 86_400), Days()
    first = of_days(layout, days)
    assert len(opened) == 2
    assert of_days(layout, days) == first == of_days(layout, None)
    assert len(opened) == 2 + 2, "once, and once by who keeps nothing"
    assert [s.results for s in of_days(layout, days, start=NOW - 2 * 86_400).summaries] == [1], "of the period alone"
    store(layout, [result(NOW - 86_400, "ping", "1.1.1.1", median=20.0)])
    assert [s.median for s in of_days(layout, days, start=NOW - 2 * 86_400).summaries] == [20.0]
    assert opened[4:] == [str(layout.probe_files()[-1])]


def test_days_that_were_not_asked_for_the_longest_go(tmp_path, opened):
    layout, days = stored(tmp_path, NOW - 3 * 86_400, NOW - 86_400), Days(most=1)
    assert of_days(layout, days) == of_days(layout, days) == of_days(layout, None)
    assert len(opened) == 6


class Quiet(SampleFigures):
    """A fleet whose probes have said nothing of any line."""

    ever = True

    def probed(self, *_: float, **__: str) -> Probed:
        return Probed(self.ever, [], [], [], 0)


class Silent(Quiet):
    """One in which no probe has ever reported."""

    ever = False


@pytest.fixture
def page(client, load):
    def page(address, figures):
        browser = client(load())
        browser.app.state.figures = figures
        answer = browser.get(address, headers={"Accept": "text/html"})
        assert answer.status_code == 200, answer.text
        return parsed(answer.text)

    return page


def test_a_lines_page_has_a_table_without_a_script(page):
    whole = page("/line/flat-3", SampleFigures(int(time.time())))
    section = whole.one("section", id="probes")
    assert section.all("table")[0].one("tbody").all("tr")[0].one("th").text == "1.1.1.1"
    assert "the gateway answered and the internet did not" in section.one("details").text
    assert "3 older ones are left out" in section.text
    drawn = json.loads(whole.one("script", id="chart-data").text)["probes"]
    assert {len(each["at"]) for each in drawn} == {6, 1}
    assert [len(each["failed"]) for each in drawn] == [1, 0, 0]


def test_who_has_none_is_told_how_to_switch_them_on_and_who_never_had_any_is_not(page):
    assert "speedtest_logger_probes: [ping, dns]" in page("/line/flat-3", Quiet()).one("section", id="probes").text
    assert page("/line/flat-3", Silent()).all("section", id="probes") == []


def test_system_lists_probes(page):
    text = page("/system", SampleFigures()).one("section", id="of-probes").text
    assert "silent on 1 node" in text
    assert "its program does not work on 1 node" in text
