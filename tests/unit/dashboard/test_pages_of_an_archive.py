"""Every page over a real archive and the real figures: they say the same as the archive's own questions."""

from __future__ import annotations

import json
import time

import pytest
import sample_line
from parsed import parsed

from speedtest_logger.archive.format import json_lines
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.read import coverage
from speedtest_logger.archive.read.dataset import Archive
from speedtest_logger.archive.write import store
from speedtest_logger.dashboard.pages.shown import percent

DAY = 86_400


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    """Two nodes at home for ten days until now, one of which is at the end of an outage."""
    layout = Layout(tmp_path_factory.mktemp("real") / "root")
    layout.prepare()
    start = int(time.time()) // DAY * DAY - 10 * DAY
    rows = [
        row
        for node, offset in (("attic", 60), ("cellar", 90))
        for row in sample_line.line(node, 11, 3_600, offset, start)
        if row["started_at"] < sample_line.utc_text(time.time() - 60)
    ]
    with store.single_writer(layout, "ingest"):
        store.commit(layout, "ingest", json_lines.to_table(rows))
    nodes = {"attic": sample_line.history(3_600, 60, start), "cellar": sample_line.history(3_600, 90, start)}
    (layout.state / "schedule.json").write_text(json.dumps({"nodes": nodes}))
    return layout


@pytest.fixture
def get(client, load, layout):
    browser = client(load(SPEEDTEST_ARCHIVE_DIR=str(layout.root)))

    def get(address):
        answer = browser.get(address, headers={"Accept": "text/html"})
        assert answer.status_code == 200, f"{address}: {answer.text[-800:]}"
        return parsed(answer.text) if "html" in answer.headers["Content-Type"] else answer

    return get


def test_every_page_is_shown(get):
    year = time.gmtime().tm_year
    for address in (
        "/", "/kiosk", "/fleet", "/fleet?by=node&range=90d&sort=-share", "/outages", "/outages?single=yes&range=1y",
        "/alerts", "/system", "/line/home", "/line/home?range=90d", f"/line/home/year/{year}", "/badge/home.svg",
        "/line/home/report?range=7d", "/logs", "/logs?range=30d&level=error&text=x&node=attic",
    ):  # fmt: skip
        get(address)


def test_the_fleets_figures_are_those_of_coverage(get, layout):
    end = int(time.time()) // DAY * DAY
    page = get(f"/fleet?by=node&start={sample_line.utc_text(end - 5 * DAY)}&end={sample_line.utc_text(end)}")
    rows = {row.one("a", kind="name").text: row for row in page.one("table").one("tbody").all("tr")}
    truth = {}
    for account in coverage.accounts(Archive(layout), end - 5 * DAY, end):
        cover = truth.setdefault(account.node, coverage.Cover(account.node, account.location))
        for slot in account.slots:
            cover.take(slot)
    assert set(rows) == set(truth) == {"attic", "cellar"}
    for node, row in rows.items():
        figures = truth[node].to_row()
        assert row.one("td", data_label="availability").text.split() == percent(figures["availability_pct"]).split()
        assert row.one("td", data_label="accounted for").text.split() == percent(figures["accounted_pct"]).split()


def test_an_outage_leads_to_its_records_and_a_record_to_all_of_it(get):
    page = get("/outages?range=30d&single=yes")
    rows = page.one("table", kind="outages").one("tbody").all("tr")
    assert len(rows) > 5
    line = get(rows[-1].one("a")["href"])
    failed = [cell for cell in line.all("a", kind="cell") if "failed" in cell["class"]]
    record = get(failed[0]["href"])
    assert record.one("b").text == "Failed"
    assert "librespeed" in record.text


def test_a_year_has_the_days_that_were_tested(get):
    shown = 0
    for year in {time.gmtime().tm_year, time.gmtime(time.time() - 10 * DAY).tm_year}:
        page = get(f"/line/home/year/{year}")
        shown += sum(link.text.isdigit() for cell in page.all("td") for link in cell.all("a"))
    assert shown in (10, 11)
