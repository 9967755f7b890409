"""The outbox's cap: what is dropped is counted in one record, once; what lies in the outbox besides hangs nothing."""

from __future__ import annotations

import io
import json
import os
import re
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedtest_logger.archive.arrive import receive
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.errors import DeliveryError
from speedtest_logger.log import Log
from speedtest_logger.node import cap, config, measure, outbox, push, slots, status
from speedtest_logger.node.spool import Spool, record_from_csv

LIMITS = receive.Limits()
START = int(time.time()) // 300 * 300 - 600_000


class Crash(BaseException):
    """The process is gone."""


class Fleet:
    """A node with room for a few records, and an archive that takes what it can."""

    def __init__(self, folder: Path, files: float = 6) -> None:
        self.settings = config.load(
            {
                "SPEEDTEST_NODE": "attic",
                "SPEEDTEST_STATE_DIR": str(folder / "node"),
                "SPEEDTEST_LOG_FILE": str(folder / "log"),
                "SPEEDTEST_ARCHIVE_HOST": "archive.example.org",
                "SPEEDTEST_PUSH_BATCH_RECORDS": "4",
                "SPEEDTEST_OUTBOX_MAX_MB": str(files * 4096 / 1e6),
            }
        )
        self.spool, self.log = Spool(self.settings.state_dir), Log(None)
        self.spool.prepare()
        self.layout = Layout(folder / "archive")
        self.layout.prepare()
        self.clock = START
        self.measured: set[str] = set()

    def measure(self) -> None:
        self.clock += 300
        record = measure.begin(self.settings, self.clock, self.clock)
        cap.keep_below_cap(self.settings, self.spool, self.log, record)
        self.spool.write(record)

    def take(self, settings, lines):
        return receive.receive(self.layout, settings.node, io.BytesIO(lines), LIMITS)

    def waiting(self):
        return [record_from_csv(file.read_bytes()) for file in self.spool.waiting()]

    def note(self) -> None:
        """What was written is what must be accounted for."""
        self.measured |= {record.run_id for record in self.waiting() if record.reason != cap.DROPPED}

    def archived(self) -> dict[str, dict]:
        rows: dict[str, dict] = {}
        for file in self.layout.inbox.glob("*/*.jsonl"):
            for line in file.read_text().splitlines():
                row = json.loads(line)
                assert rows.setdefault(row["run_id"], row) == row, "two different records of one run"
        return rows

    def check(self, known_too_late: int = 0) -> None:
        """Each record is delivered, waits, or is counted as dropped; a count is no record of its own.

        `known_too_late`: how many were dropped that the archive had, for the node had not seen the receipt.
        """
        archived, waiting = self.archived(), {record.run_id: record.to_row() for record in self.waiting()}
        counts = {
            r["run_id"]: r["message"] for r in (*archived.values(), *waiting.values()) if r["reason"] == cap.DROPPED
        }
        dropped = sum(int(re.match(r"\d+", message)[0]) for message in counts.values())
        assert dropped == len(self.measured - archived.keys() - waiting.keys()) + known_too_late


@pytest.fixture
def fleet(tmp_path, monkeypatch):
    made = Fleet(tmp_path)
    monkeypatch.setattr(push, "send", made.take)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    return made


def test_beyond_the_cap_each_measurement_drops_one_and_one_record_counts_them(fleet):
    seen = []
    for _ in range(30):
        fleet.measure()
        fleet.note()
        seen.append(len(fleet.waiting()))
        fleet.check()
    assert seen == [1, 2, 3, 4, 5, 6] + [6] * 24
    (count,) = (record for record in fleet.waiting() if record.reason == cap.DROPPED)
    first, last = (measure.utc_text(START + 300 * n) for n in (1, 25))
    assert count.message == f"25 undelivered records dropped, of slots from {first} to {last}"
    assert sorted(r.scheduled_at for r in fleet.waiting() if r.scheduled_at)[0] == measure.utc_text(START + 300 * 26)


def test_a_count_is_sent_when_nothing_else_waits_and_the_next_drop_begins_a_new_one(fleet, monkeypatch):
    for _ in range(10):
        fleet.measure()
    sent = []

    def fail_at_the_count(settings, lines):
        rows = [json.loads(line) for line in lines.splitlines()]
        sent.append([row["reason"] for row in rows if "hello" not in row])
        if cap.DROPPED in sent[-1]:
            fleet.take(settings, lines)
            raise DeliveryError("the receipt was lost")
        return fleet.take(settings, lines)

    monkeypatch.setattr(push, "send", fail_at_the_count)
    with pytest.raises(DeliveryError):
        push.push(fleet.settings, fleet.log)
    assert sent == [["interrupted"] * 4, ["interrupted"]] + [[cap.DROPPED]] * 3
    for _ in range(10):
        fleet.measure()
    counts = [record for record in fleet.waiting() if record.reason == cap.DROPPED]
    assert len(counts) == 2
    monkeypatch.setattr(push, "send", fleet.take)
    push.push(fleet.settings, fleet.log, force=True)
    assert fleet.waiting() == []
    assert len([row for row in fleet.archived().values() if row["reason"] == cap.DROPPED]) == 2
    assert fleet.spool.read_state("dropped") is None


def test_a_count_that_is_put_off_goes_on_counting(fleet, monkeypatch):
    for _ in range(8):
        fleet.measure()

    def later(settings, lines):
        ids = [json.loads(line)["run_id"] for line in lines.splitlines()]
        return {
            "receipt": "X",
            "node": "attic",
            "accepted": [],
            "rejected": {},
            "later": dict.fromkeys(ids, "unknown_node: x"),
        }

    monkeypatch.setattr(push, "send", later)
    for _ in range(3):
        push.push(fleet.settings, fleet.log, force=True)
        fleet.measure()
    (count,) = (record for record in fleet.waiting() if record.reason == cap.DROPPED)
    assert count.message.startswith("6 undelivered records dropped")


def test_a_drop_waits_while_a_delivery_is_under_way(fleet):
    for _ in range(6):
        fleet.measure()
    with cap.not_delivering(fleet.spool) as free:
        assert free
        fleet.measure()
    assert len(fleet.waiting()) == 7
    fleet.measure()
    assert len(fleet.waiting()) == 6


def test_a_lower_cap_is_reached_at_once(fleet, monkeypatch):
    monkeypatch.setattr(cap, "MOST_AT_ONCE", 7)
    fleet.settings = replace(fleet.settings, outbox_max_mb=60 * 4096 / 1e6)
    for _ in range(50):
        fleet.measure()
    fleet.note()
    fleet.settings = replace(fleet.settings, outbox_max_mb=6 * 4096 / 1e6)
    fleet.spool.clear_state("outbox")
    fleet.measure()
    fleet.note()
    assert len(fleet.waiting()) == 6
    fleet.check()


OPS = st.one_of(
    st.tuples(st.just("measure"), st.integers(1, 9)),
    st.tuples(st.just("push"), st.sampled_from(["ok", "lost", "away"])),
    st.tuples(st.just("crash in measure"), st.integers(1, 30)),
    st.tuples(st.just("crash in push"), st.integers(1, 40)),
)


def crash_after(patch: pytest.MonkeyPatch, calls: int) -> None:
    """Every change of the disk is counted; this one does not happen any more."""
    left = [calls]

    def watched(original):
        def call(*args, **kwargs):
            left[0] -= 1
            if left[0] <= 0:
                raise Crash
            return original(*args, **kwargs)

        return call

    for name in ("replace", "unlink", "fsync"):
        patch.setattr(os, name, watched(getattr(os, name)))


def step(fleet: Fleet, op: tuple[str, object], patch: pytest.MonkeyPatch) -> None:
    def lost(settings, lines):
        fleet.take(settings, lines)
        raise DeliveryError("the receipt was lost")

    def away(*_):
        raise DeliveryError("the archive is away")

    what, how = op
    if what == "measure":
        for _ in range(int(str(how))):
            fleet.measure()
            fleet.note()
        return
    patch.setattr(push, "send", {"lost": lost, "away": away}.get(str(how), fleet.take))
    if what.startswith("crash"):
        crash_after(patch, int(str(how)))
    try:
        if what == "crash in measure":
            fleet.measure()
        else:
            push.push(fleet.settings, fleet.log, force=True)
    except (Crash, DeliveryError):
        pass


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # who dies closes no file
@given(st.lists(OPS, max_size=14))
def test_whatever_happens_nothing_is_lost_and_nothing_is_counted_twice(tmp_path_factory, ops):
    fleet = Fleet(tmp_path_factory.mktemp("fleet"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "sleep", lambda _: None)
        patch.setattr(os, "fsync", lambda _: None)
        patch.setattr(Log, "event", lambda *_, **__: None)
        too_late = 0
        for op in ops:
            both = {record.run_id for record in fleet.waiting()} & fleet.archived().keys()
            with pytest.MonkeyPatch.context() as inner:
                step(fleet, op, inner)
            fleet.note()
            with cap.not_delivering(fleet.spool):
                cap.finish(fleet.spool)  # what the next process does first
            if "measure" in op[0]:
                too_late += len(both - {record.run_id for record in fleet.waiting()})
            fleet.check(too_late)
            assert sum(entry.disk_bytes for entry in outbox.listed(fleet.spool.outbox)) <= 8 * 4096


def plant(folder: Path) -> None:
    os.mkfifo(folder / "pipe.csv")
    (folder / "directory.csv").mkdir()
    (folder / "directory.csv/inside").touch()
    (folder / "link.csv").symlink_to("/etc/hostname")
    (folder / f"{'x' * 240}.csv").write_bytes(b"no record")
    (folder / "huge.csv").write_bytes(b"x" * 2_000_000)
    (folder / "dots.txt").touch()


def within(seconds: float, act) -> None:
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "it hangs"


def test_what_lies_in_the_outbox_and_is_no_record_is_set_aside_and_nothing_hangs(fleet):
    plant(fleet.spool.outbox)
    fleet.measure()
    assert any(
        "holds files that are not records: 'directory.csv, dots.txt" in text
        for text in status.status(fleet.settings)["problems"]
    )
    within(20, lambda: push.push(fleet.settings, fleet.log))
    assert len(fleet.archived()) == 1
    assert [file.name for file in fleet.spool.outbox.iterdir()] == ["dots.txt"]
    aside = {file.name for file in fleet.spool.rejected.iterdir()}
    assert {"pipe.csv", "pipe.csv.reason", "directory.csv", "link.csv", "huge.csv"} <= aside
    plant(fleet.spool.outbox)
    (fleet.spool.rejected / "huge.csv").unlink()
    (fleet.spool.rejected / "huge.csv").mkdir()
    within(20, lambda: push.push(fleet.settings, fleet.log))
    within(20, lambda: push.push(fleet.settings, fleet.log, force=True, rejected=True))
    assert Path("/etc/hostname").exists()


def test_a_cap_over_odd_files_hangs_nothing(fleet):
    plant(fleet.spool.outbox)
    within(20, lambda: [fleet.measure() for _ in range(8)])
    assert sum(1 for record in fleet.spool.waiting() if record.stem != "x" * 240) <= 6


def test_a_slot_of_the_history_is_found_by_its_time(fleet):
    fleet.measure()
    run_id = fleet.waiting()[0].run_id
    assert list(slots.measured_between(fleet.spool, fleet.clock, fleet.clock + 300)) == [run_id]
    assert list(slots.measured_between(fleet.spool, fleet.clock + 1, fleet.clock + 300)) == []
    assert list(slots.measured_between(fleet.spool, fleet.clock - 86_400, fleet.clock)) == []
