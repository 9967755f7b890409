"""Ingest says that it runs, whether anything waits or not."""

from __future__ import annotations

import json

import pytest
from builders import put, run, slot

from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.read import parts
from speedtest_logger.record import unix_time

NOON = unix_time("2026-03-01T12:00:00.000Z")


@pytest.fixture
def clock(monkeypatch):
    now = [NOON]
    monkeypatch.setattr("time.time", lambda: now[0])
    return now


def test_one_that_finds_nothing_for_an_hour_has_not_stopped(tmp_path, clock):
    layout = Layout(tmp_path)
    layout.prepare()
    put(layout, slot("attic", NOON - 60))
    before = json.loads((layout.state / "ingest.json").read_text())
    clock[0] += 3600
    (stopped,) = parts.ingest(layout, clock[0], expected=True)
    assert not stopped.ok
    assert run(layout, "ingest") == 0
    (runs,) = parts.ingest(layout, clock[0] + 60, expected=True)
    assert (runs.ok, runs.since) == (True, int(clock[0]))
    after = json.loads((layout.state / "ingest.json").read_text())
    assert {**after, "at": None} == {**before, "at": None}


@pytest.mark.parametrize("content", [None, b"nonsense", b"[]"])
def test_what_it_left_before_need_not_make_sense(tmp_path, content):
    layout = Layout(tmp_path)
    layout.prepare()
    if content is not None:
        (layout.state / "ingest.json").write_bytes(content)
    assert run(layout, "ingest") == 0
