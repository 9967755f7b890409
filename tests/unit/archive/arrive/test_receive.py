"""receive: whose record it is, what one delivery and one node may cost, and what is said of a node that is refused."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import uuid
from base64 import b64encode
from dataclasses import replace
from datetime import datetime, timezone
from zlib import compress

import pytest
from builders import ROOT
from tries import some

from speedtest_logger import wire
from speedtest_logger.archive import cli, open_archive
from speedtest_logger.archive.arrive import quarantine, receive, standing
from speedtest_logger.archive.format import layout
from speedtest_logger.archive.write import ingest
from speedtest_logger.errors import RefusedError
from speedtest_logger.record import Record, run_id_of_slot, utc_text

NOW = 1_800_000_000
DAY = 86_400
LIMITS = receive.Limits(free_mb=0, low_disk_mb=0)
WORDS = b'{"download": 96.5}'


@pytest.fixture
def archive(tmp_path):
    made = layout.Layout(tmp_path / "archive")
    made.prepare()
    return made


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """Tests set the archive's clock with it."""

    def at(moment):
        monkeypatch.setattr("time.time", lambda: float(moment))

    at(NOW)
    return at


def entry(location="home", interval=300):
    return {
        "valid_from": utc_text(NOW - 900 * DAY),
        "valid_to": None,
        "interval_seconds": interval,
        "offset_seconds": 0,
        "location": location,
    }


def register(archive, raw=True, **histories):
    inventory = {node: {"location": history[-1]["location"], "archive_raw": raw} for node, history in histories.items()}
    (archive.fleet / "schedule.json").write_text(json.dumps({"nodes": histories, "inventory": inventory}))


def row(moment=NOW - 1000, slot=None, **changes):
    node = changes.get("node", "attic")
    base = Record(
        run_id=str(uuid.uuid4()) if slot is None else run_id_of_slot(node, utc_text(slot)),
        node="attic",
        location="home",
        started_at=utc_text(moment),
        finished_at=utc_text(moment + 10),
        scheduled_at=None if slot is None else utc_text(slot),
        status="ok",
        download_bps=1e8,
        upload_bps=5e7,
    ).to_row()
    return {**base, **changes}


def send(archive, payload, node="attic", limits=LIMITS):
    return receive.receive(archive, node, io.BytesIO(payload), limits)


def deliver(archive, *rows, node="attic", limits=LIMITS):
    return send(archive, b"".join(json.dumps(each).encode() + b"\n" for each in rows), node, limits)


def refused(archive, payload, reason, node="attic", limits=LIMITS):
    with pytest.raises(RefusedError) as caught:
        send(archive, payload, node, limits)
    assert caught.value.reason == reason
    assert not list(archive.inbox.glob("*/.*")), "a temporary file stayed"
    return str(caught.value)


def quarantined(archive, node="attic"):
    files = sorted(archive.quarantine.glob(f"{node}/*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def in_inbox(archive, node="attic"):
    return [
        json.loads(line) for file in archive.inbox.glob(f"{node}/*.jsonl") for line in file.read_text().splitlines()
    ]


# whose record it is


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


# raw output


def raw_line(record, words=WORDS):
    return {"raw_of": record["run_id"], "content": b64encode(compress(words)).decode()}


def with_raw(words=WORDS, **changes):
    return row(raw_sha256=hashlib.sha256(words).hexdigest(), **changes)


def test_raw_output_that_is_not_wanted_is_dropped_as_it_is(archive, monkeypatch):
    register(archive, raw=False, attic=[entry()])
    monkeypatch.setattr(wire, "unpacked", lambda *_: pytest.fail("it was unpacked"))
    record = with_raw()
    receipt = deliver(archive, record, raw_line(record))
    assert (receipt["accepted"], receipt["rejected"]) == ([record["run_id"]], {})
    assert not list(archive.raw_inbox.glob("*/*"))
    assert standing.load(archive.state / "receive-attic.json").raw_dropped == 1
    assert standing.problems(archive, NOW) == []


def test_raw_output_is_taken_once_where_it_is_wanted_or_nobody_knows(archive):
    for register_it in (lambda: None, lambda: register(archive, raw=True, attic=[entry()])):
        register_it()
        record = with_raw()
        deliver(archive, record, raw_line(record), raw_line(record))
    files = list(archive.raw_inbox.glob("attic/*.jsonl"))
    assert [len(file.read_text().splitlines()) for file in files] == [1, 1]


def test_a_bomb_is_unpacked_no_further_than_an_output_may_be_and_is_charged(archive):
    record = with_raw(bytes(4_000_000))
    assert deliver(archive, record, raw_line(record, bytes(4_000_000)))["accepted"]
    assert "longer than 1000000" in quarantined(archive)[0]["message"]
    left = standing.load(archive.state / "receive-attic.json").raw
    assert left == LIMITS.raw_burst_mb * 1_000_000 - wire.MOST_DELIVERED


def test_a_deliverys_and_a_nodes_unpacked_bytes_are_bounded(archive, clock):
    words = bytes(1_000_000)
    rows = []
    for _ in range(5):
        record = with_raw(words)
        rows += [record, raw_line(record, words)]
    payload = b"".join(json.dumps(each).encode() + b"\n" for each in rows)
    assert "4 MB of raw output" in refused(archive, payload, "too_large", limits=replace(LIMITS, payload_mb=1))
    small = replace(LIMITS, raw_burst_mb=6, raw_per_hour_mb=5)
    send(archive, payload, limits=small)
    said = refused(archive, payload, "rate_limited", limits=small)
    assert "6,000,000 bytes of raw output, unpacked, at once and 5,000,000 an hour" in said
    clock(NOW + 7200)
    assert len(send(archive, payload, limits=small)["accepted"]) == 5


# bounds


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"payload_mb": 0.0001}, "too_large"),
        ({"rows": 1}, "too_many_rows"),
        ({"line_bytes": 50}, "line_too_long"),
        ({"rows_burst": 1}, "rate_limited"),
        ({"bytes_burst_mb": 0.0001}, "rate_limited"),
        ({"inbox_mb": 0.0001}, "inbox_full"),
        ({"free_mb": 2**40}, "disk_full"),
    ],
)
def test_limits_refuse_the_whole_delivery(archive, limits, reason):
    payload = b"".join(json.dumps(row()).encode() + b"\n" for _ in range(2))
    refused(archive, payload, reason, limits=replace(LIMITS, **limits))
    assert in_inbox(archive) == []
    (said,) = standing.problems(archive, NOW)
    assert f"node attic: 1 delivery refused since {utc_text(NOW)}, last: {reason}: " in said


def test_the_rate_recovers_with_time_and_says_when_to_come_back(archive, clock):
    limits = replace(LIMITS, rows_burst=2, rows_per_hour=2)
    deliver(archive, row(), row(), limits=limits)
    said = refused(archive, json.dumps(row()).encode(), "rate_limited", limits=limits)
    assert "2 records at once and 2 an hour: 0 are left now, try again in an hour for 2" in said
    clock(NOW + 1800)
    assert len(deliver(archive, row(), limits=limits)["accepted"]) == 1


def test_records_that_were_too_many_are_not_charged_for_they_will_come_again(archive, clock):
    limits = replace(LIMITS, rows_burst=2, rows_per_hour=2)
    payload = b"".join(json.dumps(row()).encode() + b"\n" for _ in range(2))
    send(archive, payload, limits=limits)
    for minutes in (15, 30, 45):
        clock(NOW + 60 * minutes)
        refused(archive, payload, "rate_limited", limits=limits)
    clock(NOW + 3600)
    assert len(send(archive, payload, limits=limits)["accepted"]) == 2


@pytest.mark.parametrize("line", [b"{}", b"\xff", b"[1]", b'{"schema_version": 1}'])
def test_what_is_refused_is_charged_too(archive, line):
    send(archive, (line + b"\n") * 50)
    found = standing.load(archive.state / "receive-attic.json")
    assert found.bytes == LIMITS.bytes_burst_mb * 1_000_000 - 50 * (len(line) + 1)
    assert found.rows == LIMITS.rows_burst - (50 if line.startswith(b"{") else 0)


@pytest.mark.parametrize("step", [-10 * 365 * DAY, 10 * 365 * DAY])
def test_a_clock_that_steps_freezes_no_node_out(archive, clock, step):
    limits = replace(LIMITS, rows_burst=60, rows_per_hour=60, oldest_days=36_500)
    clock(NOW + step)
    deliver(archive, *[row(NOW + step - 9) for _ in range(60)], limits=limits)
    clock(NOW)
    if step > 0:  # it went ahead, and was set right
        refused(archive, json.dumps(row()).encode(), "rate_limited", limits=limits)
        clock(NOW + 60)
    assert deliver(archive, row(), limits=limits)["accepted"]


def test_a_second_delivery_of_the_same_node_waits_for_its_turn(archive):
    with receive.exclusively(archive, "attic"):
        refused(archive, b"", "busy")
        assert deliver(archive, row(node="porch"), node="porch")["accepted"]


def test_on_a_low_disk_a_node_that_sent_much_waits_and_others_deliver(archive, monkeypatch):
    limits = replace(LIMITS, free_mb=200, low_disk_mb=2000, bytes_burst_mb=0.02)
    monkeypatch.setattr(receive, "free_bytes", lambda _: 3e9)
    send(archive, b"{}\n" * 4000, "mallory", replace(limits, rows=5000))
    monkeypatch.setattr(receive, "free_bytes", lambda _: 1e9)
    refused(archive, b"", "low_disk", "mallory", limits)
    assert deliver(archive, row(), limits=limits)["accepted"]
    monkeypatch.setattr(receive, "free_bytes", lambda _: 1e8)
    refused(archive, b"", "disk_full", "attic", limits)


def test_an_inbox_is_bounded_by_what_its_files_take_and_opens_again(archive):
    limits = replace(LIMITS, inbox_mb=0.02)
    for _ in range(4):
        deliver(archive, row(), limits=limits)
    said = refused(archive, b"", "inbox_full", limits=limits)
    assert "16,384 bytes of this node wait for ingest, 20,000 are the most" in said
    assert deliver(archive, row(node="porch"), node="porch", limits=limits)["accepted"]
    next(archive.inbox.glob("attic/*")).unlink()
    assert deliver(archive, row(), limits=limits)["accepted"]


# the quarantine


@pytest.mark.parametrize(
    ("line", "reason"),
    [(b"\xff\xfe{}", "bad_json"), (b"[" * 10_000, "bad_json"), (b"[1]", "bad_json"), (b"{}", "schema_version")],
)
def test_lines_that_are_no_records_lie_in_quarantine_with_their_reason(archive, line, reason):
    assert send(archive, line + b"\n")["accepted"] == []
    assert quarantined(archive)[0]["reason"] == reason


def test_a_delivery_of_no_objects_is_no_nodes(archive):
    said = refused(archive, b"\xff\n" * 101 + json.dumps(row()).encode(), "no_records")
    assert "more than 100 lines" in said
    assert len(quarantined(archive)) == quarantine.KEPT_LINES + 1
    assert in_inbox(archive) == []


@pytest.mark.parametrize("byte", [b"\xff", b"\0", b'"', b"\\", b"\x1b", "é".encode()])
def test_little_is_kept_of_a_line_in_characters_that_a_screen_can_show(archive, byte):
    send(archive, byte * 10_000 + b"\n")
    (file,) = archive.quarantine.glob("attic/*")
    kept = json.loads(file.read_text())
    assert kept["line"].isprintable()
    assert len(json.dumps(kept["line"], ensure_ascii=False).encode()) <= 4 * quarantine.KEPT_BYTES + 2


def test_the_quarantine_of_a_node_is_bounded_in_bytes_and_age(archive, clock):
    limits = replace(LIMITS, quarantine_mb=0.0125)
    for _ in range(5):
        send(archive, b"{}\n", limits=limits)
    files = list(archive.quarantine.glob("attic/*"))
    assert len(files) == 3
    assert "node attic: 5 records refused since" in standing.problems(archive, NOW)[0]
    for file in files:
        os.utime(file, (NOW - 91 * DAY, NOW - 91 * DAY))
    send(archive, b"{}\n", limits=limits)
    assert len(list(archive.quarantine.glob("attic/*"))) == 1
    clock(NOW + 100 * DAY)
    for file in archive.quarantine.glob("attic/*"):
        os.utime(file, (NOW, NOW))
    quarantine.clear(archive, limits, NOW + 91 * DAY)
    assert not list(archive.quarantine.glob("attic/*"))


# the standing


def test_problems_name_node_count_and_reason_and_fade_after_a_day(archive, clock):
    register(archive, mallory=[entry()])
    rows = [row(node="mallory", location="castle") for _ in range(1200)]
    deliver(archive, *rows, node="mallory")
    assert standing.problems(archive, NOW + 60) == [
        f"node mallory: 1,200 records refused since {utc_text(NOW)}, last: "
        "other_location: 'castle' is not a location of node 'mallory'"
    ]
    clock(NOW + 3600)
    deliver(archive, row(node="mallory"), node="mallory")
    assert standing.problems(archive, NOW + 3600)
    assert standing.problems(archive, NOW + DAY + 1) == []
    clock(NOW + 2 * DAY)
    deliver(archive, rows[0], node="mallory")
    assert (
        f"node mallory: 1 record refused since {utc_text(NOW + 2 * DAY)}"
        in standing.problems(archive, NOW + 2 * DAY)[0]
    )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b"\xff" * 100,
        b"[" * 10_000,
        b" " * 1_000_000,
        b'{"tokens": 3, "at": 5, "last_rows": 1}',
        b'{"rows": NaN, "bytes": Infinity, "raw": "x", "at": true, "records": -1, "last": 1e400, "reason": 7}',
        json.dumps({"last": NOW, "records": 1.5, "reason": "\x1b[31m", "message": "x\n" * 9999}).encode(),
        json.dumps(dict.fromkeys(("at", "rows", "last", "since", "waiting"), 10**400)).encode(),
    ],
)
def test_nothing_in_a_standings_file_breaks_or_blocks_anything(archive, content):
    (archive.state / "receive-attic.json").write_bytes(content)
    (archive.state / "receive-..json").write_bytes(content)
    assert all(text.isprintable() and len(text) < 1000 for text in standing.problems(archive, NOW))
    assert deliver(archive, row())["accepted"]
    assert standing.load(archive.state / "receive-attic.json").rows == LIMITS.rows_burst - 1


@pytest.mark.parametrize("plant", [os.mkfifo, lambda file: file.symlink_to("/etc/passwd")])
def test_a_pipe_or_a_link_in_its_place_is_not_followed(archive, plant):
    file = archive.state / "receive-attic.json"
    plant(file)
    assert standing.problems(archive, NOW) == []
    assert deliver(archive, row())["accepted"]
    assert file.is_file()
    assert not file.is_symlink()


def test_status_names_who_is_refused_and_limits_that_are_none(archive, capsys):
    (archive.fleet / "limits.env").write_text("SPEEDTEST_LIMIT_ROWS=lots\n")
    send(archive, b"{}\n", "mallory")
    assert cli.main(["--root", str(archive.root), "fleet"]) == 0
    problems = json.loads(capsys.readouterr().out)["problems"]
    assert any(said.startswith("node mallory: 1 record refused") for said in problems)
    assert any("SPEEDTEST_LIMIT_ROWS='lots'" in said for said in problems)


def test_the_upkeep_clears_the_quarantine_of_nodes_that_deliver_no_more(archive, clock):
    send(archive, b"{}\n", "gone")
    (file,) = archive.quarantine.glob("gone/*")
    os.utime(file, (NOW, NOW))
    month = archive.quarantine / "spoiled_months/one.parquet"
    month.parent.mkdir()
    month.write_bytes(b"a month that was replaced")
    os.utime(month, (0, 0))
    for days, left in ((89, [file]), (91, [])):
        clock(NOW + days * DAY)
        assert cli.main(["--root", str(archive.root), "gather"]) == 0
        assert list(archive.quarantine.glob("gone/*")) == left
    assert month.exists()


# a backlog


def lines_like(record, changes):
    """Lines like that of a record but for some columns, quickly."""
    template = json.dumps({**record, **{name: f"<{name}>" for name in changes}})
    lines = []
    for values in zip(*changes.values(), strict=True):
        line = template
        for name, value in zip(changes, values, strict=True):
            line = line.replace(f"<{name}>", value)
        lines.append(line.encode() + b"\n")
    return lines


@pytest.mark.sampled
@pytest.mark.parametrize("days", some([90, 400], 2))
def test_a_long_backlog_comes_in_within_the_hour_with_default_limits(archive, clock, days):
    register(archive, attic=[entry()])
    slots = [utc_text(NOW - n * 300) for n in range(days * 288, 0, -1)]
    runs = [run_id_of_slot("attic", slot) for slot in slots]
    changes = {"run_id": runs, "scheduled_at": slots, "started_at": slots}
    lines = lines_like(row(NOW), changes)
    limits = replace(receive.Limits(), free_mb=0, low_disk_mb=0)
    accepted = []
    for first in range(0, len(lines), 2000):
        clock(NOW + first * 3600 / len(lines))
        accepted += send(archive, b"".join(lines[first : first + 2000]), limits=limits)["accepted"]
    assert accepted == runs
    assert sum(file.read_bytes().count(b"\n") for file in archive.inbox.glob("attic/*")) == len(runs)


# the process

MEASURED = """
import sys
from speedtest_logger.archive.arrive import receive
BEFORE
code = receive.main(sys.argv[1:])
status = open("/proc/self/status").read()
print("peak", status.split("VmHWM:")[1].split()[0], file=sys.stderr)
sys.exit(code)
"""


def process(archive, payload, before=""):
    """Run receive on its own: its answer, and its peak memory in MB."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED.replace("BEFORE", before), "--node", "mallory", "--root", str(archive.root)],
        input=payload,
        capture_output=True,
        check=False,
        env={"PYTHONPATH": str(ROOT / "src")},
        timeout=300,
    )
    assert done.stdout.count(b"\n") == 1, done.stderr
    return json.loads(done.stdout), int(done.stderr.split()[-1]) / 1000


@pytest.fixture
def roomy(archive):
    (archive.fleet / "limits.env").write_text('SPEEDTEST_LIMIT_FREE_MB="1"\nSPEEDTEST_LIMIT_LOW_DISK_MB="1"\n')
    return archive


def current(**changes):
    """A record of a minute ago by the real clock."""
    return row(datetime.now(timezone.utc).timestamp() - 60, node="mallory", **changes)


def test_whatever_comes_a_receive_stays_below_100_mb(roomy):
    answer, peak = process(roomy, (b"\xff" * 31_999 + b"\n") * 2000)
    assert answer["refused"] == "no_records"
    assert layout.bytes_in(roomy.quarantine / "mallory") < 200_000
    assert_small("no objects", peak)
    texts = ("server_name", "server_host", "server_country", "isp", "result_url")
    runs = [str(uuid.UUID(int=n)) for n in range(10_000)]
    answer, peak = process(roomy, b"".join(lines_like(current(**dict.fromkeys(texts, "x" * 1000)), {"run_id": runs})))
    assert answer["accepted"] == runs
    assert_small("large records", peak)
    words = bytes(1_000_000)
    record = current(raw_sha256=hashlib.sha256(words).hexdigest())
    bombs = lines_like(raw_line(record, words), {"raw_of": runs})
    answer, peak = process(
        roomy, b"".join(map(b"".join, zip(lines_like(record, {"run_id": runs}), bombs, strict=True)))
    )
    assert answer["refused"] == "too_large"
    assert_small("bombs", peak)


def assert_small(what, peak):
    print(f"{what}: {peak:.0f} MB")
    assert peak < 100


WAITS = """
import select, signal
def take(self, line):
    if 0 < signal.alarm(1) <= 10:  # what is left of the time that it has
        select.select([], [], [])
receive.Delivery.take = take
"""
WORKS = """
import resource, signal
def take(self, line):
    if resource.getrlimit(resource.RLIMIT_CPU)[0] == 10:
        signal.alarm(0)
        resource.setrlimit(resource.RLIMIT_CPU, (1, 20))
        while True:
            pass
receive.Delivery.take = take
"""


def test_what_needs_more_memory_or_time_than_it_may_is_refused_and_charged(roomy):
    (roomy.fleet / "limits.env").write_text("SPEEDTEST_LIMIT_SECONDS=10\nSPEEDTEST_LIMIT_FREE_MB=1\n")
    line = json.dumps(current()).encode()
    for before, words in (
        ("receive.Delivery.take = lambda self, line: bytearray(400_000_000)", "more than 256 MB of memory"),
        (WAITS, "the delivery took too long"),
        (WORKS, "the delivery took too long"),
    ):
        answer, _ = process(roomy, line, before)
        assert words in answer["message"]
    left = standing.load(roomy.state / "receive-mallory.json").bytes
    assert 3 * len(line) <= LIMITS.bytes_burst_mb * 1_000_000 - left + 32e6 * 60 / 3600
    assert left < LIMITS.bytes_burst_mb * 1_000_000
    assert process(roomy, line)[0]["accepted"]


def test_what_the_disk_refuses_is_answered_too(roomy):
    (roomy.inbox / "mallory").write_text("no folder")
    answer, _ = process(roomy, json.dumps(current()).encode())
    assert answer["refused"] == "storage"
