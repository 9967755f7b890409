"""Listings of places where another process takes files away at the same time: deliveries, ingest, other queries."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager

import pytest

from speedtest_logger.archive.arrive import chunks, inbox
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.format.schema import BATCH_SCHEMA
from speedtest_logger.archive.read import snapshot
from speedtest_logger.archive.write import ingest
from speedtest_logger.node import cap, outbox
from speedtest_logger.node.spool import Spool

ROUNDS = 300
AS_FAST_AS_IT_CAN = """
import os, sys
name, parent = sys.argv[1], os.getppid()
print(flush=True)
for n in range(10_000_000):
    if n % 1000 == 0 and os.getppid() != parent:
        break
"""
COMING_AND_GOING = f"""{AS_FAST_AS_IT_CAN}
    os.close(os.open(name % (n % 7), os.O_CREAT, 0o640))
    os.unlink(name % ((n + 4) % 7)) if n >= 4 else None
"""
REPLACED = f"""{AS_FAST_AS_IT_CAN}
    os.close(os.open(name + ".tmp", os.O_CREAT, 0o640))
    os.replace(name + ".tmp", name)
"""


@contextmanager
def coming_and_going(pattern, how=COMING_AND_GOING):
    """Another process makes files and removes them, or replaces one, as fast as it can."""
    other = subprocess.Popen([sys.executable, "-c", how, str(pattern)], stdout=subprocess.PIPE)
    try:
        other.stdout.readline()
        yield
        assert other.poll() is None, "it was to go on until now"
    finally:
        other.kill()
        other.communicate()


@pytest.fixture
def archive(tmp_path):
    made = Layout(tmp_path / "archive")
    made.prepare()
    (made.inbox / "attic").mkdir()
    return made


def test_the_outbox_while_a_delivery_empties_it(tmp_path):
    spool = Spool(tmp_path)
    spool.prepare()
    staying = spool.outbox / "staying.csv"
    staying.touch()
    with coming_and_going(spool.outbox / "%s.csv"):
        assert all(staying in spool.waiting() for _ in range(ROUNDS))
        for _ in range(ROUNDS):
            cap.look(spool)
            outbox.strange(spool.outbox)
            outbox.is_empty(spool.outbox)


def test_the_inbox_while_ingest_empties_it(archive):
    staying = archive.inbox / "attic/staying.jsonl"
    staying.write_bytes(b"{}\n")
    with coming_and_going(archive.inbox / "attic/%s.jsonl"):
        for _ in range(ROUNDS):
            found = [pair for files in inbox.chunks(archive.inbox, 1) for pair in inbox.contents(files).items()]
            assert (staying, b"{}\n") in found
            assert {content for file, content in found if file != staying} <= {b""}


def test_a_chunk_that_was_taken_as_a_whole_is_no_row(archive):
    chunk = chunks.read([archive.inbox / "attic/gone.jsonl"])
    assert (chunk.files, chunk.size, chunk.table.num_rows, chunk.damaged) == ([], 0, 0, [])
    assert chunk.table.schema.equals(BATCH_SCHEMA)


def test_temporary_files_of_deliveries_under_way(archive):
    with coming_and_going(archive.inbox / "attic/.%s.tmp"):
        assert {ingest.clear_leftovers(archive) for _ in range(ROUNDS)} == {0}


def test_what_other_queries_link(archive):
    with coming_and_going(archive.state / f"{snapshot.PREFIX}%s"):
        assert all(snapshot.leftovers(archive) == [] for _ in range(ROUNDS))


def test_a_month_that_is_replaced_all_the_time_is_never_left_out(archive):
    month = archive.month_file("home", 2026, 1)
    month.parent.mkdir(parents=True)
    month.touch()
    with coming_and_going(month, REPLACED):
        for _ in range(ROUNDS):
            with snapshot.still(archive, [month]) as files:
                assert len(files.linked) == 1
                assert files.linked[0].exists()


def test_a_month_that_was_pruned_meanwhile_is_left_out(archive, monkeypatch):
    gone = archive.month_file("home", 2026, 1)
    identity = snapshot.Identity(1, 2**62, 1)
    monkeypatch.setattr(snapshot, "identities", lambda files: dict.fromkeys(files, identity))
    monkeypatch.setattr(snapshot, "leftovers", lambda _: [])
    with snapshot.still(archive, [gone]) as files:
        assert (files.linked, dict(files.older)) == ([], {})
