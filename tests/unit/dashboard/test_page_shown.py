"""Figures as people read them."""

from __future__ import annotations

import pytest

from speedtest_logger.archive.read.local_time import Zone
from speedtest_logger.dashboard.figures import Cells
from speedtest_logger.dashboard.pages import drawn, line, shown
from speedtest_logger.dashboard.period import period_of
from speedtest_logger.errors import UsageError

UTC, BERLIN = Zone.named("UTC"), Zone.named("Europe/Berlin")
NOW = 1_795_824_000  # 2026-11-28 00:00 UTC
HOUR, DAY = 3_600, 86_400


@pytest.mark.parametrize("say", [shown.number, shown.mbit, shown.plan, shown.count, shown.percent, shown.share,
                                 shown.size, shown.duration, shown.moment, shown.clock])  # fmt: skip
def test_what_was_not_measured_is_a_dash_and_never_a_zero(say):
    assert say(None) == "\N{EM DASH}"
    assert "0" in say(0)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.0042, "0.00"), (9.65, "9.65"), (9.996, "10.0"), (99.94, "99.9"), (99.96, "100"), (1234.5, "1,234")],
)
def test_a_number_has_three_digits_that_count(value, text):
    assert shown.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(100, "100"), (99.999, "99.99"), (99.5, "99.5"), (90, "90"), (41.4, "41"), (0.4, "0.4"), (0.0001, "0.01")],
)
def test_a_share_of_nearly_all_is_not_all_and_of_hardly_any_not_none(value, text):
    assert shown.percent(value) == f"{text}\N{NARROW NO-BREAK SPACE}%"


@pytest.mark.parametrize(
    ("value", "text"),
    [(999, "999"), (61_400_000_000, "61.4"), (999_999, "1.00"), (10**17, "100,000")],
)
def test_a_size(value, text):
    assert shown.size(value).startswith(text + "\N{NARROW NO-BREAK SPACE}")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0 s"), (59.4, "59 s"), (60, "1 min"), (3_599, "59 min"), (7_260, "2 h 1 min"), (7_200, "2 h"),
     (86_400, "1 d"), (100_000, "1 d 3 h")],
)  # fmt: skip
def test_a_length_of_time(seconds, text):
    assert shown.duration(seconds) == text


def test_a_time_is_utc_and_says_so_until_the_browser_knows_better():
    assert shown.moment(NOW) == (
        '<time datetime="2026-11-28T00:00:00Z" data-form="moment" title="2026-11-28 00:00:00 UTC">'
        "28 Nov 2026 00:00 UTC</time>"
    )
    assert ">1 h ago<" in shown.ago(NOW - HOUR, NOW)
    assert shown.ago(None, NOW) == "never"
    assert ">4:05<" in shown.until(NOW + 245, NOW)
    assert ">2:00:05<" in shown.until(NOW + 7_205, NOW)
    assert ">0:00<" in shown.until(NOW - 9, NOW)


def test_a_sparkline_has_gaps_where_nothing_was_measured():
    found = drawn.spark([100e6, None, 50e6, 60e6], 100e6)
    assert found.path.count("M") == 2
    assert found.path.startswith("M30.0 3.1h.1M150.0")
    assert found.area.count("M") == 1
    assert found.words == "from 50.0 to 100 Mbit/s"
    nothing = drawn.spark([None] * 24, None)
    assert (nothing.path, nothing.plan, nothing.words) == ("", None, "nothing was measured")


def test_a_bar_ends_at_the_plan():
    assert drawn.bar(50e6, 200e6) == "25.0"
    assert drawn.bar(300e6, 200e6) == "100.0"
    assert drawn.bar(0.0, 200e6) == "0.0"
    assert drawn.bar(None, 200e6) is drawn.bar(50e6, None) is None


def test_colours_of_the_map_are_shares_of_the_whole():
    shares = (0.0, 0.5, 0.56, 0.94, 0.96, 1.7)
    assert [drawn.step(100 * share, 100) for share in shares] == [0, 0, 1, 8, 9, 9]
    assert drawn.step(None, 100) is drawn.step(5, None) is None


def test_a_period_stands_in_the_address():
    for query in ({"range": "30d"}, {"start": "2026-11-01", "end": "2026-11-02"}, {"start": "2026-11-01T10:30:00Z"}):
        found = period_of(query, NOW, BERLIN)
        again = period_of(dict(each.split("=") for each in found.query.replace("%3A", ":").split("&")), NOW, BERLIN)
        assert again == found
    assert period_of({}, NOW, UTC).words == "the last 24 hours"


def test_a_last_day_belongs_to_the_period_and_days_are_the_zones():
    found = period_of({"start": "2026-10-25", "end": "2026-10-25"}, NOW, BERLIN)
    assert found.end - found.start == 25 * HOUR  # the clocks were set back
    assert (found.first_day, found.last_day) == ("2026-10-25", "2026-10-25")


@pytest.mark.parametrize(
    "query",
    [{"range": "2y"}, {"end": "2026-11-01"}, {"start": "soon"}, {"start": "2026-11-02", "end": "2026-11-01"},
     {"start": "0001-01-01", "end": "9999-12-31"}, {"start": "1990-01-01"}],
)  # fmt: skip
def test_a_period_that_makes_no_sense_is_refused(query):
    with pytest.raises(UsageError):
        period_of(query, NOW, UTC)


@pytest.mark.parametrize(
    ("grain", "step", "form", "groups"),
    [("test", 300, "hour", 48), ("test", HOUR, "day", 3), ("hour", HOUR, "day", 3), ("day", DAY, "month", 2)],
)
def test_cells_of_a_strip_are_grouped_by_the_zones_hours_days_and_months(grain, step, form, groups):
    count = 50 if grain == "day" else 2 * DAY // step
    start = NOW - count * step if grain == "day" else NOW - 2 * DAY
    at = [start + number * step for number in range(count)]
    cells = Cells("attic", grain, at, ["ok"] * count, [None] * count, [1] * count, [None] * count)
    found = line.strip(cells, BERLIN)
    assert (found.form, len(found.groups)) == (form, groups)
    assert [cell.at for group in found.groups for cell in group] == at
