"""What a probe found: which rows are results."""

from __future__ import annotations

from typing import Any

import pytest

from speedtest_logger.errors import RecordError
from speedtest_logger.probe_result import ProbeResult, validate

GOOD: dict[str, Any] = {
    "schema_version": 1, "started_at": "2026-03-01T10:00:00.000Z", "finished_at": "2026-03-01T10:05:00.000Z",
    "location": "garden", "probe": "ping", "target": "192.0.2.1", "ip_family": 4, "runs": 5, "left_out": 1,
    "sent": 25, "lost": 5, "min_ms": 1.0, "median_ms": 1.5, "p90_ms": 2.0, "max_ms": 9,
    "failed_from": "2026-03-01T10:01:00.000Z", "failed_until": "2026-03-01T10:02:00.000Z", "reason": "no_answer",
}  # fmt: skip


def test_a_result_comes_back_as_it_went():
    assert validate(validate(GOOD).to_row()) == ProbeResult(**GOOD)


def test_what_was_not_measured_may_be_missing():
    left = {name: GOOD[name] for name in GOOD if not name.endswith("_ms")}
    assert validate({**left, "lost": 25}).median_ms is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"schema_version": 2}, "schema_version"),
        ({"node": "porch"}, "unknown_column"),
        ({"target": ""}, "missing_column"),
        ({"location": "../garden"}, "bad_id"),
        ({"probe": "Ping"}, "bad_probe"),
        ({"target": "a\nb"}, "bad_target"),
        ({"target": "a" * 256}, "bad_target"),
        ({"reason": "server_busy"}, "bad_reason"),
        ({"finished_at": "2026-03-01T09:59:59.999Z"}, "bad_time"),
        ({"failed_until": None}, "bad_time"),
        ({"failed_until": "2026-03-01T10:00:00.000Z"}, "bad_time"),
        ({"lost": 26}, "bad_number"),
        ({"sent": True}, "bad_number"),
        ({"runs": -1}, "bad_number"),
        ({"ip_family": 5}, "bad_number"),
        ({"min_ms": None}, "bad_number"),
        ({"min_ms": 1.6}, "bad_number"),
        ({"max_ms": float("nan")}, "bad_number"),
        ({"path": "a" * 1001}, "bad_text"),
    ],
)
def test_what_is_no_result_is_refused(change: dict[str, Any], reason: str):
    with pytest.raises(RecordError) as error:
        validate({**GOOD, **change})
    assert error.value.reason == reason
