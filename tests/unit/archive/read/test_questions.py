"""Every named question on a few records whose answers are worked out by hand."""

from __future__ import annotations

import pytest
from builders import DAY, FIRST, by_hand, put, slot

from speedtest_logger.archive import open_archive
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.read import questions
from speedtest_logger.archive.read.local_time import Zone
from speedtest_logger.record import utc_text

FAILED = {"status": "failed", "reason": "no_route", "download_bps": None, "upload_bps": None}


@pytest.fixture
def archive(tmp_path):
    layout = Layout(tmp_path)
    layout.prepare()
    put(
        layout,
        slot("attic", FIRST, download_bps=1e8, upload_bps=2e7, latency_ms=10.0, engine="iperf3"),
        slot("attic", FIRST + 3600, download_bps=3e8, upload_bps=4e7, latency_ms=20.0, engine="iperf3"),
        slot("attic", FIRST + 7200, engine="iperf3", **FAILED),
        slot("porch", FIRST + DAY, "garden", download_bps=9e8, upload_bps=9e7, engine="ookla"),
        by_hand("porch", 7, FIRST + DAY + 60, "garden", download_bps=7e8, upload_bps=7e7, engine="ookla"),
    )
    return open_archive(tmp_path)


def test_nodes_and_latest(archive):
    attic, porch = questions.nodes(archive).to_pylist()
    assert (attic["node"], attic["location"], attic["records"], attic["ok"]) == ("attic", "home", 3, 2)
    assert (attic["download_mbps"], attic["upload_mbps"], attic["latency_ms"]) == (200, 30, 15)
    assert (porch["records"], porch["download_mbps"]) == (2, 800)
    newest = questions.latest(archive, 1).to_pylist()
    assert [(row["node"], row["status"]) for row in newest] == [("attic", "failed"), ("porch", "ok")]
    assert [row["node"] for row in questions.latest(archive, 2).to_pylist()] == ["attic"] * 2 + ["porch"] * 2


def test_last_of_each_and_records_by_node(archive):
    last, moments = questions.last_of_each(archive, FIRST + 3600, FIRST + DAY + 61)
    assert moments == questions.moments(archive, FIRST + 3600, FIRST + DAY + 61)
    assert moments["moment"].to_pylist() == [FIRST + 3600, FIRST + 7200, FIRST + DAY]
    found = {row["node"]: row for row in last}
    assert (found["attic"]["records"], found["attic"]["last_reason"]) == (3, "no_route")
    assert found["attic"]["last_finished_at"] == utc_text(FIRST + 7210)
    assert found["porch"]["median_download_bps"] == 8e8
    assert [found["attic"][f"{of}_upload_bps"] for of in ("median", "recent")] == [3e7, 4e7]
    assert (found["attic"]["recent_records"], found["porch"]["recent_download_bps"]) == (2, 8e8)
    later = {row["node"]: row for row in questions.last_of_each(archive, FIRST + DAY, FIRST + 2 * DAY)[0]}
    assert (later["attic"]["recent_records"], later["attic"]["recent_download_bps"]) == (0, None)
    assert questions.records_by_node(archive) == {"attic": 3, "porch": 2}
    assert questions.records_by_node(archive, "status <> 'ok'") == {"attic": 1}


def test_moments_are_slots_and_the_starts_of_runs_without_one(archive):
    found = questions.moments(archive, FIRST + 7200, FIRST + 2 * DAY).to_pylist()
    slots = [(row["node"], row["moment"], row["run"] is None) for row in found]
    assert slots[:2] == [("attic", FIRST + 7200, True), ("porch", FIRST + DAY, True)]
    assert slots[2:] == [("porch", FIRST + DAY + 61, False)]
    assert questions.moments(archive, FIRST + 7201, FIRST + DAY).num_rows == 0


def test_span_and_speed(archive):
    assert questions.span(archive) == {"tests": 5, "first": FIRST + 1, "last": FIRST + DAY + 61}
    assert questions.span(archive.only(node="nobody")) == {"tests": 0, "first": None, "last": None}
    speed = questions.speed(archive, "download", 1000.0)
    assert (speed["tests"], speed["lowest"], speed["median"], speed["highest"]) == (4, 100, 500, 900)
    assert (speed["share"], speed["under"]) == (50, [(50, 50.0), (80, 75.0), (90, 75.0)])


def test_delays_bands_sources_and_methods(archive):
    [latency] = questions.delays(archive)
    assert (latency["tests"], latency["median"], latency["highest"]) == (2, 15, 20)
    assert questions.usual(archive)["latency"] == pytest.approx(19.5)
    hours = questions.by_hour(archive, Zone.named("UTC"))
    assert {hour: band["download"].tests for hour, band in hours.items() if "download" in band} == {0: 3, 1: 1}
    assert [row["status"] for row in questions.tests(archive)] == ["ok", "ok", "failed", "ok", "ok"]
    found = questions.sources(archive)
    assert [(source.name, source.tests) for source in found] == [("attic, iperf3", 2), ("porch, ookla", 2)]
    assert found[0].of(archive).query("SELECT count(*) AS n FROM records").to_pylist() == [{"n": 3}]
    assert (questions.differ(found), questions.differ(found[:1])) == (True, False)
    assert [(row["engine"], row["tests"]) for row in questions.methods(archive)] == [("iperf3", 3), ("ookla", 2)]


def test_a_last_record_that_is_well_has_no_reason_of_an_earlier_one(archive, tmp_path):
    put(Layout(tmp_path), slot("attic", FIRST + 10_800, engine="iperf3"))
    found, _ = questions.last_of_each(open_archive(tmp_path), FIRST, FIRST + DAY)
    (attic, _) = sorted(found, key=lambda row: row["node"])
    assert (attic["last_status"], attic["last_reason"]) == ("ok", None)
