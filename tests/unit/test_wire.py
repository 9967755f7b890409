"""Lines up: what is packed into some comes out of them again, and none is too long."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from speedtest_logger import wire


@given(st.lists(st.tuples(st.integers(0, 2**53), st.text(max_size=wire.MOST_LOG_TEXT // 12)), max_size=60))
def test_lines_of_a_log(lines: list[tuple[int, str]]):
    carried = wire.log_lines("a-1", lines).splitlines(keepends=True)
    assert all(len(line) <= wire.MOST_LOG_LINE and line.endswith(b"\n") for line in carried)
    assert [tuple(line) for each in carried for line in json.loads(each)["log"]["lines"]] == lines


@given(st.lists(st.fixed_dictionaries({"target": st.text(max_size=255), "median_ms": st.none() | st.floats(0, 9)})))
def test_results_of_probes(results: list[dict[str, object]]):
    carried = wire.probe_lines(results * 9).splitlines(keepends=True)
    assert all(len(line) <= wire.MOST_PROBES_LINE and line.endswith(b"\n") for line in carried)
    kept = [{name: value for name, value in row.items() if value is not None} for row in results * 9]
    assert [row for each in carried for row in json.loads(each)["probes"]] == kept


def test_a_receipt_says_what_need_not_come_again():
    receipt = wire.Receipt("R", "porch", knows=list(wire.KNOWN), log=True, probes=True)
    assert wire.Receipt.of(receipt.to_row()) == receipt
    assert not wire.Receipt.of({"receipt": "R", "node": "porch"}).probes
