"""Local time: hours and days are those of a zone's clocks, on the days when they change as well."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from speedtest_logger.archive.read.local_time import Zone, grain_of, parts
from speedtest_logger.errors import UsageError

BERLIN = Zone.named("Europe/Berlin")


def at(*moment):
    return datetime(*moment, tzinfo=timezone.utc).timestamp()


def test_summer_time_is_seen():
    assert BERLIN.text(at(2026, 10, 24, 18)) == "2026-10-24 20:00"
    assert BERLIN.text(at(2026, 10, 26, 18)) == "2026-10-26 19:00"
    assert [BERLIN.text(at(2026, 10, 25, hour, 30)) for hour in (0, 1)] == [
        "2026-10-25 02:30 CEST",
        "2026-10-25 02:30 CET",
    ]
    assert [BERLIN.text(at(2026, 3, 29, hour)) for hour in (0, 1)] == ["2026-03-29 01:00", "2026-03-29 03:00"]
    assert Zone.named("Asia/Kolkata").text(at(2026, 1, 1)) == "2026-01-01 05:30"


def test_parts_of_a_period_follow_each_other():
    first, last = BERLIN.part(at(2026, 10, 24, 12), "day"), BERLIN.part(at(2026, 10, 26, 12), "day")
    assert [part.day for part in parts(first, last, "day")] == [24, 25, 26]
    assert BERLIN.part(at(2026, 10, 24, 22, 30), "day") == datetime.fromisoformat("2026-10-25")
    weeks = list(parts(BERLIN.part(at(2026, 10, 1), "week"), BERLIN.part(at(2026, 10, 31), "week"), "week"))
    assert {week.weekday() for week in weeks} == {0}
    assert len(weeks) == 5
    months = list(parts(BERLIN.part(at(2025, 11, 30, 23), "month"), BERLIN.part(at(2026, 3, 5), "month"), "month"))
    assert [month.month for month in months] == [12, 1, 2, 3]


@pytest.mark.parametrize(("days", "grain"), [(2, "hour"), (3, "day"), (92, "day"), (365, "week"), (1500, "month")])
def test_a_period_has_some_dozens_of_parts(days, grain):
    assert grain_of(days * 86_400) == grain


@pytest.mark.parametrize("name", ["Mars/Olympus", "../../etc/passwd", "", "Europe/Berlin\n"])
def test_what_is_no_zone_is_refused(name):
    with pytest.raises(UsageError, match="is not a known time zone: give --zone a name such as Europe/Berlin, or UTC"):
        Zone.named(name)
