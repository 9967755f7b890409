"""Charts as a page's SVG draws them: shapes in a chart's own units, and what a pointer that rests on them is told.

A few values far above all others do not flatten the rest: the axis ends where the usual values do, and what lies above
has a mark at the edge, so that nothing is cut in silence.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from speedtest_logger.archive.read.coverage import Cover
from speedtest_logger.archive.read.questions import Band

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 400, 190, 42, 8, 14, 24  # of a chart, in its own units
FLOOR, ROOM = HEIGHT - BOTTOM, WIDTH - LEFT - RIGHT
COLUMNS = 48  # of a chart of single tests: what a pointer is told is told of one of them
OVER_CONTRACT, OVER_USUAL = 1.2, 1.5  # times: where an axis ends at the latest, whichever is more
LABELS = 6  # below an axis at most


@dataclass(frozen=True)
class Frame:
    """What a chart shows: its title, unit, colour's name, the contracted value, what 95 % of the tests stay under."""

    title: str
    unit: str
    colour: str
    limit: float | None = None
    usual: float | None = None


@dataclass(frozen=True)
class Test:
    """A single test: where on the axis (0 to 1), what it measured if anything, whether it gets a cross, its words."""

    share: float
    value: float | None
    failed: bool
    text: str


@dataclass(frozen=True)
class Scale:
    """An axis from 0 to `top`; `highest` is the highest value that there is, and may lie above."""

    top: float
    highest: float

    @classmethod
    def of(cls, frame: Frame, values: Iterable[float]) -> Scale:
        """The axis for values: to their highest or the contracted one, at most to what is usual and some more."""
        highest = max(values, default=0)
        most = max((frame.limit or 0) * OVER_CONTRACT, (frame.usual or highest) * OVER_USUAL)
        return cls(max(min(max(highest, frame.limit or 0), most) * 1.08, 1e-9), highest)

    def y(self, value: float) -> float:
        """How far down a value lies; the edge for what is above the axis."""
        return TOP + (FLOOR - TOP) * (1 - min(value, self.top) / self.top)

    def ticks(self) -> list[tuple[str, str]]:
        """Places and texts of the axis."""
        step = round_step(self.top / 3.5)
        return [(short(self.y(step * part)), f"{step * part:g}") for part in range(int(self.top / step) + 1)]


def number(value: float | None) -> str:
    """A number for people: three digits that count, a dash where there is none."""
    if value is None:
        return "\N{EN DASH}"
    if value == 0:
        return "0"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def short(value: float) -> str:
    """A coordinate in few bytes."""
    return f"{value:.1f}".removesuffix(".0")


def middle_of(place: int, count: int) -> float:
    """How far to the right the middle of one of `count` columns lies."""
    return LEFT + ROOM * (place + 0.5) / count


def spaced(names: Sequence[str]) -> list[tuple[str, str]]:
    """Some of the columns' names, as far apart as they need to be."""
    step = max(1, math.ceil(len(names) / LABELS))
    return [(short(middle_of(place, len(names))), names[place]) for place in range(0, len(names), step)]


@dataclass(frozen=True)
class Columns:
    """The columns of a chart: what a pointer is told of each, and what stands below it where there is room."""

    names: Sequence[str]
    below: Sequence[str]


def of_bands(frame: Frame, points: Sequence[Band | None], columns: Columns) -> dict[str, Any]:
    """A chart of medians with a band from low to high for each of the columns; None is a gap."""
    xs = [middle_of(place, len(points)) for place in range(len(points))]
    known = [(x, name, band) for x, name, band in zip(xs, columns.names, points, strict=True) if band]
    scale = Scale.of(frame, (band.high for _, _, band in known))
    return {
        **_around(frame, scale, [x for x, _, band in known if band.high > scale.top]),
        "shapes": [_shape(scale, [(short(xs[place]), band) for place, band in run]) for run in runs(points)],
        "labels": spaced(columns.below),
        "hits": [(short(x), f"{name}: {_told(band)}") for x, name, band in known],
        "hit": ROOM / len(points),
    }


def _shape(scale: Scale, run: list[tuple[str, Band]]) -> dict[str, Any]:
    """A stretch without a gap: a band and a line, or where it is one column only, a dot and a bar."""
    x, first = run[0]
    alone = len(run) == 1
    return {
        "band": _line([(x, scale.y(b.high)) for x, b in run] + [(x, scale.y(b.low)) for x, b in reversed(run)]),
        "line": _line([(x, scale.y(b.middle)) for x, b in run]),
        "dot": (x, short(scale.y(first.middle))) if alone else None,
        "bar": (short(scale.y(first.low)), short(scale.y(first.high))) if alone else None,
    }


def of_tests(frame: Frame, tests: Sequence[Test], labels: list[tuple[float, str]]) -> dict[str, Any]:
    """A chart of every single test; what failed has a cross on the floor. `labels` are shares of the axis and texts."""
    measured = [(LEFT + ROOM * test.share, test.value) for test in tests if test.value is not None]
    scale = Scale.of(frame, (value for _, value in measured))
    inside = [(x, value) for x, value in measured if value <= scale.top]
    columns: dict[int, list[Test]] = {}
    for test in tests:
        if test.value is not None or test.failed:
            columns.setdefault(min(COLUMNS - 1, int(test.share * COLUMNS)), []).append(test)
    return {
        **_around(frame, scale, [x for x, value in measured if value > scale.top]),
        "dots": _dots([(round(x), round(scale.y(value))) for x, value in inside]),
        "crosses": "".join(f"M{short(LEFT + ROOM * t.share - 3)} {FLOOR - 3}l6 6m0-6l-6 6" for t in tests if t.failed),
        "labels": [(short(LEFT + ROOM * share), text) for share, text in labels],
        "hits": [(short(middle_of(place, COLUMNS)), _column(found)) for place, found in sorted(columns.items())],
        "hit": ROOM / COLUMNS,
    }


def _around(frame: Frame, scale: Scale, above: list[float]) -> dict[str, Any]:
    """What every chart has: title, axis, contract, and marks where something lies above the axis."""
    return {
        "frame": frame,
        "shapes": [],
        "dots": "",
        "crosses": "",
        "ticks": scale.ticks(),
        "limit": None if frame.limit is None else (short(scale.y(frame.limit)), number(frame.limit)),
        "above": "".join(f"M{short(x - 3.5)} {TOP - 4}h7l-3.5-7z" for x in above),
        "highest": number(scale.highest) if above else None,
    }


def _dots(points: Iterable[tuple[int, int]]) -> str:
    """A path with a dot at each point, each told from the one before: there may be thousands."""
    moves, at = [], (0, 0)
    for x, y in points:
        moves.append(f"m{x - at[0]} {y - at[1]}h0")
        at = (x, y)
    return "".join(moves)


def _line(points: Iterable[tuple[str, float]]) -> str:
    return " ".join(f"{x},{short(y)}" for x, y in points)


def _told(band: Band) -> str:
    if band.tests == 1:
        return f"{number(band.middle)}, 1 test"
    return f"{number(band.middle)} ({number(band.low)} to {number(band.high)}), {band.tests:,} tests"


def _column(tests: list[Test]) -> str:
    """What the tests of a column say: each one, or where there are many, from where to where."""
    if len(tests) <= 3:
        return "; ".join(test.text for test in tests)
    values = [test.value for test in tests if test.value is not None]
    between = f", {number(min(values))} to {number(max(values))}" if values else ""
    failed = sum(test.failed for test in tests)
    return f"{tests[0].text.split(' ', 1)[0]} on: {len(tests)} tests{between}" + (
        f", {failed} failed" if failed else ""
    )


def round_step(about: float) -> float:
    """A step of an axis near a length: 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(about))
    return power * min((1, 2, 5, 10), key=lambda factor: abs(factor * power - about))


def runs(points: Sequence[Any]) -> list[list[tuple[int, Any]]]:
    """The stretches without a gap."""
    found: list[list[tuple[int, Any]]] = [[]]
    for place, point in enumerate(points):
        if point is None:
            found.append([])
        else:
            found[-1].append((place, point))
    return [run for run in found if run]


def stacked(parts: Sequence[Cover | None], columns: Columns) -> dict[str, Any]:
    """What became of the slots of each column, as bars that reach 100 %: a path for each outcome."""
    paths: dict[str, list[str]] = {}
    hits = []
    for place, cover in enumerate(parts):
        x, base = short(middle_of(place, len(parts))), float(FLOOR)
        shares = {name: share for name, share in (cover.shares() if cover else {}).items() if share}
        for name, share in shares.items():
            top = base - (FLOOR - TOP) * share / 100
            paths.setdefault(name, []).append(f"M{x} {short(base)}V{short(top)}")
            base = top
        if shares:
            hits.append(
                (x, f"{columns.names[place]}: " + ", ".join(f"{name} {number(s)} %" for name, s in shares.items()))
            )
    width = ROOM / max(1, len(parts))
    return {
        "paths": {name: "".join(found) for name, found in paths.items()},
        "bar": short(min(width * 0.86, 40)),
        "ticks": [(short(FLOOR - (FLOOR - TOP) * share / 100), str(share)) for share in (100, 50, 0)],
        "labels": spaced(columns.below),
        "hits": hits,
        "hit": width,
    }
