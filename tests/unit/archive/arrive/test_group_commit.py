"""Group commit: no receipt before the disk has it, many receipts for one synchronisation, none where that fails."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import threading
import time
import uuid

import pytest

from speedtest_logger.archive.arrive import group_commit, receive
from speedtest_logger.files import LATER
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


def steps(archive, node="attic"):
    return receive.steps(archive, node, io.BytesIO(line(node)), LIMITS, LATER)


def deliver(archive, commit, *nodes):
    """What becomes of deliveries that come at the same time."""

    async def all_of_them():
        return await asyncio.gather(
            *(commit.take(steps(archive, node)) for node in nodes or ("attic",)), return_exceptions=True
        )

    return asyncio.run(asyncio.wait_for(all_of_them(), 60))


def named(archive):
    return [file for file in archive.inbox.rglob("*.jsonl") if not file.name.startswith(".")]


def test_bytes_are_on_disk_before_a_name_and_names_before_the_receipt(archive, monkeypatch):
    seen = []

    def syncfs(_):
        whole = [file for file in archive.inbox.rglob("*") if file.is_file()]
        seen.append((sum(file.stat().st_size > 0 for file in whole), len(named(archive))))

    monkeypatch.setattr(group_commit, "syncfs", syncfs)
    [receipt] = deliver(archive, commit_of(archive))
    assert receipt["accepted"]
    assert seen == [(1, 0), (1, 1)]


@pytest.mark.parametrize("failing", [1, 2])
def test_a_disk_that_fails_gives_no_receipt(archive, monkeypatch, failing):
    calls, mended = [], []

    def syncfs(_):
        calls.append(1)
        if len(calls) >= failing and not mended:  # whichever round who is in
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(group_commit, "syncfs", syncfs)
    commit = commit_of(archive)
    failed = deliver(archive, commit, "attic", "porch")
    assert [str(error) for error in failed] == ["[Errno 5] Input/output error"] * 2
    assert not [file for file in archive.inbox.rglob(".*") if file.is_file()], "nothing half of them stays"
    mended.append(1)
    [receipt] = deliver(archive, commit)  # the next one is not blamed
    assert receipt["accepted"]


def test_one_that_is_refused_or_breaks_does_not_hold_the_others_up(archive, monkeypatch):
    all_came = threading.Event()

    def broken():
        yield
        raise ZeroDivisionError

    async def together():
        commit = commit_of(archive)
        works = [commit.take(steps(archive, "attic")), commit.take(broken()), commit.take(steps(archive, "attic"))]
        all_came.set()
        return await asyncio.gather(*works, return_exceptions=True)

    monkeypatch.setattr(group_commit, "syncfs", lambda _: all_came.wait(60))
    first, second, third = asyncio.run(asyncio.wait_for(together(), 60))
    assert first["accepted"]
    assert isinstance(second, ZeroDivisionError)
    assert third.reason == "busy"


def test_deliveries_that_come_together_share_what_it_costs(archive, monkeypatch):
    monkeypatch.setattr(group_commit, "syncfs", lambda _: time.sleep(0.3))
    commit = commit_of(archive)
    receipts = deliver(archive, commit, *(f"node-{number}" for number in range(20)))
    assert all(receipt["accepted"] for receipt in receipts)
    assert commit.rounds <= 4  # by itself each would need two: 40
    assert len(named(archive)) == 20


def test_whoever_comes_during_a_round_waits_for_the_next_one(archive, monkeypatch):
    inside, go, seen = threading.Event(), threading.Event(), []

    def syncfs(_):
        inside.set()
        go.wait(60)
        seen.append(len(list(archive.inbox.glob("*/.*"))))

    def comes():
        seen.append("came")
        yield

    async def two():
        commit = commit_of(archive)
        first = commit.take(steps(archive))
        await asyncio.to_thread(inside.wait, 60)
        second = commit.take(comes())  # what it wrote may not be in the round that is under way
        await asyncio.sleep(0.1)
        assert not second.done()
        go.set()
        await asyncio.gather(first, second)
        return commit.rounds

    monkeypatch.setattr(group_commit, "syncfs", syncfs)
    assert asyncio.run(asyncio.wait_for(two(), 60)) == 2
    assert seen[:2] == [1, "came"]


def test_who_has_gone_is_told_nothing_and_all_the_same_taken(archive):
    async def impatient():
        commit = commit_of(archive)
        gone = commit.take(steps(archive, "attic"))
        gone.cancel()
        return await commit.take(steps(archive, "porch"))

    assert asyncio.run(asyncio.wait_for(impatient(), 60))["accepted"]
    assert {file.parent.name for file in named(archive)} == {"attic", "porch"}


def test_the_real_call_says_what_is_wrong():
    with pytest.raises(OSError, match="Bad file descriptor"):
        group_commit.syncfs(-1)
