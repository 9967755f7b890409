"""receive: whose record it is, which slot, place and moment it may be of, and which one stands."""

from __future__ import annotations

import json
import uuid

import pytest
from deliveries import DAY, NOW, deliver, entry, in_inbox, quarantined, register, row, send

from speedtest_logger.archive import open_archive
from speedtest_logger.archive.arrive import standing
from speedtest_logger.archive.write import ingest

pytestmark = pytest.mark.usefixtures("clock")


def test_a_slot_has_the_run_id_that_node_and_slot_give(archive):
    register(archive, attic=[entry()], mallory=[entry()])
    good = row(NOW - 590, NOW - 600)
    theirs = {**good, "node": "mallory"}
    assert deliver(archive, good)["accepted"] == [good["run_id"]]
    receipt = deliver(archive, theirs, node="mallory")
    assert receipt["accepted"] == []
    assert receipt["rejected"][good["run_id"]].startswith("wrong_run_id: ")
    assert [each["reason"] for each in quarantined(archive, "mallory")] == ["wrong_run_id"]


@pytest.mark.parametrize(
    ("late", "reason"),
    [(0, None), (-1.9, None), (3599, None), (3601.5, None), (-3, "wrong_start"), (3603, "wrong_start")],
)
def test_a_start_fits_its_slot(archive, late, reason):
    register(archive, attic=[entry(interval=300)])
    slot = NOW - 7200
    receipt = deliver(archive, row(slot + late, slot))
    assert [why.partition(":")[0] for why in receipt["rejected"].values()] == ([reason] if reason else [])


def test_the_longest_interval_that_a_node_ever_had_bounds_its_starts(archive):
    slot = NOW - 2 * DAY
    register(archive, attic=[entry(interval=DAY // 2), entry()])
    assert deliver(archive, row(slot + DAY // 2 - 1, slot, status="skipped", reason="late_start"))["accepted"]
    assert not deliver(archive, row(slot + DAY // 2 + 9, slot))["accepted"]


def test_locations_are_the_inventorys_and_the_historys(archive):
    register(archive, attic=[entry("old"), entry("home")])
    rows = [row(location="home"), row(location="old"), row(location="castle")]
    receipt = deliver(archive, *rows)
    assert receipt["accepted"] == [rows[0]["run_id"], rows[1]["run_id"]]
    assert receipt["rejected"] == {
        rows[2]["run_id"]: "other_location: 'castle' is not a location of node 'attic'",
    }


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"node": "porch"}, "other_node"),
        ({"runtime": "imported"}, "bad_runtime"),
        ({"moment": NOW - 421 * DAY}, "too_old"),
        ({"moment": 1.0}, "too_old"),
    ],
)
def test_what_a_node_cannot_have_measured_is_refused(archive, changes, reason):
    receipt = deliver(archive, row(**changes))
    assert receipt["accepted"] == []
    assert [why.partition(":")[0] for why in receipt["rejected"].values()] == [reason]


def test_a_clock_that_is_ahead_costs_nothing_but_time(archive, clock):
    ahead = row(NOW + 600)
    receipt = deliver(archive, ahead, row())
    assert receipt["later"][ahead["run_id"]].startswith("from_the_future: ")
    assert receipt["rejected"] == {}
    assert len(receipt["accepted"]) == 1
    assert quarantined(archive) == []
    assert "attic: 1 record cannot be taken yet: from_the_future" in standing.problems(archive, NOW)[0]
    clock(NOW + 700)
    assert deliver(archive, ahead)["accepted"] == [ahead["run_id"]]
    assert standing.problems(archive, NOW + 700) == []


@pytest.mark.parametrize("content", ['{"nodes": {}, "inventory": {}}', "{", '{"nodes": {"attic": 7}}'])
def test_a_node_that_the_registry_does_not_know_yet_keeps_its_records(archive, content):
    (archive.fleet / "schedule.json").write_text(content)
    sent = row()
    receipt = deliver(archive, sent, {"raw_of": sent["run_id"], "content": "x"})
    assert receipt["later"][sent["run_id"]].startswith("unknown_node: ")
    assert (receipt["accepted"], receipt["rejected"], quarantined(archive)) == ([], {}, [])
    assert in_inbox(archive) == []


def test_without_a_registry_any_place_and_schedule_may_be_true(archive):
    assert len(deliver(archive, row(NOW - 10, NOW - DAY + 60), row(location="anywhere"))["accepted"]) == 2


def test_the_registry_of_the_version_before_bounds_the_locations(archive):
    (archive.state / "schedule.json").write_text(json.dumps({"nodes": {"attic": [entry()]}}))
    assert len(deliver(archive, row(), row(location="castle"))["accepted"]) == 1


def test_the_first_record_of_a_run_stands_and_another_one_lies_aside(archive):
    first = row()
    receipt = deliver(archive, first, first, {**first, "download_bps": 1.0})
    assert receipt["accepted"] == [first["run_id"]]
    assert receipt["rejected"][first["run_id"]].startswith("different_record: ")
    assert [each["download_bps"] for each in in_inbox(archive)] == [1e8]
    (kept,) = quarantined(archive)
    assert kept["reason"] == "different_record"
    assert json.loads(kept["line"])["download_bps"] == 1.0


def test_a_node_that_still_sends_a_loss_above_100_percent_loses_nothing_else(archive):
    """And the same record, delivered again, is the same record."""
    sent = row(packet_loss_pct=179.6, run_id=str(uuid.UUID(int=5)))
    assert deliver(archive, sent, sent)["accepted"] == [sent["run_id"]]
    assert deliver(archive, sent)["accepted"] == [sent["run_id"]]
    assert ingest.ingest(archive).damaged == []
    rows = open_archive(archive.root).query("SELECT packet_loss_pct, message, download_bps FROM records").to_pylist()
    note = "packet_loss_pct left out: 179.6 is no percentage"
    assert rows == [{"packet_loss_pct": None, "message": note, "download_bps": 1e8}]


def test_a_loss_that_lies_in_the_inbox_since_an_earlier_release_is_left_out_too(archive):
    (archive.inbox / "attic").mkdir()
    (archive.inbox / "attic" / "1.jsonl").write_text(json.dumps(row(packet_loss_pct=179.6)) + "\n")
    assert ingest.ingest(archive).damaged == []
    rows = open_archive(archive.root).query("SELECT packet_loss_pct, download_bps FROM records").to_pylist()
    assert rows == [{"packet_loss_pct": None, "download_bps": 1e8}]


def test_a_hello_gets_a_receipt_and_leaves_nothing_but_the_standing_and_that_it_was_heard(archive):
    before = {file for file in archive.root.rglob("*") if file.is_file()}
    receipt = send(archive, b"")
    assert (receipt["node"], receipt["accepted"], receipt["rejected"], receipt["later"]) == ("attic", [], {}, {})
    made = {file.name for file in archive.root.rglob("*") if file.is_file()} - {file.name for file in before}
    assert made == {"receive-attic.json", "receive-attic.lock", "attic.json"}
