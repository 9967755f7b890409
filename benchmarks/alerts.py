"""Alerts: whether they are true, beside a plain threshold, and what a minute's evaluation costs.

Truth: a generated year with planted faults. Cost: 1,000 nodes with a month of five-minute tests, made in a temporary
folder ($BENCHMARK_DIR) within some minutes. Exits 1 where a goal is missed.
"""

from __future__ import annotations

import argparse
import sys

import alerts_cost
import alerts_truth
from alerts_planted import SEED
from dashboard_fleet import Goals

PARTS = ("truth", "cost")


def main() -> int:
    """Print every part's figures, and which goals hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help="truth or cost; default both")
    parser.add_argument("--seed", type=int, default=SEED, help="of the generated year; default %(default)s")
    args = parser.parse_args()
    assert set(args.parts) <= set(PARTS), f"parts are {', '.join(PARTS)}"
    chosen = args.parts or PARTS
    goals = Goals()
    if "truth" in chosen:
        alerts_truth.truth(goals, args.seed)
    if "cost" in chosen:
        alerts_cost.cost(goals)
    return 1 if goals.missed else 0


if __name__ == "__main__":
    sys.exit(main())
