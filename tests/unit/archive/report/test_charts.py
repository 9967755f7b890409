"""Charts: what is drawn is what was measured, and what is not drawn to scale is marked."""

from __future__ import annotations

import itertools
import re

import pytest

from speedtest_logger.archive.read.coverage import Cover
from speedtest_logger.archive.report import charts
from speedtest_logger.archive.report.charts import Band, Columns, Frame, Scale


def columns(count):
    return Columns([f"day {n}" for n in range(count)], [str(n) for n in range(count)])


def test_gaps_are_gaps():
    points = [Band(1, 2, 3, 5), None, Band(1, 2, 3, 5), Band(2, 3, 4, 5)]
    drawn = charts.of_bands(Frame("t", "Mbit/s", "down", 5), points, columns(4))
    assert [bool(shape["dot"]) for shape in drawn["shapes"]] == [True, False]
    assert [text for _, text in drawn["ticks"]] == ["0", "2", "4"]
    assert [text for _, text in drawn["hits"]] == [
        "day 0: 2.00 (1.00 to 3.00), 5 tests",
        "day 2: 2.00 (1.00 to 3.00), 5 tests",
        "day 3: 3.00 (2.00 to 4.00), 5 tests",
    ]


def test_an_odd_value_does_not_flatten_the_others_and_is_marked():
    points = [Band(180, 240, 250, 24) for _ in range(29)] + [Band(180, 240, 12_860, 27)]
    drawn = charts.of_bands(Frame("t", "Mbit/s", "down", 250, usual=250.0), points, columns(30))
    middle = float(drawn["shapes"][0]["line"].split()[0].split(",")[1])
    assert middle < charts.TOP + (charts.FLOOR - charts.TOP) / 2  # the usual values have more than half of the height
    assert drawn["above"].count("M") == 1
    assert drawn["highest"] == "12,860"
    assert "day 29: 240 (180 to 12,860), 27 tests" in [text for _, text in drawn["hits"]]
    calm = charts.of_bands(Frame("t", "Mbit/s", "down", 250, usual=250.0), points[:-1], columns(29))
    assert (calm["above"], calm["highest"]) == ("", None)


@pytest.mark.parametrize(
    ("limit", "usual", "values", "top"),
    [
        (250, 240, [100, 230], 250 * 1.08),  # the contract is on the chart
        (None, 100, [80, 120], 120 * 1.08),  # nothing is far above what is usual
        (None, 100, [80, 4_000], 150 * 1.08),
        (1_000, 100, [80, 4_000], 1_200 * 1.08),
        (None, None, [], 1e-9),
    ],
)
def test_an_axis_ends_where_its_values_do(limit, usual, values, top):
    scale = Scale.of(Frame("t", "Mbit/s", "down", limit, usual), values)
    assert scale.top == pytest.approx(top)
    assert scale.y(0) == charts.FLOOR
    assert scale.y(scale.top * 5) == charts.TOP


def test_every_test_is_a_dot_a_cross_or_a_mark():
    tests = [charts.Test(n / 10, 200.0 + n, False, f"0{n}:00 {200 + n}") for n in range(8)]
    tests += [
        charts.Test(0.85, 9_000.0, False, "08:30 9,000"),
        charts.Test(0.95, None, True, "09:30 failed (no_route)"),
    ]
    drawn = charts.of_tests(Frame("t", "Mbit/s", "down", 250, usual=210.0), tests, [(0.5, "05:00")])
    assert drawn["dots"].count("h0") == 8
    assert drawn["above"].count("M") == 1
    assert drawn["crosses"].count("M") == 1
    assert len(drawn["hits"]) == 10
    moves = [(int(x), int(y)) for x, y in re.findall(r"m(-?\d+) (-?\d+)h0", drawn["dots"])]
    places = list(itertools.accumulate(moves, lambda at, move: (at[0] + move[0], at[1] + move[1])))
    scale = Scale.of(Frame("t", "Mbit/s", "down", 250, usual=210.0), [9_000.0])
    assert places == [(round(charts.LEFT + charts.ROOM * test.share), round(scale.y(test.value))) for test in tests[:8]]
    assert drawn["labels"] == [(charts.short(charts.LEFT + charts.ROOM / 2), "05:00")]


def test_a_crowded_column_says_how_many_it_has():
    tests = [charts.Test(0.5, 100.0 + n, False, f"12:0{n} {100 + n}") for n in range(5)]
    tests.append(charts.Test(0.5, None, True, "12:06 failed (no_route)"))
    [(_, text)] = charts.of_tests(Frame("t", "Mbit/s", "down"), tests, [])["hits"]
    assert text == "12:00 on: 6 tests, 100 to 104, 1 failed"


def test_bars_reach_the_top():
    cover = Cover("a", "b", expected=40)
    cover.outcomes.update(ok=30, failed=6, missed=4)
    drawn = charts.stacked([cover, None], columns(2))
    assert set(drawn["paths"]) == {"ok", "failed", "missed"}
    heights = [re.fullmatch(r"M\S+ (\S+)V(\S+)", path).groups() for path in drawn["paths"].values()]
    assert sum(float(low) - float(high) for low, high in heights) == pytest.approx(charts.FLOOR - charts.TOP, abs=0.2)
    assert [text for _, text in drawn["hits"]] == ["day 0: ok 75.0 %, failed 15.0 %, missed 10.0 %"]


def test_labels_keep_apart():
    for count in (1, 2, 6, 7, 24, 31, 53, 90):
        labels = charts.spaced([str(n) for n in range(count)])
        assert 1 <= len(labels) <= charts.LABELS
