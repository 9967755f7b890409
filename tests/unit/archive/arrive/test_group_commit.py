"""Group commit: no receipt before the disk has it, many receipts for one synchronisation, none where that fails."""

from __future__ import annotations

import errno
import io
import json
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from speedtest_logger.archive.arrive import group_commit, receive
from speedtest_logger.record import Record, utc_text

LIMITS = receive.Limits(free_mb=1, low_disk_mb=1)


def line(node="attic"):
    now = time.time() - 100
    made = Record(
        run_id=str(uuid.uuid4()), node=node, location="home", started_at=utc_text(now), finished_at=utc_text(now + 10),
        status="ok", download_bps=1e8, upload_bps=5e7,
    )  # fmt: skip
    return json.dumps(made.to_row()).encode() + b"\n"


def commit_of(archive):
    return group_commit.GroupCommit((archive.inbox, archive.state))


def deliver(archive, commit, node="attic"):
    return receive.receive(archive, node, io.BytesIO(line(node)), LIMITS, commit)


def named(archive):
    return [file for file in archive.inbox.rglob("*.jsonl") if not file.name.startswith(".")]


def test_bytes_are_on_disk_before_a_name_and_names_before_the_receipt(archive, monkeypatch):
    seen = []

    def syncfs(_):
        whole = [file for file in archive.inbox.rglob("*") if file.is_file()]
        seen.append((sum(file.stat().st_size > 0 for file in whole), len(named(archive))))

    monkeypatch.setattr(group_commit, "syncfs", syncfs)
    assert deliver(archive, commit_of(archive))["accepted"]
    assert seen == [(1, 0), (1, 1)]


@pytest.mark.parametrize("failing", [1, 2])
def test_a_disk_that_fails_gives_no_receipt(archive, monkeypatch, failing):
    calls = []

    def syncfs(_):
        calls.append(1)
        if len(calls) == failing:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(group_commit, "syncfs", syncfs)
    commit = commit_of(archive)
    with pytest.raises(OSError, match="Input/output error"):
        deliver(archive, commit)
    assert deliver(archive, commit)["accepted"]  # the next one is not blamed


def test_deliveries_that_come_together_share_what_it_costs(archive, monkeypatch):
    came, all_came = [], threading.Event()

    def syncfs(_):
        assert all_came.wait(60)
        time.sleep(0.3)

    def barrier():
        came.append(1)
        if len(came) >= 20:
            all_came.set()
        real()

    monkeypatch.setattr(group_commit, "syncfs", syncfs)
    commit = commit_of(archive)
    real = commit.barrier
    monkeypatch.setattr(commit, "barrier", barrier)
    with ThreadPoolExecutor(20) as pool:
        receipts = list(pool.map(lambda number: deliver(archive, commit, f"node-{number}"), range(20)))
    assert all(receipt["accepted"] for receipt in receipts)
    assert commit.rounds <= 20  # by itself each would need two: 40
    assert len(named(archive)) == 20


def test_whoever_comes_during_a_round_waits_for_the_next_one(archive, monkeypatch):
    inside, go = threading.Event(), threading.Event()

    def syncfs(_):
        inside.set()
        go.wait(60)

    monkeypatch.setattr(group_commit, "syncfs", syncfs)
    commit = commit_of(archive)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(commit.barrier)
        inside.wait(60)
        second = pool.submit(commit.barrier)  # what it wrote may not be in the round that is under way
        time.sleep(0.1)
        go.set()
        first.result(60)
        second.result(60)
    assert commit.rounds == 2


def test_the_real_call_works_and_says_what_is_wrong(archive):
    commit = commit_of(archive)
    commit.barrier()
    with pytest.raises(OSError, match="Bad file descriptor"):
        group_commit.syncfs(-1)
