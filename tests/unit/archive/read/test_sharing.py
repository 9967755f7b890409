"""How a host stands that shares its archive with others."""

from __future__ import annotations

import json

import pytest

from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.read import sharing
from speedtest_logger.record import unix_time, utc_text

AT = "2026-01-31T12:00:00.000Z"
NOW = unix_time(AT)


@pytest.fixture
def layout(tmp_path):
    made = Layout(tmp_path)
    made.prepare()
    return made


def left(layout, **content):
    (layout.fleet / "shared.env").write_text("")
    (layout.state / "shared.json").write_text(json.dumps({"at": AT, "out": [], **content}))


def test_of_one_host_nothing_is_said(layout):
    assert sharing.state(layout) is None
    assert sharing.problems(layout, NOW) == []


def test_a_host_that_is_out_is_named(layout):
    left(layout, out=["archive-2"])
    assert sharing.problems(layout, NOW) == ["archive host archive-2 is out: nodes deliver to the others"]


def test_what_fails_and_what_stands_still_is_said(layout):
    left(layout, failing_since=AT, why="no store")
    assert sharing.problems(layout, NOW) == [f"sharing the archive fails since {AT}: no store"]
    left(layout)
    assert sharing.problems(layout, NOW) == []
    left(layout, at=utc_text(NOW - 601))
    assert sharing.problems(layout, NOW) == ["this host takes no turns: see speedtest-share.timer"]


@pytest.mark.parametrize("content", ["", "[]", "{", '{"at": 7, "out": 7}', "[" * 100_000])
def test_whatever_lies_there_is_a_sentence(layout, content):
    left(layout)
    (layout.state / "shared.json").write_text(content)
    assert sharing.problems(layout, NOW) == ["this host has not taken a turn yet: see speedtest-share.service"]
