"""The rollups of a whole archive come from a process of its own, and are those that this one would make."""

from __future__ import annotations

import os
import signal
import threading
import time
from functools import partial

import pytest
from builders import DAY, FIRST, fresh, put, slot

from speedtest_logger.archive.read import first_build, rollup, tally
from speedtest_logger.archive.read.coverage import read_schedules
from speedtest_logger.archive.read.local_time import Zone
from speedtest_logger.archive.read.rollup import NAMES, Rollups
from speedtest_logger.errors import NotReadyError, StorageError

ZONE = Zone.named("Europe/Berlin")


@pytest.fixture
def layout(tmp_path_factory):
    made = fresh(tmp_path_factory)
    for place in ("home", "office", "shop"):
        put(made, *(slot(f"of-{place}", FIRST + number * DAY, place) for number in range(100)))
    return made


def apart(layout, build=None):
    file = layout.root / "rollup.duckdb"
    return Rollups(layout, file, ZONE, build or partial(first_build.in_a_process, layout, file, ZONE))


def tables(rollups):
    """All rows of all tables."""
    connection = rollups.reading()
    return {name: sorted(map(repr, connection.execute(f"FROM {name}").fetchall())) for name in NAMES}


def test_what_the_process_made_is_what_this_one_makes(layout, monkeypatch):
    here = Rollups(layout, layout.root / "here.duckdb", ZONE)
    tally.refresh(here, read_schedules(layout), time.time())
    monkeypatch.setattr(rollup, "records_of", lambda *_: pytest.fail("records were read here"))
    monkeypatch.setattr(tally, "_count", lambda *_: pytest.fail("days were counted here"))
    made, heard = apart(layout), []
    made.renew_ahead(lambda done, of: heard.append((done, of)))
    tally.refresh(made, read_schedules(layout), time.time())
    assert tables(made) == tables(here)
    assert heard[-1] == (12, 12)
    assert [done for done, _ in heard] == sorted({done for done, _ in heard})


def test_what_is_there_is_not_made_again(layout):
    made = apart(layout)
    made.renew_ahead()
    made.close()
    again = apart(layout, lambda _: pytest.fail("it is there"))
    again.renew_ahead()
    put(layout, slot("attic", FIRST + 101 * DAY))
    assert again.rows("SELECT count(*) AS n FROM slot") == [{"n": 301}]


def test_whoever_asks_meanwhile_is_told_how_far_it_is(layout):
    file, begun, go_on = layout.root / "rollup.duckdb", threading.Event(), threading.Event()

    def build(progress):
        progress(3, 12)
        begun.set()
        assert go_on.wait(30)
        first_build.in_a_process(layout, file, ZONE, progress)

    made = apart(layout, build)
    with pytest.raises(NotReadyError, match=r"made for the first time$"):
        made.refresh()
    keeper = threading.Thread(target=made.renew_ahead)
    keeper.start()
    assert begun.wait(30)
    with pytest.raises(NotReadyError, match="12 files are being made for the first time: 3 are done"):
        made.refresh()
    go_on.set()
    keeper.join()
    assert made.rows("SELECT count(*) AS n FROM slot") == [{"n": 300}]


def test_a_failure_is_told_to_everybody_and_tried_again_later(layout, monkeypatch):
    file = layout.month_files()[0]
    whole = file.read_bytes()
    file.write_bytes(whole[:-20] + b"x" * 20)
    made = apart(layout)
    for ask in (made.renew_ahead, made.refresh):
        with pytest.raises(StorageError, match=r"speedtest\.parquet"):
            ask()
    file.write_bytes(whole)
    with pytest.raises(StorageError, match=r"speedtest\.parquet"):
        made.renew_ahead()  # so soon nothing is begun
    monkeypatch.setattr(rollup, "AGAIN_SECONDS", 0)
    made.renew_ahead()
    assert made.rows("SELECT count(*) AS n FROM slot") == [{"n": 300}]


def test_who_has_no_use_for_it_any_more_ends_it(layout):
    class EndedError(Exception):
        pass

    def progress(*_):
        raise EndedError

    file = layout.root / "rollup.duckdb"
    with pytest.raises(EndedError):
        first_build.in_a_process(layout, file, ZONE, progress)
    Rollups(layout, file, ZONE).renew()  # no other process has it open


def test_a_process_that_is_killed_is_no_answer(layout, monkeypatch):
    program = layout.root / "python"
    program.write_text(f"#!/bin/sh\nkill -{signal.SIGKILL:d} $$\n")
    program.chmod(0o755)
    monkeypatch.setattr("sys.executable", os.fspath(program))
    with pytest.raises(StorageError, match="ended by signal 9"):
        apart(layout).renew_ahead()


def test_modules_of_whoever_can_write_where_it_is_begun_are_not_used(layout, monkeypatch, tmp_path):
    (tmp_path / "duckdb.py").write_text("raise SystemExit('taken over')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)  # tests are begun with the folder they are in
    apart(layout).renew_ahead()


def test_only_large_archives_are_worth_a_process(layout, monkeypatch):
    assert not first_build.is_large(layout)
    monkeypatch.setattr(first_build, "FEW_FILES", 11)
    assert first_build.is_large(layout)
