"""Where the archive, or the dashboard's own folder, is bad, pages say what and since when, and none of them breaks."""

from __future__ import annotations

import json
import resource
import shutil
import signal
import time

import pytest
from builders import DAY, in_a_process, put, put_in_inbox, slot, write_schedule
from dashboards import HOME
from parsed import parsed
from starlette.testclient import TestClient

from speedtest_logger import accounts
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.write import ingest
from speedtest_logger.dashboard import settings
from speedtest_logger.dashboard.app import create_app
from speedtest_logger.dashboard.events import JsonLines
from speedtest_logger.dashboard.figures import kept, source
from speedtest_logger.dashboard.keeper import Keeper
from speedtest_logger.record import utc_text

STEP = 600
PAGES = (
    "/", "/kiosk", "/line/home", "/fleet", "/outages", "/alerts", "/logs", "/system", "/line/home/year/2026",
    "/badge/home.svg",
)  # fmt: skip
ANSWERS = (
    "/api/v1/locations", "/api/v1/series?location=home", "/api/v1/records", "/api/v1/alerts", "/api/status",
    "/health",
)  # fmt: skip


@pytest.fixture
def bad(tmp_path, monkeypatch):
    """An archive of a node that was looked at once, and can now be spoilt."""
    monkeypatch.setattr(kept, "FRESH_SECONDS", -1.0)
    monkeypatch.setattr(source, "LOOK_SECONDS", -1.0)
    layout = Layout(tmp_path / "archive")
    layout.prepare()
    now = int(time.time()) // STEP * STEP
    entry = {
        "valid_from": utc_text(now - DAY), "valid_to": None, "interval_seconds": STEP, "offset_seconds": 0,
        "location": "home", "plan_download_mbps": 100, "plan_upload_mbps": 0,
    }  # fmt: skip
    write_schedule(layout, attic=[entry])
    put_in_inbox(layout, [slot("attic", now - STEP * n) for n in range(1, 140)])
    ingest.ingest(layout)
    made = Bad(layout, tmp_path / "own", now)
    assert made.say() == []
    yield made
    made.app.state.figures.source.rollups.close()


class Bad:
    """What pages and programs are told."""

    def __init__(self, layout, own, now):
        self.layout, self.own, self.now = layout, own, now
        own.mkdir()
        variables = {"SPEEDTEST_ARCHIVE_DIR": str(layout.root), "SPEEDTEST_DASHBOARD_DIR": str(own)}
        self.app = create_app(settings.load(variables), JsonLines("error"))
        self.client = TestClient(self.app, base_url=HOME)
        self.keeper = Keeper(self.app.state.figures.source, self.app.state.log)

    def get(self, path):
        """An answer, which is none of 500."""
        answer = self.client.get(path, headers={"Accept": "text/html" if path in PAGES else "*/*"})
        assert answer.status_code in (200, 503), (path, answer.text)
        return answer

    def say(self, page="/"):
        """What a page tells besides its figures."""
        return [each.text for each in parsed(self.get(page).text).one(id="troubles").all("li")]

    def everywhere(self, *words):
        """Every page says it, with a time, and no answer is one of 500."""
        for path in ANSWERS:
            self.get(path)
        for page in PAGES[:-1]:
            [said] = [text for text in self.say(page) if text.startswith(words[0])]
            assert all(word in said for word in (*words, ", since ")), (page, said)
        return self.get("/").status_code


def test_an_archive_that_is_gone(bad):
    shutil.move(bad.layout.root, bad.layout.root.with_name("elsewhere"))
    assert bad.everywhere("archive: ", "No such file") == 200
    page = parsed(bad.get("/").text)
    assert page.one("h1").text == "The archive cannot be read: these are the figures of before."
    assert page.one("table", kind="lines").all("tr", data_location="home")
    shutil.move(bad.layout.root.with_name("elsewhere"), bad.layout.root)
    assert bad.say() == []
    assert parsed(bad.get("/").text).one("h1").text == "The line is well."


def test_an_archive_that_this_account_may_not_read(bad):
    def act():
        accounts.become(accounts.Owner(61_009, 61_009))
        [part] = [part for part in bad.app.state.figures.troubles() if part.name == "archive"]
        assert "Permission denied" in part.sentence
        assert part.since

    bad.layout.archive.chmod(0o700)
    in_a_process(act)


def test_a_month_that_is_damaged(bad):
    put(bad.layout, slot("attic", bad.now))
    [file] = bad.layout.month_files()[-1:]
    kept = file.read_bytes()
    file.write_bytes(kept[:-20] + b"x" * 20)
    assert bad.everywhere("archive: ", "speedtest.parquet cannot be read", "speedtest-archive verify") == 503
    file.write_bytes(kept)
    assert bad.say() == []


def test_an_ingest_that_does_not_run(bad):
    file = bad.layout.state / "ingest.json"
    long_ago = time.time() - 7_200
    file.write_text(json.dumps({**json.loads(file.read_text()), "at": utc_text(long_ago)}))
    assert bad.everywhere("ingest: does not run", time.strftime("%H:%M UTC", time.gmtime(long_ago))) == 200
    assert bad.client.get("/health").json()["scheduler"] == "stopped"


def test_a_registry_that_is_gone_or_damaged(bad):
    file = bad.layout.state / "schedule.json"
    kept = file.read_bytes()
    file.unlink()
    assert bad.everywhere("registry: ", "schedule.json is missing", "run site.yml") == 200
    file.write_text("{damaged")
    assert bad.everywhere("registry: ", "schedule.json") == 503
    file.write_bytes(kept)
    assert bad.say() == []


def test_a_full_disk_is_said_and_got_over(bad):
    killing = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    put_in_inbox(bad.layout, [slot("attic", bad.now - STEP * n) for n in range(140, 1_500)])
    ingest.ingest(bad.layout)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, before[1]))
    try:
        assert bad.everywhere("rollups: ", "rollup.duckdb") == 503
        bad.keeper._once()
        assert bad.everywhere("rollups: ", "rollup.duckdb") == 503
        refused = bad.client.post("/api/v1/annotations", json={"location": "home", "text": "x" * 400})
        assert refused.status_code == 503
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, killing)
    for _ in range(2):  # once to open them, once to make them
        bad.keeper._once()
    assert bad.say() == []
    assert len(bad.get("/api/v1/records?range=24h").json()["records"]) > 100


@pytest.mark.parametrize("spoil", ["gone", "garbage"])
def test_rollups_that_are_gone_or_damaged_are_made_again(bad, spoil):
    file = bad.own / "rollup.duckdb"
    bad.app.state.figures.source.rollups._database.execute("CHECKPOINT")
    if spoil == "gone":
        for each in bad.own.glob("rollup.*"):
            each.unlink()
    else:
        file.write_bytes(b"\xff" * file.stat().st_size)
    put(bad.layout, slot("attic", bad.now))
    for path in (*PAGES, *ANSWERS):
        bad.get(path)
    bad.app.state.figures.source.reopen()  # as after a restart
    bad.keeper._once()
    assert bad.say() == []
    records = bad.get("/api/v1/records?range=7d").json()["records"]
    assert (len(records), records[0]["scheduled_at"]) == (140, utc_text(bad.now))
