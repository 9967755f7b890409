"""The file that root keeps: read as a whole, and what is wrong with it is named without an address."""

from __future__ import annotations

import json

import pytest

from speedtest_logger.alerts import settings
from speedtest_logger.errors import ConfigError

SECRET = "ntfys://ada:hunter2@ntfy.example.org/lines"
PHONE = {"name": "phone", "url": SECRET}


@pytest.fixture
def load(tmp_path):
    def load(content):
        file = tmp_path / "alerts.json"
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        return settings.load(file)

    return load


def test_all_of_it_is_read(load):
    found = load(
        {
            "destinations": [PHONE], "rules": {"loss": True}, "grace_seconds": 120,
            "heartbeat_url": "https://hc.example.org/hunter2", "link": "https://speed.example.org/",
        }
    )  # fmt: skip
    assert [each.name for each in found.destinations] == ["phone"]
    assert (found.rules, found.grace_seconds, found.link) == ({"loss": True}, 120.0, "https://speed.example.org")
    assert load({}) == settings.Settings()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is no JSON: run site.yml"),
        ("[" * 100_000, "is no JSON: run site.yml"),
        ([], "a mapping is expected"),
        ({"destinations": None}, "destinations: a list is expected"),
        ({"destinations": SECRET}, "destinations: a list is expected"),
        ({"destinations": [PHONE, SECRET]}, "destination 2: a mapping with name and url is expected"),
        ({"destinations": [{**PHONE, "url": "hunter2"}]}, "destination 1: url: an address of Apprise's"),
        ({"destinations": [PHONE, PHONE]}, "there are several destinations of the name phone"),
        ({"rules": {"slow": True}}, "'slow' is no rule"),
        ({"rules": None}, "None is not a mapping of rules"),
        ({"grace_seconds": "soon"}, "grace_seconds: 'soon' is no number of seconds"),
        ({"grace_seconds": None}, "grace_seconds: None is no number of seconds"),
        ({"heartbeat_url": "hunter2"}, "heartbeat_url: an address with http:// or https:// is expected"),
    ],
)
def test_what_is_wrong_is_named_and_no_address(load, content, words):
    with pytest.raises(ConfigError) as raised:
        load(content)
    assert words in str(raised.value)
    assert "alerts.json" in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_all_that_is_wrong_is_named_at_once(load):
    with pytest.raises(ConfigError) as raised:
        load({"destinations": [{"name": "a"}], "rules": {"x": 1}, "heartbeat_url": "x"})
    assert all(
        word in str(raised.value) for word in ("destination 1: url is missing", "'x' is no rule", "heartbeat_url")
    )


def test_where_there_is_none_it_says_what_to_set(tmp_path):
    with pytest.raises(ConfigError, match="is missing: set speedtest_archive_alerts_destinations and run site"):
        settings.load(tmp_path / "none")


def test_systemd_hands_it_over_as_a_credential(monkeypatch, tmp_path):
    monkeypatch.delenv("SPEEDTEST_ALERTS_FILE", raising=False)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert settings.place() == settings.FILE
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert settings.place() == tmp_path / "alerts.json"
