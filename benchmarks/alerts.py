"""Alerts: whether they are true, beside a plain threshold, and what a minute's evaluation costs.

usage: python benchmarks/alerts.py [PART ...]   (default all: truth cost)

Truth: a generated year with planted faults. Cost: 1,000 nodes with a month of five-minute tests, made in a temporary
folder ($BENCHMARK_DIR) within some minutes. Exits 1 where a goal is missed.
"""

from __future__ import annotations

import sys

import alerts_cost
import alerts_truth
from dashboard_fleet import Goals

PARTS = {"truth": alerts_truth.truth, "cost": alerts_cost.cost}


def main() -> int:
    """Print every part's figures, and which goals hold."""
    chosen = sys.argv[1:] or PARTS
    assert set(chosen) <= set(PARTS), f"parts are {', '.join(PARTS)}"
    goals = Goals()
    for name in chosen:
        PARTS[name](goals)
    return 1 if goals.missed else 0


if __name__ == "__main__":
    sys.exit(main())
