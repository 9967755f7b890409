"""Whatever comes with a node's key: receive refuses in words, takes what its rules allow, and nothing grows."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import uuid
from base64 import b64encode
from dataclasses import replace
from pathlib import Path
from zlib import compress

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from tries import tries

from speedtest_logger import wire
from speedtest_logger.archive.arrive import receive, standing
from speedtest_logger.archive.format.layout import BLOCK, Layout
from speedtest_logger.errors import RecordError, RefusedError
from speedtest_logger.record import COLUMNS, NODE_RUNTIMES, Record, run_id_of_slot, unix_time, utc_text, validate

NOW = 1_800_000_000
DAY = 86_400
MB = 1_000_000
LIMITS = receive.Limits(free_mb=0, low_disk_mb=0)
KEYS = {"accepted", "rejected", "later", "receipt", "node", "knows", "log", "probes"}


@pytest.fixture(autouse=True, scope="module")
def clock():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.time", lambda: float(NOW))
        yield


def entry():
    return {
        "valid_from": utc_text(NOW - 900 * DAY),
        "valid_to": None,
        "interval_seconds": 300,
        "offset_seconds": 0,
        "location": "home",
    }


def made(folder: Path) -> Layout:
    layout = Layout(folder)
    layout.prepare()
    nodes = ("attic", "mallory")
    inventory = {node: {"location": "home", "archive_raw": True} for node in nodes}
    registry = {"nodes": {node: [entry()] for node in nodes}, "inventory": inventory}
    (layout.fleet / "schedule.json").write_text(json.dumps(registry))
    return layout


def row(slot=NOW - 600, node="attic", **changes):
    at = utc_text(slot)
    base = Record(
        run_id=run_id_of_slot(node, at),
        node=node,
        location="home",
        scheduled_at=at,
        started_at=at,
        finished_at=at,
        status="ok",
        download_bps=1e8,
        upload_bps=5e7,
        raw_sha256=hashlib.sha256(b"x").hexdigest(),
    ).to_row()
    return {**base, **changes}


def sent(layout, payload, node="attic", limits=LIMITS):
    """The receipt, or None where the delivery was refused; whatever it is, what was promised is there."""
    before = set(layout.inbox.glob("*/*"))
    try:
        receipt = receive.receive(layout, node, io.BytesIO(payload), limits)
    except RefusedError as error:
        assert error.reason
        assert set(layout.inbox.glob("*/*")) == before
        receipt = None
    new = sorted(set(layout.inbox.glob("*/*")) - before)
    assert not list(layout.root.rglob(".*.tmp"))
    stored = [json.loads(line) for file in new for line in file.read_bytes().splitlines()]
    if receipt is not None:
        assert set(receipt) == KEYS
        assert [each["run_id"] for each in stored] == receipt["accepted"]
        json.dumps(receipt)
    for each in stored:
        allowed(each, node)
    return receipt


def allowed(stored, node):
    """The rules again, in other words."""
    record = validate({name: stored.get(name) for name in COLUMNS})
    assert (record.node, record.location, record.runtime in NODE_RUNTIMES) == (node, "home", True)
    started = unix_time(record.started_at)
    assert NOW - LIMITS.oldest_days * DAY <= started <= unix_time(record.finished_at) <= NOW + LIMITS.ahead_seconds
    if record.scheduled_at:
        assert record.run_id == run_id_of_slot(node, record.scheduled_at)
        assert -2 <= started - unix_time(record.scheduled_at) <= 3602


ODD = [None, True, -1, 0, 1, 2.5, 2**53, 1e308, "", "x" * 1001, "home", "attic", "mallory", "a\0b", "\ud800", "é\u2028"]
ODD += [{}, [], [[]], "systemd", "imported", "ok", "failed", "paused", "0" * 64, 10**40, "2026-02-30T00:00:00.000Z"]
ODD += [utc_text(NOW + off) for off in (-500 * DAY, -4000, -599, -598, 0, 299, 301, 400 * DAY)]
ODD += [run_id_of_slot(node, utc_text(NOW - 600)) for node in ("attic", "mallory")]
ODD.append(str(uuid.UUID(int=7)))
CHANGES = st.dictionaries(st.sampled_from([*COLUMNS, "raw_of", "content", "odd"]), st.sampled_from(ODD), max_size=4)
RAW = st.sampled_from([b"x", b"other", bytes(10), bytes(wire.MOST_DELIVERED + 1)]).map(
    lambda words: json.dumps(
        {"raw_of": run_id_of_slot("attic", utc_text(NOW - 600)), "content": b64encode(compress(words)).decode()}
    ).encode()
)
ROWS = CHANGES.map(lambda changes: json.dumps(row() | changes).encode())
LINES = st.one_of(ROWS, RAW, st.binary(max_size=60), st.sampled_from([b"", b"{}", b"[" * 9999, b"9" * 9000, b"NaN"]))


@hypothesis_settings(max_examples=tries(50))
@given(payload=st.binary(max_size=3000))
def test_no_bytes_break_it(tmp_path_factory, payload):
    layout = made(tmp_path_factory.mktemp("archive"))
    sent(layout, payload)


@hypothesis_settings(max_examples=tries(100))
@given(lines=st.lists(LINES, max_size=8))
def test_only_what_the_rules_allow_comes_in(tmp_path_factory, lines):
    layout = made(tmp_path_factory.mktemp("archive"))
    sent(layout, b"\n".join(lines))


@hypothesis_settings(max_examples=tries(50))
@given(at=st.integers(0, 5000), byte=st.integers(0, 255), cut=st.integers(0, 5000))
def test_a_flipped_or_cut_delivery_gives_no_record_that_is_none(tmp_path_factory, at, byte, cut):
    layout = made(tmp_path_factory.mktemp("archive"))
    payload = bytearray(b"\n".join(json.dumps(row(NOW - 600 * n)).encode() for n in range(1, 6)))
    payload[at % len(payload)] = byte
    sent(layout, bytes(payload[: -cut % len(payload)]))


@hypothesis_settings(max_examples=tries(50))
@given(changes=CHANGES)
def test_what_the_record_forbids_never_comes_in(tmp_path_factory, changes):
    layout = made(tmp_path_factory.mktemp("archive"))
    changed = row() | changes
    receipt = sent(layout, json.dumps(changed).encode())
    assert receipt is not None
    try:
        validate(changed)
    except RecordError:
        assert receipt["accepted"] == []


def as_lines(rows):
    return b"".join(json.dumps(each).encode() + b"\n" for each in rows)


def bomb(now):
    words = bytes(900_000)
    record = row(now - 300, "mallory", raw_sha256=hashlib.sha256(words).hexdigest())
    return as_lines([record, {"raw_of": record["run_id"], "content": b64encode(compress(words)).decode()}])


def hostile(chance, now):
    """A delivery of somebody who has a node's key and means harm."""
    failed = {"status": "failed", "reason": "no_route", "message": "x" * 1000}
    return chance.choice(
        (
            lambda: (b"\xff" * 300 + b"\n") * 150,
            lambda: b"\xff" * 40_000,
            lambda: b"{}\n" * 200,
            lambda: as_lines(row(now - 300 * n, "attic") for n in range(50)),
            lambda: as_lines(row(now - 30 * DAY * n, "mallory", location=f"place-{n}") for n in range(50)),
            lambda: as_lines(row(now - chance.randrange(400 * DAY), "mallory", **failed) for _ in range(50)),
            lambda: bomb(now),
            lambda: chance.randbytes(5000),
        )
    )()


def attempt(layout, payload, limits):
    """How many records came in, and why the delivery was refused."""
    try:
        return len(receive.receive(layout, "mallory", io.BytesIO(payload), limits)["accepted"]), None
    except RefusedError as error:
        return 0, error.reason


def disk_bytes(folder):
    return sum(max(BLOCK, file.stat().st_size) for file in folder.rglob("*") if file.is_file())


def test_years_of_it_stay_within_the_bounds_and_no_other_node_notices(tmp_path, monkeypatch):
    layout = made(tmp_path)
    limits = receive.Limits(
        free_mb=0,
        low_disk_mb=0,
        inbox_mb=0.5,
        raw_inbox_mb=0.1,
        quarantine_mb=0.2,
        bytes_burst_mb=2,
        bytes_per_hour_mb=0.05,
        rows_burst=2000,
        rows_per_hour=60,
        raw_burst_mb=20,
        raw_per_hour_mb=1,
    )
    chance = random.Random(7)  # noqa: S311  the same harm each time
    seen: set[Path] = set()
    outcomes: list[tuple[int, str | None]] = []
    for step in range(60):  # six years and a half, forty days at a time
        now = NOW + step * 40 * DAY
        monkeypatch.setattr("time.time", lambda now=now: float(now))
        outcomes += [attempt(layout, hostile(chance, now), limits) for _ in range(8)]
        honest = row(now - 300)
        assert receive.receive(layout, "attic", io.BytesIO(json.dumps(honest).encode()), limits)["accepted"]
        assert disk_bytes(layout.inbox / "mallory") <= limits.inbox_mb * MB
        assert disk_bytes(layout.raw_inbox / "mallory") <= limits.raw_inbox_mb * MB
        assert disk_bytes(layout.quarantine / "mallory") <= limits.quarantine_mb * MB
        for file in set(layout.root.rglob("*")) - seen:  # their age is the simulated clock's
            os.utime(file, (now, now))
            seen.add(file)
        if step % 3 == 0:  # ingest comes now and then
            for file in [*layout.inbox.glob("*/*"), *layout.raw_inbox.glob("*/*")]:
                file.unlink()
    assert sum(stored for stored, _ in outcomes) > 1000
    assert {"inbox_full", "no_records", "line_too_long"} <= {reason for _, reason in outcomes}
    assert standing.load(layout.state / "receive-attic.json").records == 0
    (said,) = standing.problems(layout, now)
    assert said.startswith("node mallory: ")
    assert sum(file.is_file() for file in layout.state.rglob("*")) == 6  # three of each node


def test_an_hour_of_a_flood_costs_no_more_than_the_buckets_hold(tmp_path, monkeypatch):
    layout = made(tmp_path)
    limits = replace(LIMITS, bytes_burst_mb=2, bytes_per_hour_mb=1, rows_burst=500, rows_per_hour=60)
    read = taken = 0
    for minute in range(0, 60, 2):
        now = NOW + 60 * minute
        monkeypatch.setattr("time.time", lambda now=now: float(now))
        for _ in range(3):
            before = standing.read(layout, "mallory", limits, now).bytes
            stored, reason = attempt(layout, as_lines(row(now - n, "mallory") for n in range(200)), limits)
            assert reason in (None, "rate_limited")
            taken += stored
            read += before - standing.load(layout.state / "receive-mallory.json").bytes
    assert taken <= 500 + 60
    assert read <= 3 * MB
