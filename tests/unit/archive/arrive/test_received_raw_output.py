"""Raw output as it comes in: only where it is wanted, once, and unpacked no further than it may be."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest
from deliveries import LIMITS, NOW, WORDS, deliver, entry, quarantined, raw_line, refused, register, row, send

from speedtest_logger import wire
from speedtest_logger.archive.arrive import standing

pytestmark = pytest.mark.usefixtures("clock")


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
