"""A record: all of it, and what the engine printed for whom may see that."""

from __future__ import annotations

import pytest
from parsed import parsed
from sample import SCRIPT, SampleFigures, run_id

from speedtest_logger.dashboard.pages import record
from speedtest_logger.record import COLUMNS


class Figures(SampleFigures):
    """That remember what was asked for."""

    asked = ()

    def record(self, run, node=None, at=None):
        self.asked = (run, node, at)
        return super().record(run, node, at)


RUN = Figures().node("bench").last.run_id


@pytest.fixture
def browser(client, load):
    browser = client(load())
    browser.app.state.figures = Figures()
    return browser


def rows_of(page):
    """Each column's value; those without one are folded."""
    return {row.one("code").text: row.one("td").text for body in page.all("tbody") for row in body.all("tr")}


def test_every_column_is_there_and_what_is_missing_a_dash(browser):
    answer = browser.get(f"/record/{RUN}?node=bench&at=1795827000")
    page = parsed(answer.text)
    assert browser.app.state.figures.asked == (RUN, "bench", 1_795_827_000.0)
    rows = rows_of(page)
    assert sorted(rows) == sorted(COLUMNS)
    assert rows["status"] == "failed"
    assert rows["reason"] == "no_route: the node had no default route or its interface was down"
    assert rows["download_bps"] == "—"
    assert "download_bps" in page.one("details").text
    assert "reason" not in page.one("details").text.split()
    assert rows["started_at"].endswith(" UTC")
    assert page.one("b").text == "Failed"


def test_a_record_that_measured_has_its_figures_with_units(browser):
    page = parsed(browser.get(f"/record/{Figures().node('attic').last.run_id}").text)
    rows = rows_of(page)
    assert rows["download_bps"].endswith(" Mbit/s")
    assert rows["latency_ms"].endswith(" ms")
    assert rows["server_name"] == f"Frankfurt {SCRIPT}"


def test_raw_output_is_text(browser):
    page = parsed(browser.get(f"/record/{RUN}").text)
    assert page.one("pre").text == f'{{"said": "{SCRIPT}"}}'
    assert [each["src"] for each in page.all("script")] == ["/static/dashboard.js"]


def test_raw_output_needs_its_scope(client, guarded, entry_of):
    reader, both = entry_of("read"), entry_of("read", "raw")
    browser = client(guarded(reader, both))
    browser.app.state.figures = Figures()

    def said(key):
        return browser.get(f"/record/{RUN}", headers={"Authorization": f"Bearer {key['key']}"}).text

    assert not parsed(said(reader)).all("pre")
    assert "needs the scope raw" in said(reader)
    assert "said" in parsed(said(both)).one("pre").text


def test_much_raw_output_is_cut_and_controls_are_shown_as_nothing_else():
    found = record.raw_of(b"a\x1b[2J\r\nb\tc\xff" + b"x" * record.MOST_RAW)
    assert found.text.startswith("a?[2J\nb    c\ufffdxxx")
    assert found.left_out == 11
    assert record.raw_of(None) is None


@pytest.mark.parametrize(
    ("address", "status"),
    [("/record/nothing", 404), (f"/record/{run_id('nobody', 1)}", 404), (f"/record/{RUN}?at=soon", 400)],
)
def test_what_is_not_there_is_said(browser, address, status):
    assert browser.get(address).status_code == status


def test_a_hint_that_is_no_name_is_not_passed_on(browser):
    assert browser.get(f"/record/{RUN}?node=%27%3B--").status_code == 200
    assert browser.app.state.figures.asked == (RUN, None, None)


def test_the_real_figures_know_nothing_of_a_run_that_is_not_there(client, load):
    assert client(load()).get("/record/'; DROP TABLE slot; --").status_code == 404
