"""How many examples a property is tried with.

The gate tries few, and the same ones everywhere; `make properties` tries ten times as many, and others each time.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

FACTOR = int(os.environ.get("SPEEDTEST_TRIES") or 1)
USUAL = 40  # of a property that says nothing of it


def tries(count: int) -> int:
    """How many examples there are in this run, of a property that has so many in the gate."""
    return count * FACTOR


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
