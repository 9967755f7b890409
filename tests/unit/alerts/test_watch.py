"""An evaluation of a real archive: what is read again, what is waited for, and what is said when nobody can know."""

from __future__ import annotations

import json
import os
import shutil
import threading
from dataclasses import replace

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
        """The registry: of each node its entry, with changes of it; where they are several, so many entries."""
        entry = {"valid_from": utc_text(START), "interval_seconds": INTERVAL, "offset_seconds": 0, "valid_to": None}
        nodes = {}
        for node in self.nodes:
            changes = inventory.get(node, {})
            changes = changes if isinstance(changes, list) else [changes]
            nodes[node] = [{**entry, "location": f"of-{node}", **change} for change in changes]
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


def test_a_new_archive_is_given_time_for_its_first_ingest_and_its_first_backup(fleet):
    fleet.layout.backups.mkdir()
    hourly = replace(TOLD, rules={**TOLD.rules, "backup": {"hours": 1}})
    fleet.until(3, ingested=False, settings=hourly)
    assert fleet.titles() == []
    fleet.until(5, ingested=False, settings=hourly)
    assert fleet.titles() == ["archive: archive is not filled"]
    fleet.until(60, settings=hourly)
    assert "no backup" not in str(fleet.titles())
    fleet.until(62, settings=hourly)
    assert fleet.titles()[-1] == "archive: no backup"


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


def names(fleet: Fleet) -> list[tuple[str, list[str]]]:
    """Each message's title, and the names of its findings."""
    return [(message.title, message.findings) for message in state.load(fleet.layout).waiting]


def test_a_node_that_comes_back_to_a_line_that_is_down_begins_anew(fleet):
    fleet.measure("attic", 0)
    fleet.until(30)
    left, back = utc_text(START + 1810), utc_text(START + 60 * 40)
    fleet.schedule(attic={"valid_to": left})
    fleet.until(39)
    fleet.schedule(attic=[{"valid_to": left}, {"valid_from": back}])
    fleet.until(110)
    (down, first), (over, ended), (again, second) = names(fleet)
    assert (down, over, again) == ("of-attic: line down", "of-attic: line down is over", "of-attic: line down")
    assert first == ended != second
    last = state.load(fleet.layout).book.open()
    assert [(entry.id, entry.finding.began) for entry in last] == [(second[0], START + 60 * 40)]


def test_a_line_that_was_never_up_though_its_node_was_closed_is_told_under_another_name(fleet):
    """A run that was killed closed its schedule, and the next one opened another from the same moment on."""
    fleet.measure("attic", 0)
    fleet.until(30)
    changed = utc_text(START + 60 * 30)
    fleet.schedule(attic={"valid_to": changed})
    fleet.until(33)
    fleet.schedule(attic=[{"valid_to": changed}, {"valid_from": changed, "interval_seconds": 300}])
    fleet.until(50)
    fleet.measure("attic", 4)
    fleet.until(52)
    told = names(fleet)
    assert [title for title, _ in told] == ["of-attic: line down", "of-attic: line down is over"] * 2
    assert told[0][1] == told[1][1] != told[2][1] == told[3][1]


def test_a_line_is_judged_anew_where_its_schedule_says_something_else_of_what_was_judged(fleet):
    for number in range(60):
        if number not in (9, 10, 11):
            fleet.measure("attic", number)
    fleet.until(10 * 60)
    ended = [entry.finding for entry in state.load(fleet.layout).book.entries]
    assert [(finding.rule, finding.began) for finding in ended[:1]] == [("line_down", START + 9 * INTERVAL)]
    paused = {"valid_from": utc_text(START + 12 * INTERVAL)}
    fleet.schedule(attic=[{"valid_to": utc_text(START + 9 * INTERVAL)}, paused])
    fleet.until(10 * 60 + 2)
    assert [
        entry.withdrawn for entry in state.load(fleet.layout).book.entries if entry.finding.began == ended[0].began
    ] == [True]


def test_lines_that_are_judged_from_the_beginning_take_turns_and_a_process_that_ends_loses_none(
    tmp_path_factory, monkeypatch
):
    fleet = Fleet(fresh(tmp_path_factory), "attic", "porch", "shed")
    for number in range(6):
        for node in fleet.nodes:
            fleet.measure(node, number)
    fleet.until(6)
    fleet.now = float(START + 60 * 56)
    fleet.until(61)
    monkeypatch.setattr(watch, "MOST_SLOTS", 10)
    kept = fleet.layout.root / state.FOLDER / "lines"
    shutil.rmtree(kept, ignore_errors=True)
    known = state.load(fleet.layout)
    known.due = dict.fromkeys(known.due, 0.0)
    state.save(fleet.layout, known)
    found = []
    for minute in (62, 63, 64, 65):
        outcome = fleet.until(minute)
        found.append((outcome.lines, outcome.postponed, len(list(kept.iterdir()))))
    assert found == [(1, 2, 1), (1, 1, 2), (1, 0, 3), (0, 0, 3)]


def test_a_location_that_the_registry_has_no_more_is_over_and_nothing_of_it_is_kept(tmp_path_factory):
    fleet = Fleet(fresh(tmp_path_factory), "attic", "porch")
    fleet.measure("attic", 0)
    for number in range(4):
        fleet.measure("porch", number)
    fleet.until(30)
    fleet.nodes = ("porch",)
    fleet.schedule()
    fleet.until(32)
    assert fleet.titles() == ["of-attic: line down", "of-attic: line down is over"]
    assert [file.stem for file in (fleet.layout.root / state.FOLDER / "lines").iterdir()] == ["of-porch"]


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
    shutil.rmtree(fleet.layout.root / state.FOLDER / "lines")
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


def test_who_comes_second_may_wait(fleet):
    begun, inside = threading.Event(), threading.Event()

    def second():
        begun.set()
        with state.alone(fleet.layout, wait=60):
            inside.set()

    with state.alone(fleet.layout):
        thread = threading.Thread(target=second)
        thread.start()
        assert begun.wait(60)
        assert not inside.wait(0.3)
    thread.join()
    assert inside.is_set()


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
