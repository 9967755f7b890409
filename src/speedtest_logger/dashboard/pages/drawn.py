"""Small drawings that need no JavaScript: coordinates for the templates' SVG, and what they say to whom sees none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from speedtest_logger.dashboard.pages.shown import OUTCOMES, mbit

WIDTH, HEIGHT, MARGIN = 240, 32, 2  # of a sparkline, in its own units
STEPS = 10  # of the map's colours


@dataclass(frozen=True)
class Spark:
    """A line of a day: pieces with gaps where nothing was measured; how far down the plan lies, if there is one."""

    path: str
    area: str
    plan: str | None
    words: str


def spark(speeds: Sequence[float | None], plan: float | None) -> Spark:
    """The drawing of speeds (bit/s), each in the middle of its part of the width."""
    known = [value for value in speeds if value is not None]
    top = max([*known, plan or 0, 1.0]) * 1.04

    def y(value: float) -> str:
        return f"{HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * value / top:.1f}"

    pieces = [
        [(f"{WIDTH * (place + 0.5) / len(speeds):.1f}", y(speeds[place] or 0)) for place in run] for run in runs(speeds)
    ]
    path = "".join(
        "M" + "L".join(f"{x} {down}" for x, down in each) + ("h.1" if len(each) == 1 else "") for each in pieces
    )
    area = "".join(
        f"M{each[0][0]} {HEIGHT}L" + "L".join(f"{x} {down}" for x, down in each) + f"L{each[-1][0]} {HEIGHT}Z"
        for each in pieces
        if len(each) > 1
    )
    words = f"from {mbit(min(known))} to {mbit(max(known))} Mbit/s" if known else "nothing was measured"
    return Spark(path, area, y(plan) if plan else None, words)


def runs(values: Sequence[float | None]) -> list[list[int]]:
    """The places of values, apart wherever one is missing."""
    found: list[list[int]] = []
    for place, value in enumerate(values):
        if value is None:
            continue
        if found and found[-1][-1] == place - 1:
            found[-1].append(place)
        else:
            found.append([place])
    return found


def tally(outcomes: Sequence[str | None]) -> str:
    """How many of each outcome there are, in words, worst last."""
    counts = Counter(outcomes)
    said = [f"{counts[name]} {words}" for name, words in OUTCOMES.items() if counts[name]]
    return ", ".join(said) or "no tests were due"


def bar(value: float | None, plan: float | None) -> str | None:
    """How much of the plan there is, as a width of at most 100; None where one of them is not known."""
    return None if value is None or not plan else f"{min(100.0, 100 * value / plan):.1f}"


def step(value: float | None, whole: float | None) -> int | None:
    """Which of the map's colours a value has: 0 for half of the whole and less, 9 for nearly all of it and more."""
    if value is None or not whole:
        return None
    return max(0, min(STEPS - 1, int(2 * STEPS * (value / whole - 0.5))))


FILTERS = {"spark": spark, "tally": tally, "bar": bar}
