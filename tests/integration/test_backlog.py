"""Ninety days at five minutes without an archive, with default settings: kept, delivered soon, and counted beyond.

The gate has an eighth of both, the days and the room for them.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from builders import ROOT
from tries import FACTOR

from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.log import Log
from speedtest_logger.node import cap, config, measure, outbox, push
from speedtest_logger.node.spool import Spool, record_to_csv
from speedtest_logger.record import Record, utc_text

PART = 8 if FACTOR == 1 else 1
DAYS, INTERVAL = 90, 300
SLOTS = DAYS * 86_400 // INTERVAL // PART
pytestmark = pytest.mark.sampled
HOUR = 3600
RECEIVE = "import sys; from speedtest_logger.archive.arrive.receive import main; sys.exit(main())"


@pytest.fixture
def node(tmp_path, monkeypatch):
    """A node that is set as by default, an archive behind a pipe in ssh's place, and a disk that is not waited for."""
    Layout(tmp_path / "archive").prepare()
    ssh = tmp_path / "bin/ssh"
    ssh.parent.mkdir()
    receiving = f"exec {sys.executable} -c '{RECEIVE}' --node attic --root {tmp_path}/archive"
    ssh.write_text(f"#!/bin/sh\nexport PYTHONPATH={ROOT}/src\n{receiving}\n")
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ssh.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(os, "fsync", lambda _: None)
    settings = config.load(
        {
            "SPEEDTEST_NODE": "attic",
            "SPEEDTEST_STATE_DIR": str(tmp_path / "node"),
            "SPEEDTEST_LOG_FILE": str(tmp_path / "diag.log"),
            "SPEEDTEST_ARCHIVE_HOST": "archive.example.org",
            "SPEEDTEST_INTERVAL_SECONDS": str(INTERVAL),
        }
    )
    Spool(settings.state_dir).prepare()
    return replace(settings, outbox_max_mb=settings.outbox_max_mb / PART)


def slot_record(settings: config.Settings, slot: int) -> Record:
    """A record as long as they are."""
    return replace(
        measure.begin(settings, slot, slot),
        status="ok",
        reason=None,
        message=None,
        engine="librespeed",
        engine_version="librespeed-cli v1.0.11",
        server_name="Amsterdam, Netherlands",
        server_host="ams.speedtest.example.net:8080",
        isp="Example Broadband GmbH & Co. KG",
        external_ip="203.0.113.7",
        download_bps=123_456_789.25,
        upload_bps=23_456_789.5,
        latency_ms=12.345,
        jitter_ms=1.25,
        bytes_received=154_320_986,
        bytes_sent=29_320_986,
        raw_sha256="a" * 64,
    )


def fill(settings: config.Settings, slots: Iterable[int]) -> None:
    """What the outage left, all but its end."""
    spool = Spool(settings.state_dir)
    for slot in slots:
        record = slot_record(settings, slot)
        file = spool.outbox / f"{record.run_id}.csv"
        file.write_bytes(record_to_csv(record))
        os.utime(file, (slot, slot))


def keep(settings: config.Settings, slot: int) -> None:
    """As `measure` does it, without the history."""
    spool, record = Spool(settings.state_dir), slot_record(settings, slot)
    cap.keep_below_cap(settings, spool, Log(settings.log_file), record)
    spool.write(record)


def archived(folder: Path) -> list[dict]:
    files = folder.glob("archive/inbox/attic/*.jsonl")
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def test_ninety_days_are_kept_and_delivered_within_the_hour(node, tmp_path, monkeypatch):
    monkeypatch.setattr(Spool, "_write_history", lambda *_: None)
    last = int(time.time()) // INTERVAL * INTERVAL
    slots = range(last - (SLOTS - 1) * INTERVAL, last + 1, INTERVAL)
    fill(node, slots[:-20])
    for slot in slots[-20:]:
        keep(node, slot)
    assert len(list(outbox.names(Spool(node.state_dir).outbox))) == SLOTS == 25_920 // PART
    began, cpu = time.monotonic(), time.process_time()
    delivery = push.push(node, Log(node.log_file))
    took = time.monotonic() - began
    print(f"{SLOTS} records delivered in {took:.1f} s, {time.process_time() - cpu:.1f} s CPU on the node")
    assert (delivery.accepted, delivery.waiting) == (SLOTS, 0)
    assert sorted(row["scheduled_at"] for row in archived(tmp_path)) == [utc_text(slot) for slot in slots]
    assert took < HOUR


def test_beyond_the_default_cap_one_record_counts_and_a_drop_is_cheap(node, tmp_path, monkeypatch):
    monkeypatch.setattr(Spool, "_write_history", lambda *_: None)
    room = int(node.outbox_max_mb * 1e6) // 4096
    start = 1_700_000_100
    fill(node, range(start, start + room * INTERVAL, INTERVAL))
    spool, spent = Spool(node.state_dir), []
    for number in range(room, room + 50):
        began = time.process_time()
        keep(node, start + number * INTERVAL)
        spent.append((time.process_time() - began) * 1000)
        assert len(list(outbox.names(spool.outbox))) == room
    print(f"{room} files: the first drop {spent[0]:.0f} ms CPU, then {sum(spent[1:]) / 49:.1f} ms for one")
    (count,) = (text for file in spool.waiting() if b"outbox_dropped" in (text := file.read_bytes()))
    assert f"51 undelivered records dropped, of slots from {utc_text(start)}".encode() in count
    assert sum(entry.disk_bytes for entry in outbox.listed(spool.outbox)) <= node.outbox_max_mb * 1e6
    assert sum(spent[1:]) / 49 < max(20, spent[0])
