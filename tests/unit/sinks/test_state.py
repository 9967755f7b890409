"""What is left of how carrying goes: since when it fails and why, and that it went well again."""

from __future__ import annotations

import json
import threading
import time

import pytest

from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.read import followed, parts
from speedtest_logger.errors import StorageError
from speedtest_logger.record import unix_time
from speedtest_logger.sinks import state

ADDRESS = "s3://measurements/records"


@pytest.fixture
def layout(tmp_path):
    made = Layout(tmp_path)
    made.store.mkdir()
    return made


def part(layout, now=None):
    (found,) = parts.store(layout, now or time.time())
    return found


def attempt(layout, job=followed.PUBLISH, why=None, address=ADDRESS, **found):
    """A job that ends well with what it found, or for a reason does not."""
    with state.kept(layout.store / job, address=address) as known:
        known.update(found)
        if why is not None:
            raise why if isinstance(why, BaseException) else StorageError(why)


def content(layout, job=followed.PUBLISH):
    return json.loads((layout.store / job).read_text())


def test_where_the_inventory_names_no_store_nothing_is_said_of_one(tmp_path):
    assert list(parts.store(Layout(tmp_path), 0)) == []


def test_a_failure_has_its_first_moment_until_publishing_goes_well_again(layout):
    assert part(layout).sentence == "it has nothing yet: see speedtest-publish.service"
    attempt(layout, line=3)
    well = part(layout)
    assert (well.ok, well.sentence, well.figures) == (True, f"published to {ADDRESS}", {"last": well.since})
    for words in ("refused", "still refused"):
        with pytest.raises(StorageError, match=words):
            attempt(layout, why=words)
    assert (content(layout)["line"], content(layout)["why"]) == (3, "still refused")
    earlier = {**content(layout), "failing_since": "2026-01-31T12:00:00.000Z"}
    (layout.store / followed.PUBLISH).write_text(json.dumps(earlier))
    with pytest.raises(StorageError):
        attempt(layout, why="still refused")
    bad = part(layout)
    assert (bad.ok, bad.since) == (False, int(unix_time("2026-01-31T12:00:00.000Z")))
    assert bad.sentence == f"cannot publish to {ADDRESS}: still refused"
    assert bad.figures == well.figures
    attempt(layout, line=4)
    assert part(layout).ok


def test_upkeep_that_fails_is_told_too_and_another_address_has_no_past(layout):
    attempt(layout)
    with pytest.raises(StorageError):
        attempt(layout, followed.MAINTAIN, "no room")
    assert part(layout).sentence == f"cannot tidy {ADDRESS} up: no room"
    attempt(layout, followed.MAINTAIN)
    with pytest.raises(StorageError):
        attempt(layout, why="no such place", address="/mnt/table")
    assert part(layout).figures == {}
    assert content(layout)["address"] == "/mnt/table"


class PanicError(BaseException):
    """As pyo3 raises it."""


def test_a_library_that_panics_is_told_too(layout):
    with pytest.raises(PanicError):
        attempt(layout, why=PanicError())
    assert part(layout).sentence == f"cannot publish to {ADDRESS}: PanicError"


def test_publishing_that_does_not_run_any_more_is_told(layout):
    attempt(layout)
    assert part(layout, time.time() + 25 * 3600).ok
    late = part(layout, time.time() + 27 * 3600)
    assert (late.ok, late.sentence) == (False, "nothing is carried there any more: see speedtest-publish.timer")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"address": 1, "at": [], "failing_since": 0}'])
def test_a_file_that_makes_no_sense_is_one_of_nothing(layout, content):
    (layout.store / followed.PUBLISH).write_text(content)
    assert part(layout).sentence.startswith("it has nothing yet")
    attempt(layout)
    assert part(layout).ok


def test_a_state_that_cannot_be_written_is_said(layout):
    (layout.store / followed.PUBLISH).mkdir()
    with pytest.raises(StorageError, match="cannot be written"):
        attempt(layout)


def test_a_database_that_does_not_follow_is_told(tmp_path):
    layout = Layout(tmp_path)
    assert list(parts.database(layout, time.time())) == []
    with pytest.raises(StorageError, match="group speedtest_database"):
        state.place(layout.database)
    layout.database.mkdir()
    for job, words in ((followed.SYNC, "it does not follow the archive"), (followed.DUMP, "it cannot be dumped")):
        with pytest.raises(StorageError), state.kept(layout.database / job):
            raise StorageError("the server is gone")
        (found,) = parts.database(layout, time.time())
        assert (found.name, found.ok, found.sentence) == ("database", False, f"{words}: the server is gone")
        with state.kept(layout.database / job):
            pass
    (found,) = parts.database(layout, time.time())
    assert (found.ok, found.sentence) == (True, "it follows the archive")


def test_two_timers_wait_for_each_other(layout):
    done, inside = [], threading.Event()

    def slow():
        with state.alone(layout.store):
            inside.set()
            time.sleep(0.5)
            done.append("publish")

    first = threading.Thread(target=slow)
    first.start()
    assert inside.wait(60)
    with pytest.raises(StorageError, match="another job"), state.alone(layout.store, patience=0):
        pass
    with state.alone(layout.store):
        done.append("maintain")
    first.join()
    assert done == ["publish", "maintain"]
