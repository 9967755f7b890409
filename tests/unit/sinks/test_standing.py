"""What is left of how publishing goes: since when it fails and why, and that it went well again."""

from __future__ import annotations

import json
import threading
import time

import pytest

from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.read import parts
from speedtest_logger.errors import StorageError
from speedtest_logger.record import unix_time
from speedtest_logger.sinks import standing

ADDRESS = "s3://measurements/records"


@pytest.fixture
def layout(tmp_path):
    made = Layout(tmp_path)
    made.store.mkdir()
    return made


def part(layout, now=None):
    (found,) = parts.store(layout, now or time.time())
    return found


def fails(words):
    def do():
        raise StorageError(words)

    return do


def test_where_the_inventory_names_no_store_nothing_is_said_of_one(tmp_path):
    assert list(parts.store(Layout(tmp_path), 0)) == []


def test_a_failure_has_its_first_moment_until_publishing_goes_well_again(layout):
    assert not part(layout).ok
    assert standing.remembered(layout, ADDRESS, "publish", lambda: {"line": 3}) == {"line": 3}
    well = part(layout)
    assert (well.ok, well.sentence, well.figures) == (True, f"published to {ADDRESS}", {"last": well.since})
    for words in ("refused", "still refused"):
        with pytest.raises(StorageError, match=words):
            standing.remembered(layout, ADDRESS, "publish", fails(words))
    state = json.loads((layout.store / "state.json").read_text())["publish"]
    assert (state["line"], state["failing"]["why"]) == (3, "still refused")
    moved = json.loads((layout.store / "state.json").read_text())
    moved["publish"]["failing"]["since"] = "2026-01-31T12:00:00.000Z"
    (layout.store / "state.json").write_text(json.dumps(moved))
    with pytest.raises(StorageError):
        standing.remembered(layout, ADDRESS, "publish", fails("still refused"))
    bad = part(layout)
    assert (bad.ok, bad.since) == (False, int(unix_time("2026-01-31T12:00:00.000Z")))
    assert bad.sentence == f"cannot publish to {ADDRESS}: still refused"
    assert bad.figures == well.figures
    standing.remembered(layout, ADDRESS, "publish", lambda: {"line": 4})
    assert part(layout).ok


def test_upkeep_that_fails_is_told_too_and_another_address_has_no_past(layout):
    standing.remembered(layout, ADDRESS, "publish", dict)
    with pytest.raises(StorageError):
        standing.remembered(layout, ADDRESS, "maintain", fails("no room"))
    assert part(layout).sentence == f"cannot tidy {ADDRESS} up: no room"
    standing.remembered(layout, "/mnt/table", "publish", dict)
    assert part(layout).sentence == "published to /mnt/table"


class PanicError(BaseException):
    """As pyo3 raises it."""


def test_a_library_that_panics_is_told_too(layout):
    def panics():
        raise PanicError

    with pytest.raises(PanicError):
        standing.remembered(layout, ADDRESS, "publish", panics)
    assert part(layout).sentence == f"cannot publish to {ADDRESS}: PanicError"


def test_publishing_that_does_not_run_any_more_is_told(layout):
    standing.remembered(layout, ADDRESS, "publish", dict)
    assert part(layout, time.time() + 25 * 3600).ok
    late = part(layout, time.time() + 27 * 3600)
    assert (late.ok, late.sentence) == (False, "publishing does not run: see speedtest-publish.timer")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"address": 1, "publish": [], "maintain": {"failing": 1}}'])
def test_a_file_that_makes_no_sense_is_one_of_nothing(layout, content):
    (layout.store / "state.json").write_text(content)
    assert part(layout).sentence.startswith("nothing was published yet")
    standing.remembered(layout, ADDRESS, "publish", dict)
    assert part(layout).ok


def test_two_timers_wait_for_each_other(layout):
    done, inside = [], threading.Event()

    def slow():
        inside.set()
        time.sleep(0.5)
        done.append("publish")
        return {}

    first = threading.Thread(target=standing.remembered, args=(layout, ADDRESS, "publish", slow))
    first.start()
    assert inside.wait(10)
    standing.remembered(layout, ADDRESS, "maintain", lambda: done.append("maintain") or {})
    first.join()
    assert done == ["publish", "maintain"]
