"""How much of what has no end is tried.

The gate takes few examples of a property, and the same ones everywhere, and some of the points, kinds and screens that
a proof walks through; `make exhaustive` tries ten times as many examples, others each time, and walks through all.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

FACTOR = int(os.environ.get("SPEEDTEST_TRIES") or 1)
Thing = TypeVar("Thing")
USUAL = 40  # of a property that says nothing of it


def tries(count: int) -> int:
    """How many examples there are in this run, of a property that has so many in the gate."""
    return count * FACTOR


def some(things: Sequence[Thing], every: int) -> list[Thing]:
    """What is walked through in this run: each so-manyth in the gate, beginning with the first, else all."""
    return list(things[:: every if FACTOR == 1 else 1])


def load_profile() -> None:
    """A machine under load must not fail what another one passes."""
    hypothesis_settings.register_profile(
        "steady",
        max_examples=tries(USUAL),
        deadline=None,
        derandomize=FACTOR == 1,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    hypothesis_settings.load_profile("steady")
