"""An evaluation of a real archive: what is read again, what is waited for, and what is said when nobody can know."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from builders import FIRST, fresh, put, slot

from speedtest_logger.alerts import progress, reading, state, watch
from speedtest_logger.alerts.destinations import Destination
from speedtest_logger.alerts.settings import Settings
from speedtest_logger.archive.read.parts import Part
from speedtest_logger.record import utc_text

INTERVAL, GRACE, DAY = 600, 300, 86_400
START = FIRST + 10 * DAY
TOLD = Settings((Destination("all", "json://192.0.2.1", severity="info"),), {"coverage_low": False}, GRACE)


class Fleet:
    """An archive of some nodes, each alone on its line, that is evaluated as if each minute."""

    def __init__(self, layout, *nodes: str) -> None:
        self.layout, self.nodes, self.now = layout, nodes, float(START)
        (layout.root / state.FOLDER).mkdir()
        (layout.state / "nodes").mkdir(exist_ok=True)
        self.schedule()

    def schedule(self, **inventory) -> None:
        entry = {"valid_from": utc_text(START), "interval_seconds": INTERVAL, "offset_seconds": 0, "valid_to": None}
        nodes = {node: [{**entry, "location": f"of-{node}", **inventory.get(node, {})}] for node in self.nodes}
        (self.layout.root / "fleet").mkdir(exist_ok=True)
        content = {"nodes": nodes, "inventory": {node: {"location": f"of-{node}"} for node in self.nodes}}
        (self.layout.root / "fleet/schedule.json").write_text(json.dumps(content))

    def measure(self, node: str, number: int, letter: str = ".") -> None:
        """A slot's record, counted from START."""
        nothing = {"status": "failed", "reason": "no_route", "download_bps": None, "upload_bps": None}
        changes = nothing if letter == "x" else {}
        put(self.layout, slot(node, START + number * INTERVAL, f"of-{node}", **changes))

    def heard(self, *nodes: str) -> None:
        for node in nodes:
            self.says(node, {"last_seen": self.now})

    def says(self, node: str, hello: dict) -> None:
        file = self.layout.state / f"nodes/{node}.json"
        file.write_text(json.dumps(hello))
        os.utime(file, (self.now, self.now))

    def until(self, minute: float, *, ingested: bool = True, settings: Settings = TOLD) -> watch.Outcome:
        """Evaluate each minute up to one, counted from START."""
        while self.now < START + 60 * minute:
            self.now += 60
            if ingested:
                file = self.layout.state / "ingest.json"
                content = json.loads(file.read_bytes()) if file.exists() else {}
                file.write_text(json.dumps({**content, "at": utc_text(self.now)}))
            outcome = watch.evaluate(self.layout, settings, self.now)
        return outcome

    def titles(self) -> list[str]:
        return [message.title for message in state.load(self.layout).waiting]


@pytest.fixture
def fleet(tmp_path_factory) -> Fleet:
    return Fleet(fresh(tmp_path_factory), "attic")


def test_nothing_is_said_until_it_was_listened_long_enough(fleet):
    assert not fleet.until(4).is_listening
    assert fleet.titles() == []
    assert fleet.until(7).is_listening


def test_a_silent_line_is_told_when_its_slots_cannot_come_any_more(fleet):
    fleet.measure("attic", 0)
    fleet.until(24)
    assert fleet.titles() == [], "the slots of 10 and 20 min may still come"
    fleet.until(26)
    assert fleet.titles() == ["of-attic: line down"]
    fleet.until(60)
    assert len(fleet.titles()) == 1


def test_records_that_come_late_end_what_never_was(fleet):
    fleet.measure("attic", 0)
    fleet.until(30)
    for number in (1, 2, 3):
        fleet.measure("attic", number)
    fleet.until(32)
    assert fleet.titles() == ["of-attic: line down", "of-attic: line down is over"]
    assert "it was not so" in state.load(fleet.layout).waiting[1].body()


def test_records_of_an_outage_that_come_after_it_are_of_the_same_finding(fleet):
    fleet.measure("attic", 0)
    fleet.until(41)
    for number in (1, 2, 3):
        fleet.measure("attic", number, "x")
    fleet.measure("attic", 4)
    fleet.until(43)
    assert fleet.titles() == ["of-attic: line down", "of-attic: line down is over"]
    assert ", 30 min: the line is down: no_route" in state.load(fleet.layout).waiting[1].body()


def test_only_lines_of_which_something_is_new_are_read(tmp_path_factory, monkeypatch):
    fleet = Fleet(fresh(tmp_path_factory), "attic", "porch")
    read = []
    of_archive = reading.rows

    def rows(layout, location, *period):
        read.append(location)
        return of_archive(layout, location, *period)

    monkeypatch.setattr(progress.reading, "rows", rows)
    for node in fleet.nodes:
        fleet.measure(node, 0)
    fleet.until(7)
    fleet.heard(*fleet.nodes)
    read.clear()
    fleet.until(9)
    assert read == []
    fleet.measure("porch", 1)
    fleet.until(10)
    assert read == ["of-porch"]


def test_when_nobody_is_heard_it_is_the_archive_and_no_line(tmp_path_factory):
    fleet = Fleet(fresh(tmp_path_factory), "attic", "porch")
    for node in fleet.nodes:
        fleet.measure(node, 0)
    fleet.until(1)
    fleet.heard(*fleet.nodes)
    fleet.until(120)
    assert fleet.titles() == ["archive: archive is not filled"]
    assert "nothing arrives from any of 2 nodes" in state.load(fleet.layout).waiting[0].body()
    for number in range(1, 13):
        for node in fleet.nodes:
            fleet.measure(node, number)
    fleet.heard(*fleet.nodes)
    fleet.until(130)
    assert fleet.titles() == ["archive: archive is not filled", "archive: archive is not filled is over"]


def test_an_archive_that_is_not_filled_is_told_once_and_lines_are_not(fleet):
    fleet.measure("attic", 0)
    fleet.until(8)
    fleet.until(60, ingested=False)
    assert fleet.titles() == ["archive: archive is not filled"]


def test_after_a_break_it_is_listened_again_before_anything_is_missed(fleet):
    fleet.measure("attic", 0)
    fleet.until(8)
    fleet.now += 7200  # the machine was off
    fleet.until(130)
    assert fleet.titles() == []
    for number in range(1, 13):
        fleet.measure("attic", number)
    fleet.until(140)
    assert fleet.titles() == []


def test_a_node_that_left_the_inventory_ends_what_was_said_of_it(fleet):
    fleet.measure("attic", 0)
    fleet.until(30)
    fleet.schedule(attic={"valid_to": utc_text(START + 1750)})
    fleet.until(32)
    assert fleet.titles() == ["of-attic: line down", "of-attic: line down is over"]


def test_a_rule_that_is_switched_off_is_over(fleet):
    fleet.measure("attic", 0)
    fleet.until(30)
    off = Settings(TOLD.destinations, {"line_down": False, "coverage_low": False}, GRACE)
    fleet.until(31, settings=off)
    assert fleet.titles() == ["of-attic: line down", "of-attic: line down is over"]


def test_an_archive_that_was_restored_is_judged_anew(fleet):
    fleet.measure("attic", 0)
    fleet.measure("attic", 1)
    fleet.until(8)
    known = state.load(fleet.layout)
    known.cursor = f"9-{'0' * 64}-{'0' * 64}"
    state.save(fleet.layout, known)
    assert fleet.until(9).lines == 1
    assert state.load(fleet.layout).cursor != known.cursor


def test_progress_can_be_removed_at_any_time(fleet):
    fleet.measure("attic", 0)
    fleet.until(27)
    (fleet.layout.root / state.FOLDER / "progress.json").unlink()
    fleet.until(40)
    assert fleet.titles() == ["of-attic: line down"]


def test_a_damaged_month_is_said_and_the_other_lines_are_judged(tmp_path_factory):
    fleet = Fleet(fresh(tmp_path_factory), "attic", "porch")
    for node in fleet.nodes:
        fleet.measure(node, 0)
    fleet.until(8)
    (file,) = fleet.layout.month_files("of-attic")
    file.write_bytes(b"PAR1 nothing PAR1")
    outcome = fleet.until(30)
    assert any("of-attic" in problem for problem in outcome.problems)
    assert fleet.titles() == ["of-porch: line down"]


@pytest.mark.parametrize("content", [b"{", b'{"version": 7}', b"[]"])
def test_a_state_that_cannot_be_read_says_what_to_do(fleet, content):
    state.file_of(fleet.layout).write_bytes(content)
    with pytest.raises(state.StorageError, match="move it away"):
        fleet.until(1)


def test_a_link_in_the_states_place_is_not_followed(fleet, tmp_path):
    other = tmp_path / "other"
    other.write_text("{}")
    state.file_of(fleet.layout).symlink_to(other)
    with pytest.raises(state.StorageError):
        fleet.until(1)
    assert other.read_text() == "{}"


def test_one_process_at_a_time(fleet):
    with (
        state.alone(fleet.layout),
        pytest.raises(state.StorageError, match="another process"),
        state.alone(fleet.layout),
    ):
        pass
    shutil.rmtree(fleet.layout.root / state.FOLDER)


def test_a_clock_of_a_node_that_left_is_nobodys_concern_any_more(fleet):
    fleet.measure("attic", 0)
    for minute in (1, 2, 3):
        fleet.says("attic", {"last_seen": fleet.now, "clock_offset": 90.0})
        fleet.until(8 + minute)
    assert fleet.titles() == ["attic (of-attic): wrong clock"]
    fleet.schedule(attic={"valid_to": utc_text(fleet.now - 30)})
    fleet.until(13)
    assert fleet.titles()[1:] == ["attic (of-attic): wrong clock is over"]


def test_a_full_disk_is_over_when_a_percentage_point_more_is_free(fleet, monkeypatch):
    free = {"percent": 4.9}

    def disk(_layout):
        yield Part("disk", ok=True, sentence="", figures={"free_bytes": free["percent"] * 10, "total_bytes": 1000})

    monkeypatch.setattr(watch.parts, "disk", disk)
    seen = []
    for minute, free["percent"] in enumerate((4.9, 4.9, 5.2, 5.9, 6.1, 5.2), 1):
        fleet.until(minute)
        seen.append(len(state.load(fleet.layout).book.open()))
    assert seen == [0, 1, 1, 1, 0, 0]
    assert fleet.titles() == ["archive: disk almost full", "archive: disk almost full is over"]


def test_a_disk_that_cannot_be_looked_at_is_told_with_the_reason(fleet, monkeypatch):
    monkeypatch.setattr(watch.parts, "disk", lambda _: iter([Part("disk", ok=False, sentence="Stale file handle")]))
    fleet.until(3)
    [message] = state.load(fleet.layout).waiting
    assert "Stale file handle" in message.body()
