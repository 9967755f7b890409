"""/metrics: every value is the archive's, in base units; what was not measured is not there; counters never fall."""

from __future__ import annotations

import json
import math
import shutil
from datetime import datetime, timezone
from types import SimpleNamespace

import promtool
import pytest
from builders import by_hand, fresh, put, put_in_inbox, slot, write_schedule
from dashboards import HOME
from sample import HOSTILE, SCRIPT
from starlette.testclient import TestClient

from speedtest_logger import __version__
from speedtest_logger.alerts import state as alerts
from speedtest_logger.alerts.findings import Finding
from speedtest_logger.alerts.follow import Watched
from speedtest_logger.archive.care import prune
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.ledger import manifest
from speedtest_logger.archive.read import coverage
from speedtest_logger.archive.read.dataset import Archive
from speedtest_logger.archive.read.told import Alerts, Destination
from speedtest_logger.archive.write import ingest
from speedtest_logger.dashboard import metrics, settings
from speedtest_logger.dashboard.app import create_app
from speedtest_logger.dashboard.figures import kept
from speedtest_logger.dashboard.figures.exported import Exported, Last
from speedtest_logger.dashboard.figures.types import Plan
from speedtest_logger.dashboard.requests import OTHER, Requests
from speedtest_logger.metrics import BY_NAME, MEASURED, OF_ALERTS, OF_DATABASE, OF_NODE, OF_PROBES
from speedtest_logger.record import utc_text

STEP, HOUR, DAY = 3600, 3600, 86_400
NOW = datetime(2026, 3, 31, 12, 30, tzinfo=timezone.utc).timestamp()
BEGAN = int(NOW) // DAY * DAY - 75 * DAY
VALUES = {
    "download_bps": 94.5e6, "upload_bps": 41.25e6, "latency_ms": 12.5, "download_latency_ms": 40.25,
    "upload_latency_ms": 61.75, "jitter_ms": 1.25, "packet_loss_pct": 2.5, "bytes_received": 1_000, "bytes_sent": 300,
}  # fmt: skip
NOTHING = dict.fromkeys(VALUES)


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    monkeypatch.setattr("time.time", lambda: NOW)
    monkeypatch.setattr(kept, "FRESH_SECONDS", -1.0)
    monkeypatch.setattr(metrics, "OLDEST_SECONDS", -1.0)


def entry(location, until=None, plan=100):
    return [{
        "valid_from": utc_text(BEGAN), "valid_to": until and utc_text(until), "interval_seconds": STEP,
        "offset_seconds": 0, "location": location, "plan_download_mbps": plan, "plan_upload_mbps": 0,
    }]  # fmt: skip


def failed(node, at, place):
    return slot(node, at, place, status="failed", reason="no_route", **NOTHING)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """Nodes that are well, that fail, that are silent for days and for weeks, that are gone, and of no inventory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.time", lambda: NOW)
        return filled(fresh(tmp_path_factory))


@pytest.fixture
def layout(fleet, tmp_path):
    """The fleet's archive, a test's own."""
    return Layout(shutil.copytree(fleet.root, tmp_path / "archive"))


def filled(made):
    """The archive with the fleet's records."""
    write_schedule(
        made, attic=entry("home"), porch=entry("home"), shed=entry("farm", plan=0), mill=entry("mill"),
        gone=entry("old", NOW - 5 * DAY), new=entry("farm"),
    )  # fmt: skip
    last = int(NOW) // STEP * STEP
    times = range(BEGAN + STEP, last + 1, STEP)
    deliveries = {
        "attic": [
            *(slot("attic", at, download_bps=9e7 + at % 7, upload_bps=1e6, bytes_received=9, bytes_sent=4)
              for at in times[-400:-1] if at % 11),
            slot("attic", last, **VALUES),
        ],
        "porch": [*(slot("porch", at, **VALUES) for at in times[-50:-2]), failed("porch", last - STEP, "home")],
        "shed": [slot("shed", at, "farm", **VALUES) for at in times[:-72]],
        "mill": [slot("mill", times[20], "mill", **VALUES), failed("mill", times[40], "mill")],
        "gone": [slot("gone", times[-300], "old", **VALUES)],
        "barn": [
            *(by_hand("barn", n, NOW - n * HOUR, "field", **VALUES) for n in range(1, 5)),
            by_hand("barn", 9, NOW - 5 * HOUR, "field", status="failed", reason="no_route", **NOTHING),
        ],
    }  # fmt: skip
    for node, rows in deliveries.items():
        put_in_inbox(made, rows, node)
    ingest.ingest(made)
    assert not list(made.quarantine.glob("*/*.reason"))
    return made


@pytest.fixture
def own(tmp_path_factory):
    return tmp_path_factory.mktemp("own")


@pytest.fixture
def app(layout, own):
    variables = {"SPEEDTEST_ARCHIVE_DIR": str(layout.root), "SPEEDTEST_DASHBOARD_DIR": str(own)}
    made = create_app(settings.load(variables))
    yield made
    made.state.figures.source.rollups.close()


def told(app):
    answer = TestClient(app, base_url=HOME).get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    promtool.check(answer.text)
    return promtool.samples(answer.text)


def of(node, location, **more):
    return tuple(sorted({"node": node, "location": location, **more}.items()))


def nodes_of(found, name):
    return {dict(key)["node"] for key in found.get(name, {})}


def test_values_are_the_archives_in_base_units(app, layout):
    found = told(app)
    [row] = (
        Archive(layout).query("SELECT * FROM records WHERE node = 'attic' ORDER BY started_at DESC LIMIT 1").to_pylist()
    )
    for metric, column, by in MEASURED:
        assert row[column] == VALUES[column]
        assert found[metric.name][of("attic", "home")] == row[column] / by
    assert found["speedtest_download_bytes_per_second"][of("attic", "home")] == 94.5e6 / 8
    assert found["speedtest_latency_seconds"][of("attic", "home")] == 0.0125
    assert found["speedtest_packet_loss_ratio"][of("attic", "home")] == 0.025
    assert found["speedtest_last_record_timestamp_seconds"][of("attic", "home")] == row["started_at"].timestamp()
    assert found["speedtest_expected_interval_seconds"][of("attic", "home")] == STEP
    assert found["speedtest_plan_download_bytes_per_second"][of("attic", "home")] == 12.5e6
    assert nodes_of(found, "speedtest_plan_upload_bytes_per_second") == set()  # nobody says it


def test_what_was_not_measured_is_absent_and_never_0_or_nan(app):
    found = told(app)
    for metric, *_ in MEASURED:
        assert nodes_of(found, metric.name) == {"attic", "barn"}  # the last one failed, was too long ago, or never was
    assert nodes_of(found, "speedtest_last_record_timestamp_seconds") == {"attic", "porch", "shed", "mill", "barn"}
    assert not any(math.isnan(value) for own in found.values() for value in own.values())


def test_a_node_that_is_silent_for_weeks_has_its_last_record_and_one_that_is_gone_has_nothing(app, layout):
    found = told(app)
    sql = """SELECT node, location, epoch(max(started_at)) AS last,
             epoch(max(started_at) FILTER (status = 'ok')) AS good FROM records GROUP BY ALL"""
    rows = {row["node"]: row for row in Archive(layout).query(sql).to_pylist() if row["node"] != "gone"}
    assert set(rows) == {"attic", "porch", "shed", "mill", "barn"}
    for name, column in (("record", "last"), ("success", "good")):
        wanted = {of(node, row["location"]): row[column] for node, row in rows.items()}
        assert found[f"speedtest_last_{name}_timestamp_seconds"] == pytest.approx(wanted, abs=1e-3)
    assert not any(dict(key).get("node") == "gone" for samples in found.values() for key in samples)


def test_a_node_is_heard_of_by_its_own_word_too(app, layout):
    (layout.state / "nodes").mkdir(exist_ok=True)
    (layout.state / "nodes" / "new.json").write_text(json.dumps({"last_seen": NOW - 7}))
    found = told(app)
    assert found["speedtest_last_seen_timestamp_seconds"][of("new", "farm")] == int(NOW - 7)
    assert of("new", "farm") not in found["speedtest_last_record_timestamp_seconds"]


def test_counters_are_coverage_of_all_time_and_the_records_bytes(app, layout):
    found = told(app)
    covers = {cover.node: cover for cover in coverage.coverage(Archive(layout), 0, NOW)}
    wanted = {}
    for node in ("attic", "porch", "shed", "mill", "new"):
        counts = {name: covers[node].outcomes[name] for name in ("ok", "partial", "failed", "skipped", "missed")}
        for outcome, count in {**counts, "unscheduled": covers[node].unscheduled}.items():
            wanted[of(node, covers[node].location, outcome=outcome)] = count
    # nobody knows its slots: its records are counted
    for outcome, count in {"ok": 4, "partial": 0, "failed": 1, "skipped": 0}.items():
        wanted[of("barn", "field", outcome=outcome)] = count
    assert found["speedtest_slots_total"] == wanted
    assert found["speedtest_slots_total"][of("mill", "mill", outcome="missed")] > 900
    sql = "SELECT node, location, sum(bytes_received) AS received, sum(bytes_sent) AS sent FROM records GROUP BY ALL"
    moved = {of("new", "farm", direction=way): 0 for way in ("received", "sent")}
    for row in Archive(layout).query(sql).to_pylist():
        if row["node"] != "gone":
            moved |= {of(row["node"], row["location"], direction=way): row[way] for way in ("received", "sent")}
    assert found["speedtest_transferred_bytes_total"] == moved


def counter(app, node, place, outcome):
    return told(app)["speedtest_slots_total"][of(node, place, outcome=outcome)]


def test_no_counter_falls_when_months_are_pruned_and_rises_by_what_comes(app, layout, own):
    before = told(app)
    assert prune.prune(layout, NOW, 40 * DAY, None)
    app.state.metrics.keep(now=True)
    after = told(app)
    for name in ("speedtest_slots_total", "speedtest_transferred_bytes_total"):
        for key, value in before[name].items():
            assert after[name][key] >= value, key
    assert app.state.figures.totals()["shed"]["ok"] < before["speedtest_slots_total"][of("shed", "farm", outcome="ok")]
    ok = counter(app, "shed", "farm", "ok")
    put(layout, slot("shed", int(NOW) // STEP * STEP - 3 * STEP, "farm", **VALUES))
    assert counter(app, "shed", "farm", "ok") == ok + 1
    assert (own / "counters.json").exists()


def test_a_slot_that_turns_from_missed_to_ok_lets_no_counter_fall(app, layout):
    ok, missed = (counter(app, "shed", "farm", outcome) for outcome in ("ok", "missed"))
    put(layout, slot("shed", int(NOW) // STEP * STEP - 30 * STEP, "farm", **VALUES))
    assert counter(app, "shed", "farm", "ok") == ok + 1
    assert counter(app, "shed", "farm", "missed") == missed


def test_counters_that_cannot_be_kept_are_said_once_and_told_all_the_same(app, own, monkeypatch):
    said = []
    app.state.metrics.log = SimpleNamespace(event=lambda *words, **_: said.append(words))
    app.state.metrics.counters.file = own / "nowhere" / "counters.json"
    for _ in range(3):
        assert "speedtest_slots_total" in told(app)
        app.state.metrics.keep(now=True)
    assert said == [("error", "counters_not_kept")]
    app.state.metrics.counters.file = own / "counters.json"
    app.state.metrics.keep(now=True)
    app.state.metrics.counters.file = own / "nowhere" / "counters.json"
    app.state.metrics.counters.risen({"x": 1})
    app.state.metrics.keep(now=True)
    assert len(said) == 2


def test_the_archive_itself(app, layout):
    (layout.quarantine / "attic").mkdir(parents=True, exist_ok=True)
    for name in ("a.jsonl", "a.jsonl.reason", "b.jsonl", "overflow.json"):
        (layout.quarantine / "attic" / name).write_text("{}")
    layout.backups.mkdir(parents=True, exist_ok=True)
    (layout.backups / "last.json").write_text(json.dumps({"at": utc_text(NOW - DAY)}))
    (layout.backups / "failure.json").write_text(json.dumps({"at": utc_text(NOW - 9), "message": "no"}))
    (layout.state / "verify.json").write_text(json.dumps({"at": utc_text(NOW - 9), "count": 3}))
    (layout.inbox / "attic" / "1.jsonl").write_text("")
    found = told(app)
    one = {
        name.removeprefix("speedtest_archive_"): own[()]
        for name, own in found.items()
        if name.startswith("speedtest_a")
    }
    assert one == {
        "inbox_files": 1,
        "quarantine_files": 2,
        "last_ingest_timestamp_seconds": NOW,
        "rows": Archive(layout).query("SELECT count(*) AS n FROM records")["n"][0].as_py(),
        "bytes": sum(file.stat().st_size for file in layout.archive.rglob("*.parquet")),
        "last_backup_timestamp_seconds": NOW - DAY,
        "verify_findings": 3,
    }


def test_the_database_that_follows_the_archive(app, layout):
    assert not any(name.startswith("speedtest_database") for name in told(app))
    layout.database.mkdir(exist_ok=True)
    failing = {"at": utc_text(NOW - 600), "line": 0, "failing_since": utc_text(NOW - 500), "why": "no"}
    (layout.database / "sync.json").write_text(json.dumps(failing))
    (layout.database / "dump.json").write_text(json.dumps({"at": utc_text(NOW - DAY)}))
    found = {name: own[()] for name, own in told(app).items() if name.startswith("speedtest_database")}
    lines = sum(1 for _ in manifest.lines(layout))
    assert lines > 0
    assert found == {
        "speedtest_database_last_sync_timestamp_seconds": NOW - 600,
        "speedtest_database_lag_changes": manifest.head(layout).seq,
        "speedtest_database_last_dump_timestamp_seconds": NOW - DAY,
    }


OPTIONAL = ("last_backup_timestamp_seconds", "last_publish_timestamp_seconds", "verify_findings")


def test_all_that_is_told_is_in_the_table_and_all_of_the_table_is_told(app):
    told(app)  # which is counted as well
    found = set(told(app))
    histogram = {f"http_request_duration_seconds_{end}" for end in ("bucket", "sum", "count")}
    named = (found - histogram) | {"http_request_duration_seconds"}
    of_nodes = {metric.name for metric in (*OF_NODE, *OF_PROBES)}
    optional = {"speedtest_plan_upload_bytes_per_second"}
    optional |= {metric.name for metric in OF_ALERTS}  # where somebody is told
    optional |= {metric.name for metric in OF_DATABASE}  # where there is one
    optional |= {f"speedtest_archive_{name}" for name in OPTIONAL}
    assert named | optional == set(BY_NAME) - of_nodes


def test_what_nobody_has_judged_for_ten_minutes_does_not_fire_any_more(app, layout):
    (layout.root / alerts.FOLDER).mkdir()
    finding = Finding("line_down", "home", None, int(NOW) - 900, int(NOW) - 600, reason="no_route")
    for ago, fires in ((600, True), (601, False)):
        known = alerts.State(evaluated=NOW - ago)
        known.book.entries.append(Watched(finding, finding.id))
        alerts.save(layout, known)
        found = told(app)
        assert ("speedtest_alert_firing" in found) is fires
        assert found["speedtest_alerts_last_evaluation_timestamp_seconds"] == {(): NOW - ago}


def test_alerts_that_fire_and_how_their_messages_left(app, layout):
    assert "speedtest_alert_firing" not in told(app)
    (layout.root / alerts.FOLDER).mkdir()
    now = int(NOW)
    known = alerts.State(evaluated=NOW, posts={"phone": alerts.Post(sent=41, failed=2)})
    for finding in (
        Finding("line_down", "home", None, now - 900, now - 600, reason="no_route"),
        Finding("clock", "home", "attic", now - 900, now - 600, worst=41.0),
        Finding("clock", "home", "attic", now - 800, now - 600, worst=41.0),  # two of a kind are one sample
        Finding("disk", "", None, now - 900, now - 600, worst=3.1),
        Finding("latency", "home", None, now - 900, now - 600, now - 60, worst=120.0),  # which is over
    ):
        known.book.entries.append(Watched(finding, finding.id))
    alerts.save(layout, known)
    found = told(app)
    line = {"node": "", "location": "home", "rule": "line_down", "severity": "critical"}
    clock = {"node": "attic", "location": "home", "rule": "clock", "severity": "warning"}
    disk = {"node": "", "location": "", "rule": "disk", "severity": "critical"}
    assert found["speedtest_alert_firing"] == {tuple(sorted(each.items())): 1 for each in (line, clock, disk)}
    assert found["speedtest_notifications_total"] == {
        (("destination", "phone"), ("outcome", "sent")): 41,
        (("destination", "phone"), ("outcome", "failed")): 2,
    }
    shutil.rmtree(layout.root / alerts.FOLDER)
    assert "speedtest_notifications_total" not in told(app)


def test_an_archive_without_ansible_and_one_without_rows(load, client, root):
    asking = client(load())
    found = promtool.samples(asking.get("/metrics").text)
    assert found["speedtest_archive_rows"] == {(): 0}
    assert dict(*found["speedtest_build_info"])["version"] == __version__
    assert "speedtest_slots_total" not in found


def test_what_cannot_be_read_leaves_the_rest(load, client, root, monkeypatch):
    made = create_app(load())
    asking = client(made)

    def broken(*_):
        raise OSError(5, "no disk")

    monkeypatch.setattr(made.state.figures, "exported", broken)
    monkeypatch.setattr(metrics, "archive_bytes", broken)
    found = promtool.samples(asking.get("/metrics").text)
    assert {"speedtest_build_info", "speedtest_archive_rows", "speedtest_dashboard_clients"} <= set(found)
    assert "speedtest_archive_bytes" not in found


def test_no_name_ends_a_line_or_a_label(load, client):
    made = create_app(load())
    names = (HOSTILE, SCRIPT, 'a"} 1\nspeedtest_fake{x="', "back\\slash\\", "ﬀ", "\\n")
    nodes = [Exported(n, n, 60, Plan(8.0, None), Last(1.5, None, n, {"latency_ms": 5.0}), None) for n in names]
    made.state.metrics.figures = SimpleNamespace(
        exported=lambda: nodes, totals=lambda: {n: {"ok": 1, "received": 2, "sent": 3} for n in names},
        source=made.state.figures.source, system=made.state.figures.system,
        alerts=lambda: Alerts(1.0, None, [], [], [Destination(n, 0, 1, 0, None, None) for n in names]),
    )  # fmt: skip
    text = client(made).get("/metrics").text
    promtool.check(text)
    found = promtool.samples(text)
    assert nodes_of(found, "speedtest_latency_seconds") == nodes_of(found, "speedtest_slots_total") == set(names)
    assert {dict(key)["destination"] for key in found["speedtest_notifications_total"]} == set(names)
    assert "speedtest_fake" not in found


def test_only_a_key_with_the_scope_may_ask_where_there_are_users(client, guarded, entry_of, load):
    right, wrong, late = entry_of("metrics"), entry_of("read", "raw"), entry_of("metrics", expires="2020-01-01")
    asking = client(guarded(right, wrong, late))
    statuses = [
        asking.get("/metrics", headers={"Authorization": f"Bearer {entry['key']}"} if entry else {}).status_code
        for entry in (None, wrong, late, right)
    ]
    assert statuses == [401, 403, 401, 200]
    assert asking.get("/api/v1/nodes", headers={"Authorization": f"Bearer {right['key']}"}).status_code == 403
    assert client(load()).get("/metrics").status_code == 200  # nobody else than this machine reaches it


def test_requests_are_counted_by_template_and_no_path_is_a_series(load, client):
    made = create_app(load())
    asking = client(made)
    for number in range(30):
        asking.get(f"/api/v1/nodes/none-{number}")
        asking.get(f"/made/up/{number}")
        asking.request(f"VERB{number}", f"/x{number}")
    asking.get("/static/dashboard.css")
    asking.get("/health", headers={"Host": "elsewhere.example"})
    asking.get("/health")
    found = promtool.samples(asking.get("/metrics").text)
    counted = {
        tuple(dict(key)[n] for n in ("method", "route", "code")): v for key, v in found["http_requests_total"].items()
    }
    assert counted[("GET", "/api/v1/nodes/{node}", "404")] == 30
    assert counted[("GET", OTHER, "404")] == 30
    assert counted[("GET", "/static", "200")] == 1
    assert (counted[("GET", "/health", "421")], counted[("GET", "/health", "200")]) == (1, 1)
    assert sum(value for (method, *_), value in counted.items() if method == OTHER) == 30
    assert len(counted) < 10
    seconds = found["http_request_duration_seconds_count"]
    assert seconds[tuple(sorted({"method": "GET", "route": "/health"}.items()))] == 2


def test_an_answer_from_memory_has_its_route_too(app):
    asking = TestClient(app, base_url=HOME)
    for _ in range(3):
        assert asking.get("/api/v1/locations/home").status_code == 200
    found = promtool.samples(asking.get("/metrics").text)["http_requests_total"]
    key = {"method": "GET", "route": "/api/v1/locations/{location}", "code": "200"}
    assert found[tuple(sorted(key.items()))] == 3


def test_each_route_has_its_own_template(app):
    requests: Requests = app.state.requests
    assert (
        requests.template("/api/v1/records/0a0a0a0a-0000-5000-8000-000000000000/raw") == "/api/v1/records/{run_id}/raw"
    )
    assert requests.template("/api/v1/records") == "/api/v1/records"
    assert requests.template("/line/home") == "/line/{location}"
    assert requests.template("/") == "/"
    assert requests.template("/static/../x") == "/static"
    assert requests.template("/staticx") == OTHER


def test_counters_are_made_ahead_only_while_somebody_asks(app, monkeypatch):
    counted = []
    monkeypatch.setattr(metrics, "AHEAD_SECONDS", -1.0)
    monkeypatch.setattr(app.state.figures, "totals", lambda: counted.append(1) or {})
    app.state.metrics.count_ahead()
    assert not counted
    app.state.metrics.text()
    counted.clear()
    app.state.metrics.count_ahead()
    assert counted == [1]


def test_who_takes_older_counters_does_not_wait_for_new_ones(app, monkeypatch):
    app.state.metrics.text()
    monkeypatch.setattr(metrics, "OLDEST_SECONDS", 1e9)
    with app.state.metrics._lock:
        assert app.state.metrics.totals()
