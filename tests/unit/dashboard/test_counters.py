"""Counters that are kept: they never fall, whatever becomes of the archive or of this program."""

from __future__ import annotations

import json

from speedtest_logger.dashboard.counters import Counters


def test_counters_survive_a_restart_and_what_was_lost_meanwhile(tmp_path):
    counters = Counters(tmp_path / "counters.json")
    assert counters.risen({"a": 10, "b": 5}) == {"a": 10, "b": 5}
    assert counters.risen({"a": 8, "b": 6}) == {"a": 10, "b": 6}
    assert counters.risen({"a": 9, "b": 6}) == {"a": 11, "b": 6}
    counters.keep(now=True)
    again = Counters(tmp_path / "counters.json")
    assert again.risen({"a": 4, "b": 6}) == {"a": 11, "b": 6}  # a fall that nobody saw
    assert again.risen({"a": 5}) == {"a": 12}
    again.keep(now=True)
    assert set(json.loads((tmp_path / "counters.json").read_text())) == {"a"}  # what is gone does not stay for ever
    (tmp_path / "counters.json").write_text('{"a": [7]}')
    assert Counters(tmp_path / "counters.json").risen({"a": 3}) == {"a": 3}


def test_counters_are_written_when_one_fell_and_now_and_then(tmp_path, monkeypatch):
    at = 0.0
    monkeypatch.setattr("time.monotonic", lambda: at)
    counters, file = Counters(tmp_path / "counters.json"), tmp_path / "counters.json"
    counters.risen({"a": 1})
    counters.risen({"a": 2})
    at = 60.0
    counters.keep()
    assert file.exists()  # a name that was not known
    file.unlink()
    counters.risen({"a": 3})
    at = 120.0
    counters.keep()
    assert not file.exists()
    counters.risen({"a": 1})
    counters.keep()
    assert json.loads(file.read_text()) == {"a": [1, 2]}
    file.unlink()
    counters.risen({"a": 2})
    at = 2000.0
    counters.keep()
    assert json.loads(file.read_text()) == {"a": [2, 2]}
