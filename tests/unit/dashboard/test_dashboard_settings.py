"""Settings: every problem at once, in words that say what to set instead."""

from __future__ import annotations

import os
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedtest_logger.dashboard import settings
from speedtest_logger.errors import ConfigError

VARIABLES = [option.metadata["variable"] for option in fields(settings.Settings)]


def problems(**variables):
    with pytest.raises(ConfigError) as refused:
        settings.load(variables)
    return refused.value.problems


def test_defaults_are_for_one_machine():
    found = settings.load({})
    assert (found.bind, found.port, found.time_zone, found.title) == ("127.0.0.1", 8000, "UTC", "Speed tests")
    assert (str(found.archive_dir), str(found.state_dir)) == ("/srv/speedtest-archive", "/var/lib/speedtest-dashboard")
    assert (found.users_file, found.cors_origins, found.debug, found.log_level) == (None, (), False, "info")


def test_every_problem_is_named_at_once_with_variable_and_value():
    found = problems(SPEEDTEST_DASHBOARD_PORT="70000", SPEEDTEST_DASHBOARD_TIME_ZONE="Mars", LOG_LEVEL="loud")
    assert [text.partition("=")[0] for text in found] == [
        "SPEEDTEST_DASHBOARD_PORT", "SPEEDTEST_DASHBOARD_TIME_ZONE", "LOG_LEVEL",
    ]  # fmt: skip
    assert "'70000'" in found[0]
    assert "one of debug, info, warning, error" in found[2]


@pytest.mark.parametrize(
    "name",
    [
        "DATABASE_URL",
        "DB_HOST",
        "DB_PASS",
        "REDIS_URL",
        "ELASTIC_URL",
        "API_KEY_SECRET",
        "JWT_SECRET_KEY",
        "ENCRYPTION_KEY",
    ],
)
def test_what_means_nothing_here_is_refused_and_its_value_not_repeated(name):
    (said,) = problems(**{name: "postgresql://secret"})
    assert said.startswith(f"{name} means nothing here: ")
    assert "secret@" not in said
    assert "postgresql" not in said


def test_a_name_of_ours_that_does_not_exist_is_refused():
    assert problems(SPEEDTEST_DASHBOARD_PROT="1") == ["SPEEDTEST_DASHBOARD_PROT: there is no such setting"]


def test_a_front_needs_users():
    front = {"SPEEDTEST_DASHBOARD_FRONT": "speed.example.org"}
    (said,) = problems(**front)
    assert said.startswith("SPEEDTEST_DASHBOARD_FRONT=speed.example.org: without users everybody")
    assert settings.load({**front, "SPEEDTEST_DASHBOARD_USERS_FILE": "/x"}).front == "speed.example.org"


@pytest.mark.parametrize("address", ["::", "192.0.2.7", "dashboard.example", "127.example.org"])
def test_without_users_only_loopback_is_listened_on(address):
    (said,) = problems(SPEEDTEST_DASHBOARD_BIND=address)
    assert said.startswith(f"SPEEDTEST_DASHBOARD_BIND={address}: without users everybody")
    assert settings.load({"SPEEDTEST_DASHBOARD_BIND": address, "SPEEDTEST_DASHBOARD_USERS_FILE": "/x"}).bind == address


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_loopback_needs_no_users(address):
    assert settings.load({"SPEEDTEST_DASHBOARD_BIND": address}).on_loopback


@pytest.mark.parametrize("text", ["*", "https://example.org/", "example.org", "https://a,b", "https://user@host"])
def test_an_origin_is_scheme_and_host_and_nothing_more(text):
    assert problems(CORS_ORIGINS=f"https://good.example,{text}")


def test_lists_have_commas():
    found = settings.load({"CORS_ORIGINS": "https://a.example, http://b.example:8080"})
    assert found.cors_origins == ("https://a.example", "http://b.example:8080")


def test_a_front_elsewhere_has_addresses_and_a_name():
    known = {"SPEEDTEST_DASHBOARD_USERS_FILE": "/x", "SPEEDTEST_DASHBOARD_FRONT": "speed.example.org"}
    addresses = {"SPEEDTEST_DASHBOARD_FRONT_ADDRESSES": "192.0.2.1,2001:db8::1"}
    assert settings.load({**known, **addresses}).front_addresses == ("192.0.2.1", "2001:db8::1")
    assert problems(**{**known, "SPEEDTEST_DASHBOARD_FRONT_ADDRESSES": "*"}) != []
    assert problems(**addresses) != []


def test_debug_is_for_developers_only():
    assert problems(DEBUG="true") != []
    assert problems(DEBUG="true", ENV="prod") != []
    assert settings.load({"DEBUG": "true", "ENV": "dev"}).debug
    assert not settings.load({"ENV": "/etc/shinit"}).debug  # a shell's own variable


@given(st.dictionaries(st.sampled_from([*settings.NOT_OURS, *VARIABLES]), st.text(max_size=60)))
def test_whatever_the_environment_holds_it_is_settings_or_problems(variables):
    try:
        assert isinstance(settings.load(variables), settings.Settings)
    except ConfigError as error:
        assert error.problems


def test_state_is_kept_where_it_was_set_or_can_be(tmp_path, monkeypatch):
    own = replace(settings.load({}), state_dir=tmp_path)
    assert settings.with_usable_state_dir(own, {}) == own
    own = replace(own, state_dir=Path("/nowhere/at/all"))
    chosen = settings.with_usable_state_dir(own, {"HOME": str(tmp_path)}).state_dir
    assert chosen.parent == tmp_path / ".local/state/speedtest-dashboard"
    other = settings.with_usable_state_dir(replace(own, archive_dir=Path("/other")), {"HOME": str(tmp_path)}).state_dir
    assert other.parent == chosen.parent
    assert other != chosen
    assert settings.with_usable_state_dir(own, {"XDG_STATE_HOME": str(tmp_path)}).state_dir.parent.parent == tmp_path
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    nowhere = settings.with_usable_state_dir(own, {"HOME": "/nowhere/here"}).state_dir
    assert nowhere.parent == tmp_path / f"speedtest-dashboard-{os.geteuid()}"


def test_a_folder_that_somebody_else_made_is_not_used(tmp_path):
    place = tmp_path / "speedtest-dashboard-0" / "x"
    settings.make_state_dir(place)
    assert place.stat().st_mode & 0o777 == 0o700
    settings.make_state_dir(place)
    os.chown(place.parent, 61_001, 61_001)
    with pytest.raises(ConfigError, match="belongs to somebody else"):
        settings.make_state_dir(place)
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(ConfigError, match="is a link, not a directory"):
        settings.make_state_dir(tmp_path / "link")
