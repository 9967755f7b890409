"""What preflight refuses of the dashboard: one that is not where the archive is; and whom it takes."""

from __future__ import annotations

from datetime import date

import pytest
from builders import ROOT
from everything import ADA, KEY, SHARE, A, D, problems

from speedtest_logger.inventory import check
from speedtest_logger.inventory.found import Inventory


@pytest.mark.parametrize(
    "values",
    [
        {D + "bind": "192.0.2.10", D + "users": [ADA, {**ADA, "name": "bob@example.org"}]},
        {D + "bind": "127.0.0.2"},
        {D + "runtime": "compose"},
        {D + "bind": "::1"},
        {D + "keys": [KEY, {**KEY, "name": "b", "id": "bcdefghi", "sha256": "1" * 64, "expires": date(2027, 1, 31)}]},
        {D + "shares": [SHARE, {**SHARE, "sha256": "1" * 64}]},
        {D + "cors_origins": ["https://example.org", "http://192.0.2.1:3000"], D + "title": "Häuser & Leitungen"},
        {D + "state": "absent", A + "state": "absent"},
    ],
)
def test_a_dashboard_for_whom_it_is_meant_is_well(values):
    assert problems(**values) == []


def test_a_dashboard_is_where_the_archive_is():
    groups = {"speedtest_nodes": ["a"], "speedtest_archive": ["a"], "speedtest_dashboard": ["a", "b"]}
    (found,) = check.problems(Inventory({"a": {}, "b": {}}, groups, checkout=ROOT))
    assert found.startswith("group speedtest_dashboard: seen b; the dashboard reads the archive's files")
    assert check.problems(Inventory({"a": {}, "b": {}}, {**groups, "speedtest_dashboard": ["a"]}, checkout=ROOT)) == []
