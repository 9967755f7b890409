"""What the API answers is what the figures say, in the form that was asked for."""

from __future__ import annotations

import csv
import io
import json
import threading
import time
from dataclasses import asdict
from hashlib import sha256
from urllib.parse import parse_qsl, urlsplit

import pyarrow.parquet as pq
import pytest
from builders import fresh, put, slot
from dashboards import HOME
from starlette.testclient import TestClient

from speedtest_logger import wire
from speedtest_logger.archive.write import ingest
from speedtest_logger.dashboard import limits, period, reported, settings
from speedtest_logger.dashboard.app import create_app, openapi
from speedtest_logger.errors import NotReadyError
from speedtest_logger.record import COLUMNS, run_id_of_slot, utc_text

STEP, HOUR, DAY = 600, 3600, 86_400
NOW = time.time() // STEP * STEP + 30
FROM = NOW - 3 * DAY


def rows(node, location, offset, speed):
    for at in range(int(FROM) // STEP * STEP + offset, int(NOW) - 30, STEP):
        yield slot(node, at, location, download_bps=speed + at % 7e6, upload_bps=speed / 2, latency_ms=20.0)


@pytest.fixture(scope="module", autouse=True)
def stopped_clock():
    """Whenever these tests run: the time is that of their rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.time", lambda: NOW)
        yield


@pytest.fixture(scope="module")
def app(tmp_path_factory, stopped_clock):
    """The application over two locations with a node each, three days old."""
    layout = fresh(tmp_path_factory)
    nodes = {"attic": ("home", 0), "barn": ("farm", 60)}
    entries = {
        node: [{
            "valid_from": utc_text(FROM - 1), "valid_to": None, "interval_seconds": STEP, "offset_seconds": offset,
            "location": location, "plan_download_mbps": 100, "plan_upload_mbps": 0,
        }]
        for node, (location, offset) in nodes.items()
    }  # fmt: skip
    (layout.state / "schedule.json").write_text(json.dumps({"nodes": entries}))
    put(layout, *(row for node, (location, offset) in nodes.items() for row in rows(node, location, offset, 80e6)))
    own = tmp_path_factory.mktemp("own")
    made = create_app(settings.load({"SPEEDTEST_ARCHIVE_DIR": str(layout.root), "SPEEDTEST_DASHBOARD_DIR": str(own)}))
    yield made
    made.state.figures.source.rollups.close()


@pytest.fixture(scope="module")
def ask(app):
    """Ask the API something below /api/v1."""
    client = TestClient(app, base_url=HOME)

    def ask(path, status=200, headers=None, **query):
        answer = client.get(
            path if path.startswith("/api/") else f"/api/v1/{path}", params=query or None, headers=headers
        )
        assert answer.status_code == status, answer.text
        return answer

    return ask


def test_nodes_and_locations_are_those_of_the_figures(app, ask):
    figures = app.state.figures
    assert ask("nodes").json() == {"nodes": [asdict(node) for node in figures.nodes()]}
    assert ask("nodes/barn").json() == asdict(figures.node("barn"))
    found = ask("locations").json()
    assert found["sentence"] == "All 2 lines are well."
    assert [each["location"] for each in found["locations"]] == [line.location for line in figures.lines()]
    line = ask("locations/home").json()
    assert line.pop("plan_pct") == pytest.approx(figures.line("home").share)
    assert line == asdict(figures.line("home"))
    assert "no node" in ask("nodes/nobody", 404).json()["detail"]
    assert "no location" in ask("locations/nowhere", 404).json()["detail"]


def test_charts_are_those_of_the_figures(app, ask):
    figures = app.state.figures
    period = {"start": utc_text(NOW - 2 * DAY), "end": utc_text(NOW)}
    times = (round(NOW - 2 * DAY, 3), round(NOW, 3))
    assert ask("series", location="home", **period).json() == asdict(figures.series(*times, location="home"))
    narrow = ask("series", node="barn", grain="day", values=["upload", "loss"], **period).json()
    assert set(narrow["values"]) == {f"{name}{end}" for name in ("upload", "loss") for end in ("_low", "", "_high")}
    assert narrow == asdict(figures.series(*times, node="barn", grain="day", values=("upload", "loss")))
    cells = ask("cells", location="home", **period).json()["nodes"]
    assert cells == [asdict(each) for each in figures.cells(*times, location="home")]
    week = ask("week", location="home", zone="Asia/Tokyo", **period).json()
    assert week == asdict(figures.week(*times, location="home", zone="Asia/Tokyo"))
    assert "name a location or a node" in ask("series", 400).json()["detail"]
    assert "grain=day" in ask("series", 400, node="barn", grain="hour", start="2023-01-01").json()["detail"]


def test_coverage_and_outages_are_those_of_the_command_line(app, ask):
    figures = app.state.figures
    period = {"start": utc_text(FROM), "end": utc_text(NOW)}
    times = (round(FROM, 3), round(NOW, 3))
    for by_day in (False, True):
        found = ask("coverage", by_day=by_day, **period).json()["coverage"]
        assert [{k: v for k, v in row.items() if k != "day" or v} for row in found] == figures.coverage(
            *times, by_day=by_day
        )
    found = ask("outages", shortest=2, **period).json()["outages"]
    assert found == [asdict(each) for each in figures.outages(*times, shortest=2)]


def test_pages_of_records_follow_one_another_to_the_last_one(ask):
    query = {"start": utc_text(FROM - 60), "end": utc_text(NOW), "node": "attic"}
    whole = ask("records", limit=10_000, **query).json()
    assert whole["next"] is None
    assert [row["run_id"] for row in whole["records"]] == [
        run_id_of_slot("attic", utc_text(at)) for at in range(int(NOW - 30) - STEP, int(FROM - 30) - 1, -STEP)
    ]
    met, page = [], ask("records", limit=100, **query)
    while True:
        met += page.json()["records"]
        if not page.json()["next"]:
            break
        page = ask(page.links["next"]["url"])
    assert met == whole["records"]
    assert "is no cursor" in ask("records", 400, cursor="xyz").json()["detail"]


def test_records_come_in_the_form_that_was_asked_for(ask):
    query = {"start": utc_text(NOW - DAY), "end": utc_text(NOW), "location": "farm"}
    rows = ask("records", **query).json()["records"]
    assert list(rows[0]) == list(COLUMNS)
    as_csv = ask("records", headers={"Accept": "text/csv"}, **query)
    assert as_csv.headers["content-type"].startswith("text/csv")
    read = list(csv.DictReader(io.StringIO(as_csv.text)))
    assert [row["run_id"] for row in read] == [row["run_id"] for row in rows]
    assert [float(row["download_bps"]) for row in read] == [row["download_bps"] for row in rows]
    table = pq.read_table(io.BytesIO(ask("records", format="parquet", **query).content))
    assert table["run_id"].to_pylist() == [row["run_id"] for row in rows]
    assert str(table.schema.field("started_at").type).startswith("timestamp")
    for accept, media in (
        ("text/html, */*;q=0.1", "application/json"),
        ("text/csv;q=0.5, application/vnd.apache.parquet", "application/vnd.apache.parquet"),
        ("application/json;q=0, text/*", "text/csv"),
    ):
        assert ask("records", headers={"Accept": accept}, **query).headers["content-type"].startswith(media)
    ask("records", 406, headers={"Accept": "image/png"})


def test_a_record_is_found_with_and_without_hints(ask):
    row = ask("records", node="barn", limit=1).json()["records"][0]
    at = NOW - HOUR
    for hints in ({}, {"node": "barn"}, {"node": "barn", "at": at}):
        assert ask(f"records/{row['run_id']}", **hints).json() == row
    nobody = "00000000-0000-0000-0000-000000000000"
    assert nobody in ask(f"records/{nobody}", 404).json()["detail"]
    assert "was not kept" in ask(f"records/{row['run_id']}/raw", 404).json()["detail"]


def test_an_engines_words_come_as_they_were_printed(tmp_path_factory):
    layout, words = fresh(tmp_path_factory), b'{"download": 96.5}\n\xff'
    row = slot("attic", NOW - HOUR, raw_sha256=sha256(words).hexdigest(), engine="ookla")
    for folder, line in (
        (layout.inbox, json.dumps(row).encode()),
        (layout.raw_inbox, json.dumps({
            "run_id": row["run_id"], "started_at": row["started_at"],
            "content": json.loads(wire.to_line(row["run_id"], words))["content"],
        }).encode()),
    ):  # fmt: skip
        (folder / "attic").mkdir(parents=True, exist_ok=True)
        (folder / "attic" / f"{'1' * 26}.jsonl").write_bytes(line + b"\n")
    ingest.ingest(layout)
    own = tmp_path_factory.mktemp("own")
    made = create_app(settings.load({"SPEEDTEST_ARCHIVE_DIR": str(layout.root), "SPEEDTEST_DASHBOARD_DIR": str(own)}))
    answer = TestClient(made, base_url=HOME).get(f"/api/v1/records/{row['run_id']}/raw")
    made.state.figures.source.rollups.close()
    assert (answer.status_code, answer.content) == (200, words)
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")


def test_a_report_is_a_page_that_needs_nothing_else(ask):
    page = ask("report", location="home", range="7d")
    assert page.headers["content-type"].startswith("text/html")
    assert "sandbox" in page.headers["content-security-policy"]
    assert "<svg" in page.text
    assert "no tests in this period" in ask("report", 400, location="nowhere").json()["detail"]


def test_the_page_s_report_is_the_api_s_and_costs_no_more(app, ask, monkeypatch):
    page = TestClient(app, base_url=HOME)
    monkeypatch.setattr("time.time", lambda: NOW)  # it says when it was made
    asked = {"start": utc_text(NOW - DAY), "end": utc_text(NOW)}
    shown, told = page.get("/line/home/report", params=asked), ask("report", location="home", **asked)
    assert shown.content == told.content
    assert shown.headers["content-security-policy"] == told.headers["content-security-policy"]
    monkeypatch.setattr(limits, "PATIENCE", 0.01)
    with limits.in_turn(), limits.in_turn():
        assert page.get("/line/home/report", params=asked).status_code == 503
    monkeypatch.setattr(reported, "MOST_SLOTS", 100)
    for answer in (page.get("/line/home/report", params=asked), ask("report", 400, location="home", **asked)):
        assert answer.status_code == 400
        assert "144 slots, 100 can be looked at" in answer.json()["detail"]


def test_pages_are_about_no_more_slots_than_the_api(app, monkeypatch):
    monkeypatch.setattr(limits.check_slots, "__defaults__", (1_000,))
    page = TestClient(app, base_url=HOME)
    for path in ("/fleet", "/outages", "/line/home", "/compare?location=home&location=farm"):
        for days, status in (("24h", 200), ("30d", 400)):
            query = [*parse_qsl(urlsplit(path).query), ("range", days)]
            assert page.get(urlsplit(path).path, params=query).status_code == status, (path, days)


def test_who_has_an_answer_is_told_so(ask, monkeypatch):
    monkeypatch.setattr("time.time", lambda: NOW)
    first = ask("nodes")
    again = ask("nodes", 304, headers={"If-None-Match": f'"other", {first.headers["etag"]}'})
    assert (again.content, again.headers["etag"]) == (b"", first.headers["etag"])
    ask("nodes", headers={"If-None-Match": '"other"'})
    monkeypatch.setattr("time.time", lambda: NOW + 60)
    assert ask("nodes", headers={"If-None-Match": first.headers["etag"]}).headers["etag"] != first.headers["etag"]
    assert ask("records").headers["etag"] == ask("report", location="home").headers["etag"]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"end": "2026-01-01"}, "end without start"),
        ({"start": "2026-01-02", "end": "2026-01-01"}, "start has to lie before end"),
        ({"start": "2026-01-01", "range": "7d"}, "exclude each other"),
        ({"start": "2012-01-01", "end": "2026-01-01"}, "10 years at most"),
        ({"start": "yesterday"}, "'yesterday' is not a time"),
        ({"start": "0001-01-01"}, "is not a time"),
        ({"start": "9999-12-31", "end": "9999-12-31"}, "is not a time"),
    ],
)
def test_a_period_that_is_none_is_refused(ask, query, said):
    assert said in ask("outages", 400, **query).json()["detail"]


def test_a_day_is_the_dashboards_and_the_last_one_is_included():
    berlin = period.Zone.named("Europe/Berlin")
    assert period.moment_of("2026-03-29", berlin, last=True) - period.moment_of("2026-03-29", berlin) == 23 * HOUR
    assert period.moment_of("2026-01-01T00:00", berlin) == period.moment_of("2025-12-31T23:00:00Z", berlin)


def test_a_question_about_too_many_slots_is_refused_before_it_costs_anything(ask, monkeypatch):
    monkeypatch.setattr(limits.check_slots, "__defaults__", (1_000,))
    for path in ("cells", "coverage", "outages"):
        assert "slots" in ask(path, 400, range="7d").json()["detail"]
        ask(path, range="24h")


def test_archive_files_are_read_by_few_at_once(ask, monkeypatch):
    monkeypatch.setattr(limits, "PATIENCE", 0.01)
    with limits.in_turn(), limits.in_turn():
        for path in ("records?range=1y", "series?node=barn&grain=test&range=1y", "report?location=home"):
            assert ask(path, 503).headers["retry-after"]
        for path in ("records", "series?node=barn", "series?node=barn&range=1y"):  # rollups have them
            ask(path)
    ask("records?range=1y")


def test_status_says_of_each_part_and_node_how_it_is(ask):
    found = ask("/api/status").json()
    assert {part["name"] for part in found["parts"]} >= {"archive", "ingest", "inbox", "disk"}
    assert found["queue"] == 0
    assert found["ok"] == all(part["ok"] for part in found["parts"])
    assert [(node["name"], node["last_seen_at"] is not None) for node in found["nodes"]] == [
        ("attic", True),
        ("barn", True),
    ]


def test_the_description_has_every_answer(app):
    schema = openapi(app)
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            assert method in ("get", "post", "delete"), path
            [good] = {"200", "201", "204"} & set(operation["responses"])
            assert good == "204" or operation["responses"][good].get("content"), path
    assert list(schema["components"]["schemas"]["Record"]["properties"]) == list(COLUMNS)


def test_only_some_wait_for_the_archive_s_files(monkeypatch):
    """The others are told at once, and not when the patience of those that wait is at its end."""
    monkeypatch.setattr(limits, "PATIENCE", 20)
    served = []

    def wait() -> None:
        with limits.in_turn():
            served.append(threading.get_ident())

    waiting = [threading.Thread(target=wait) for _ in range(limits.MOST_WAITING)]
    with limits.in_turn(), limits.in_turn():
        for thread in waiting:
            thread.start()
        while limits._asking._value:
            time.sleep(0.001)
        with pytest.raises(NotReadyError, match="ask again"), limits.in_turn():
            pass
        assert not served
    for thread in waiting:
        thread.join()
    assert len(served) == limits.MOST_WAITING
