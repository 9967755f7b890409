"""The rules on a generated time with planted faults: all above their limits are found, and seldom anything else."""

from __future__ import annotations

from benchmarks.alerts_planted import DAY
from benchmarks.alerts_truth import FALSE_LIMIT, scores
from speedtest_logger.alerts.replay import MONTH

DAYS = 24


def test_planted_faults_are_found_and_seldom_anything_else():
    ours, plain, count = scores(DAYS)
    months = count * DAYS * DAY / MONTH
    expected = {"below_plan", "line_down", "silent_node", "failing_engine", "coverage_low", "unstable"}
    assert set(ours.planted) > expected
    assert ours.missed == []
    assert ours.rate(months) <= FALSE_LIMIT
    assert plain.rate(months) > 100 * ours.rate(months)
