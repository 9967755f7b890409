"""What one delivery and one node may cost, and that a long backlog comes in all the same."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from deliveries import DAY, LIMITS, NOW, deliver, entry, in_inbox, lines_like, refused, register, row, send
from tries import some

from speedtest_logger.archive.arrive import receive, standing
from speedtest_logger.record import run_id_of_slot, utc_text

pytestmark = pytest.mark.usefixtures("clock")


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
