"""Sessions: how long they last, what ends them, what is kept of them."""

from __future__ import annotations

import pytest
from dashboards import HASH, Clock

from speedtest_logger.dashboard import sessions, users
from speedtest_logger.dashboard.sessions import Sessions
from speedtest_logger.dashboard.users import User, Users

DAY = 86_400


@pytest.fixture
def clock():
    return Clock(1_800_000_000.0)


@pytest.fixture
def known():
    return Users([User.read({"name": name, "password": HASH}) for name in ("eva", "bob")])


def test_a_session_outlives_a_restart_and_its_token_is_not_kept(tmp_path, known, clock):
    file = tmp_path / "sessions.json"
    token = Sessions(file, known, clock).begin(known.get("eva"))
    assert len(token) == 43
    assert token not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    again = Sessions(file, known, clock)
    assert again.user_of(token).name == "eva"
    assert again.user_of(token[:-1] + "_") is None
    for text in file.read_text().split('"'):  # whoever reads the file can log in with nothing of it
        assert again.user_of(text) is None


def test_a_session_ends_when_it_is_idle_and_at_the_latest_after_a_month(tmp_path, known, clock):
    kept = Sessions(tmp_path / "s.json", known, clock)
    idle, used = kept.begin(known.get("eva")), kept.begin(known.get("eva"))
    for _ in range(29):
        clock.now += DAY
        assert kept.user_of(used)
    assert kept.user_of(idle) is None
    clock.now += DAY
    assert kept.user_of(used) is None
    assert Sessions(tmp_path / "s.json", known, clock).user_of(used) is None


def test_use_is_noted_for_the_next_start(tmp_path, known, clock):
    kept = Sessions(tmp_path / "s.json", known, clock)
    token = kept.begin(known.get("eva"))
    for _ in range(2):
        clock.now += 6 * DAY
        kept = Sessions(tmp_path / "s.json", known, clock)
        assert kept.user_of(token)


def test_logging_out_ends_it_for_good(tmp_path, known, clock):
    kept = Sessions(tmp_path / "s.json", known, clock)
    token, other = kept.begin(known.get("eva")), kept.begin(known.get("eva"))
    kept.end(token)
    kept.end("no token")
    for each in (kept, Sessions(tmp_path / "s.json", known, clock)):
        assert each.user_of(token) is None
        assert each.user_of(other)


def test_another_password_or_no_user_ends_their_sessions_and_no_other(tmp_path, known, clock):
    file = tmp_path / "s.json"
    kept = Sessions(file, known, clock)
    eva, bob = kept.begin(known.get("eva")), kept.begin(known.get("bob"))
    changed = Users([User("eva", users.Hash.of("another four words")), known.get("bob")])
    assert Sessions(file, changed, clock).user_of(eva) is None
    assert Sessions(file, changed, clock).user_of(bob).name == "bob"
    assert Sessions(file, Users([known.get("bob")]), clock).user_of(eva) is None
    renamed = Users([User("eve", known.get("eva").password)])
    assert Sessions(file, renamed, clock).user_of(eva) is None


def test_a_user_has_so_many_sessions_and_the_one_least_used_goes(tmp_path, known, clock):
    kept = Sessions(tmp_path / "s.json", known, clock)
    bob = kept.begin(known.get("bob"))
    tokens = []
    for _ in range(sessions.MOST_OF_USER + 5):
        clock.now += 1
        tokens.append(kept.begin(known.get("eva")))
    assert [kept.user_of(token) is None for token in tokens] == [True] * 5 + [False] * sessions.MOST_OF_USER
    assert kept.user_of(bob)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"a": 1}', '{"a": {"user": "eva"}}', "\xff" * 9, "[" * 99_999,
    '{"a": {"user": "eva", "mark": "", "began": "x", "seen": null}}'])  # fmt: skip
def test_a_damaged_file_logs_out_and_does_not_stop_the_start(tmp_path, known, clock, content):
    (tmp_path / "s.json").write_text(content, encoding="latin-1")
    kept = Sessions(tmp_path / "s.json", known, clock)
    assert kept.user_of(kept.begin(known.get("eva")))


def test_a_full_disk_logs_nobody_out(tmp_path, known, clock, monkeypatch):
    kept = Sessions(tmp_path / "s.json", known, clock)
    token = kept.begin(known.get("eva"))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sessions, "write_durably", full)
    clock.now += DAY
    assert kept.user_of(token)
