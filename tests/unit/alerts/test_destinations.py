"""Destinations: what each hears, when it is left alone, and what is wrong with one, without its address."""

from __future__ import annotations

import re
from datetime import datetime, timezone

import pytest

from speedtest_logger.alerts import destinations
from speedtest_logger.alerts.destinations import Destination

SECRET = "ntfys://ada:hunter2@ntfy.example.org/lines"
ENTRY = {"name": "phone", "url": SECRET}


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()


def test_a_name_and_an_address_are_enough():
    assert destinations.read(ENTRY) == Destination("phone", SECRET)


def test_all_that_can_be_wanted_is_read():
    found = destinations.read(
        {
            **ENTRY, "severity": "info", "locations": ["home"], "nodes": ["attic"], "rules": ["line_down"],
            "quiet": "22:00-07:30", "passes": "nothing", "timezone": "Europe/Berlin", "digest": "never",
            "reminder_hours": 0,
        }
    )  # fmt: skip
    assert (found.severity, found.locations, found.nodes, found.rules) == (
        "info",
        ("home",),
        ("attic",),
        ("line_down",),
    )
    assert (found.quiet, found.passes, found.digest, found.reminder_hours) == ((1320, 450), "nothing", "never", 0)


WRONG = [
    ({"name": "Phone"}, "name: lower-case letters"),
    ({"url": "ntfy.example.org/hunter2"}, "url: an address of Apprise's is expected"),
    ({"url": "ntfys://"}, "url: an address of Apprise's is expected"),
    ({"url": SECRET + " x"}, "url: an address of Apprise's is expected"),
    ({"url": SECRET + "\n"}, "url: an address of Apprise's is expected"),
    ({"url": SECRET + "x" * 3000}, "url: an address of Apprise's is expected"),
    ({"url": "https://[hunter2"}, "url: an address of Apprise's is expected"),
    ({"url": ["ntfys://hunter2"]}, "url: an address of Apprise's is expected"),
    ({"url": "file:///etc/hunter2"}, "url: file:// does not leave the machine"),
    ({"severity": "high"}, "severity: 'high' is none of info, warning, critical"),
    ({"severity": SECRET}, "severity: an address is none of info"),
    ({"passes": ["critical"]}, "passes: ['critical'] is none of critical, nothing"),
    ({"digest": "hourly"}, "digest: 'hourly' is none of never, daily, weekly"),
    ({"locations": "home"}, "locations: a list of names is expected"),
    ({"locations": []}, "locations: a list of names is expected, at least one; leave it out for all"),
    ({"nodes": ["Attic"]}, "nodes: 'Attic' cannot be the name of a node or location"),
    ({"nodes": [SECRET]}, "nodes: an address cannot be the name of a node or location"),
    ({"rules": ["slow"]}, "rules: 'slow' is no rule: line_down, below_plan"),
    ({"quiet": "22-7"}, "quiet: '22-7' is no time of day to another, such as 22:00-07:00"),
    ({"quiet": "22:00-22:00"}, "quiet: '22:00-22:00' has no length"),
    ({"quiet": SECRET}, "quiet: an address is no time of day"),
    ({"timezone": "Berlin"}, "timezone: 'Berlin' is no time zone that this machine knows"),
    ({"timezone": SECRET}, "timezone: an address is no time zone"),
    ({"reminder_hours": -1}, "reminder_hours: hours from 0"),
    ({"reminder_hours": True}, "reminder_hours: hours from 0"),
    ({"ulr": SECRET}, "'ulr': there is no such field: name, url, severity"),
    ({SECRET: 1}, "an address: there is no such field: name, url, severity"),
]


@pytest.mark.parametrize(("changes", "words"), WRONG)
def test_an_error_never_has_the_address(changes, words):
    with pytest.raises(ValueError, match=f"^{re.escape(words)}") as raised:
        destinations.read({**ENTRY, **changes})
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("entry", [{"name": "a"}, {"url": SECRET}, {}, SECRET, None, [SECRET], 7])
def test_what_lacks_something_or_is_none_says_so(entry):
    with pytest.raises(ValueError, match=r"is missing|a mapping with name and url is expected") as raised:
        destinations.read(entry)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("wants", "heard"),
    [
        ({}, True),
        ({"severity": "critical"}, False),
        ({"locations": ("home", "farm")}, True),
        ({"locations": ("farm",)}, False),
        ({"nodes": ("attic",)}, True),
        ({"nodes": ("porch",)}, False),
        ({"rules": ("silent_node",)}, True),
        ({"rules": ("line_down",)}, False),
    ],
)
def test_it_hears_what_it_wants(wants, heard):
    assert Destination("a", "b", **wants).wants("silent_node", "warning", "home", "attic") is heard


@pytest.mark.parametrize(
    ("quiet", "zone", "time", "expected"),
    [
        (None, "UTC", "2026-07-01T03:00", False),
        ((1320, 420), "UTC", "2026-07-01T21:59", False),
        ((1320, 420), "UTC", "2026-07-01T22:00", True),
        ((1320, 420), "UTC", "2026-07-01T06:59", True),
        ((1320, 420), "UTC", "2026-07-01T07:00", False),
        ((720, 780), "UTC", "2026-07-01T12:30", True),
        ((1320, 420), "Europe/Berlin", "2026-07-01T20:00", True),  # 22:00 there
        ((1320, 420), "Europe/Berlin", "2026-01-01T20:30", False),
    ],
)
def test_it_is_left_alone_by_its_own_clocks(quiet, zone, time, expected):
    assert Destination("a", "b", quiet=quiet, timezone=zone).is_quiet(at(time)) is expected


@pytest.mark.parametrize(
    ("digest", "now", "due"),
    [
        ("never", "2026-01-07T12:00", None),
        ("daily", "2026-01-07T07:00", "2026-01-07T07:00"),
        ("daily", "2026-01-07T06:59", "2026-01-06T07:00"),
        ("weekly", "2026-01-07T12:00", "2026-01-05T07:00"),  # a Monday
        ("weekly", "2026-01-05T06:00", "2025-12-29T07:00"),
    ],
)
def test_a_digest_is_due_at_seven(digest, now, due):
    assert Destination("a", "b", digest=digest).digest_due(at(now)) == (due and at(due))
