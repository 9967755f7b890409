"""A clock that is wrong, in either direction: nothing is lost, and what was measured twice is there twice."""

from __future__ import annotations

import io
import json
import os
import time

import pytest
from builders import REPLAY_IPERF3

from speedtest_logger.archive.arrive import receive
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.log import Log
from speedtest_logger.node import chain, measure, network, push, slots, status
from speedtest_logger.node.spool import Spool, record_from_csv
from speedtest_logger.record import utc_text

INTERVAL, OFFSET, DAY = 300, 100, 86_400
SLOT = 1_790_000_000 // INTERVAL * INTERVAL + OFFSET


class World:
    """A node whose clock may be wrong, an archive whose clock is right, and the time that really passes."""

    def __init__(self, settings, layout, path) -> None:
        self.settings, self.layout, self.path = settings, layout, path
        self.archive_ahead = 0.0
        self.true, self.ahead, self.boot = float(SLOT), 0.0, "one"
        self.log, self.spool, self.archive_asked = Log(None), Spool(settings.state_dir), 0

    def now(self) -> float:
        return self.true + self.ahead

    def run(self, *, timer: bool = True):
        before = set(self.spool.outbox.glob("*.csv"))
        record = measure.measure(self.settings, self.log, {"PATH": self.path}, timer=timer)
        for file in set(self.spool.outbox.glob("*.csv")) - before:
            os.utime(file, (self.now(), self.now()))
        return record

    def until(self, true: float) -> list:
        """Let time pass: the timer fires at each slot of the node's clock, and push after each."""
        records = []
        while self.true < true:
            following = measure.slots.Schedule(INTERVAL, OFFSET).next_after(self.now())
            self.true = min(true, following - self.ahead)
            if self.now() == following:
                records.append(self.run())
                push.push(self.settings, self.log, force=True)
        return [record for record in records if record]

    def archived(self) -> dict[str, dict]:
        rows: dict[str, dict] = {}
        for file in self.layout.inbox.glob("*/*.jsonl"):
            for line in file.read_text().splitlines():
                row = json.loads(line)
                assert rows.setdefault(row["run_id"], row) == row, "one run_id, two records"
        return rows

    def waiting(self):
        return [record_from_csv(file.read_bytes()) for file in self.spool.waiting()]


@pytest.fixture
def world(settings, program, tmp_path, monkeypatch):
    layout = Layout(tmp_path / "archive")
    layout.prepare()
    here = settings(
        interval_seconds=str(INTERVAL),
        offset_seconds=str(OFFSET),
        archive_host="archive.example.org",
        iperf3_servers="127.0.0.1:9",
        own_server_allowed="true",
    )
    made = World(here, layout, program("iperf3", REPLAY_IPERF3))
    monkeypatch.setattr(network, "outage_reason", lambda _: None)
    monkeypatch.setattr(time, "time", made.now)
    monkeypatch.setattr(time, "clock_gettime", lambda _: made.true)
    monkeypatch.setattr(slots, "boot_id", lambda: made.boot)

    def send(settings, lines):
        made.archive_asked += 1
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(time, "time", lambda: made.true + made.archive_ahead)
            return put_off(receive.receive(layout, settings.node, io.BytesIO(lines), receive.Limits()))

    monkeypatch.setattr(push, "send", send)
    return made


def put_off(receipt):
    """What comes from the future has its time still to come."""
    future = {run_id: why for run_id, why in receipt["rejected"].items() if why.startswith("from_the_future")}
    rejected = {run_id: why for run_id, why in receipt["rejected"].items() if run_id not in future}
    return {**receipt, "rejected": rejected, "later": {**receipt.get("later", {}), **future}}


def test_ten_minutes_ahead_then_right(world):
    records = world.until(SLOT + 601)
    world.ahead = 600.0
    ahead = world.until(SLOT + 1201)
    assert [row for row in world.archived().values() if row["scheduled_at"] > utc_text(world.true + 301)] == []
    assert any(
        "records wait for the archive: from_the_future: " in text for text in status.status(world.settings)["problems"]
    )
    world.ahead = 0.0
    later = world.until(SLOT + 3601)
    assert [record.scheduled_at for record in ahead] == [utc_text(SLOT + n) for n in (1500, 1800)]
    again = [record for record in later if record.scheduled_at is None]
    assert len(again) == len([record for record in ahead if record.started_at > utc_text(SLOT + 1201)])
    assert len(again) >= 1
    assert world.waiting() == []
    assert list(world.spool.rejected.iterdir()) == []
    everything = [*records, *ahead, *later]
    assert len({record.run_id for record in everything}) == len(everything) == len(world.archived())
    for record in everything:
        assert world.archived()[record.run_id] == {k: v for k, v in record.to_row().items() if v is not None}
    assert status.status(world.settings)["problems"] == []


@pytest.mark.parametrize("delivered", [True, False])
@pytest.mark.parametrize("boots", [False, True])
def test_set_back_by_an_hour_measures_the_hour_again_beside_the_first(world, delivered, boots):
    world.ahead = 3600.0  # it was ahead all the time, and the archive believes it
    world.archive_ahead = 3600.0
    first = world.until(SLOT + 3000)
    if not delivered:
        for file in world.spool.waiting():
            file.unlink()
    world.ahead, world.boot = 0.0, "two" if boots else "one"
    second = world.until(SLOT + 3000 + 3600)
    assert len(first) == 9 or len(first) == 10
    overlap = {record.started_at for record in first}
    again = [record for record in second if record.scheduled_at is None]
    assert {record.started_at for record in again} <= overlap
    assert len(again) == len([record for record in first if record.started_at > utc_text(SLOT + 3000)])
    assert len(again) + len([r for r in second if r.scheduled_at]) == 12
    history = {
        record_from_csv(file.read_bytes()).run_id for file in world.settings.state_dir.glob("results/*/*/*/*.csv")
    }
    assert history == {record.run_id for record in (*first, *second)}
    assert len({record.run_id for record in (*first, *second)}) == len(first) + len(second)


def test_the_same_slot_comes_again(world):
    assert world.run().scheduled_at == utc_text(SLOT)
    assert world.run() is None  # the same turn
    world.true += 240
    assert world.run() is None
    world.ahead = -240.0
    again = world.run()
    assert (again.scheduled_at, again.status) == (None, "ok")
    assert world.run() is None  # that turn is over too
    world.true += 10
    assert world.run() is None


def test_a_second_of_correction_is_no_step(world):
    world.run()
    world.ahead = -3.0
    world.true += 3.5
    assert world.run() is None
    world.true = SLOT + INTERVAL + 3.0
    assert world.run().scheduled_at == utc_text(SLOT + INTERVAL)


def test_by_hand_in_a_slot_that_has_its_record_is_unscheduled(world):
    world.until(SLOT + 3001)
    world.ahead = -3000.0 + INTERVAL
    assert world.run(timer=False).scheduled_at is None


def test_without_its_state_the_history_knows(world):
    first = world.until(SLOT + 1501)
    for name in ("last_slot", "last_record"):
        world.spool.clear_state(name)
    world.ahead = -1500.0 + INTERVAL
    world.true = SLOT + 1500.0
    assert world.run().scheduled_at is None
    assert len(first) == 5


def test_the_history_is_searched_only_on_a_clock_that_went_back(world, monkeypatch):
    world.until(SLOT + 901)
    monkeypatch.setattr(slots, "measured_between", lambda *_: pytest.fail("the history was searched"))
    assert len(world.until(SLOT + 1501)) == 2


def test_what_is_put_off_is_not_offered_again_with_every_push_and_holds_up_nothing_else(world):
    world.ahead = 7200.0
    world.run()
    push.push(world.settings, world.log)
    assert world.archive_asked == 1
    push.push(world.settings, world.log)
    assert world.archive_asked == 1
    world.ahead, world.true = 0.0, world.true + 300
    assert world.run().scheduled_at == utc_text(SLOT + 300)
    push.push(world.settings, world.log)
    assert len(world.archived()) == 1
    assert len(world.waiting()) == 1
    world.true += 7200
    push.push(world.settings, world.log)
    assert world.waiting() == []
    assert world.spool.read_state("deferred") is None


def test_many_that_are_put_off_cost_one_batch(world):
    world.spool.prepare()
    for number in range(20):
        world.spool.write(measure.begin(world.settings, None, world.true + 5000 + number))
    world.settings.push_batch_records = 4
    delivery = push.push(world.settings, world.log)
    assert (delivery.deferred, delivery.waiting, world.archive_asked) == (4, 20, 1)
    world.true += 7200
    assert push.push(world.settings, world.log).accepted == 20


def test_an_old_archive_that_knows_no_later_works_as_before(world, monkeypatch):
    ids = []

    def send(settings, lines):
        ids.extend(json.loads(line)["run_id"] for line in lines.splitlines())
        return {"receipt": "X", "node": "attic", "accepted": [], "rejected": dict.fromkeys(ids, "from_the_future: x")}

    world.run()
    monkeypatch.setattr(push, "send", send)
    assert vars(push.push(world.settings, world.log)) == {"accepted": 0, "rejected": 1, "waiting": 0, "deferred": 0}
    assert len(list(world.spool.rejected.glob("*.csv"))) == 1


def test_no_age_is_negative_and_no_rest_outlasts_a_step(world):
    world.run()
    world.spool.write_state("rests", {"iperf3": {"until": world.now() + 900, "seconds": 900, "reason": "rate_limited"}})
    world.spool.write_state("push", {"failures": 1, "not_before": world.now() + 60, "at": "x", "message": "y"})
    world.ahead = -DAY
    seen = status.status(world.settings)
    assert seen["outbox_oldest_seconds"] == 0
    assert any("is in the future: the clock was set back" in text for text in seen["problems"])
    assert list(chain.plan(world.settings, world.spool.read_state("rests"))) == [("iperf3", "127.0.0.1:9")]
    assert not push.resting(world.spool)
    assert push.push(world.settings, world.log).accepted == 1


def test_a_leap_by_years_takes_no_history_on_its_first_day(world):
    world.run()
    world.ahead = 1000 * DAY
    world.run()
    assert len(list(world.settings.state_dir.glob("results/*/*/*/*.csv"))) == 2


def test_health_on_a_clock_that_was_set_back(world):
    world.until(SLOT + 3001)
    assert status.health(world.settings)["healthy"]
    world.ahead = -1000.0
    assert "before the clock was set back" in status.health(world.settings)["text"]
