"""Whatever a file holds, an import takes valid records, refuses the rest by name, and neither crashes nor grows."""

from __future__ import annotations

import csv
import io
import json

import pytest
from builders import FIXTURES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tries import tries

from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.write.importing import catalogue, run
from speedtest_logger.errors import UsageError
from speedtest_logger.record import COLUMNS, utc_text, validate

NAMES = sorted(
    {
        *COLUMNS,
        *(name for form in catalogue.FORMATS for name in (*form.columns, *form.base, *form.marks)),
        *("type", "server", "client", "ping", "timestamp", "created_at", "date", "time", "status", "sponsor"),
        *("speedtest_address", "client_ip", "download_bandwidth", "service", "data", "result", "distance"),
    }
)
ODD_NUMBERS = ("1e400", "-1", "NaN", "Infinity", "1_000", "94,3", "9" * 400)
ODD_TIMES = ("2026-01-31T12:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "1970-01-01", "12:00")
ODD_WORDS = ("result", "log", "completed", "failed", "\0", "=")
TEXTS = st.one_of(st.text(max_size=40), st.sampled_from([*ODD_NUMBERS, *ODD_TIMES, *ODD_WORDS]))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(NAMES), inner, max_size=4)),
    max_leaves=8,
)
ROWS = st.lists(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=12), min_size=1, max_size=4)
RECORDED = [
    file.read_bytes()
    for file in sorted(FIXTURES.iterdir())
    if file.name.startswith(("ookla", "speedtest-cli", "librespeed", "iperf3"))
]
BUDGET = settings(max_examples=tries(100), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def bring(tmp_path):
    """Import a file's bytes as a rehearsal; returns the records, all of them valid, and what was counted."""
    layout = Layout(tmp_path / "archive")
    layout.prepare()

    def bring_it(name: str, content: bytes) -> None:
        file = tmp_path / name
        file.write_bytes(content)
        before = sorted(layout.root.rglob("*"))
        outcome = run.Imported()
        for _, table in run.tables(file, run.Source("attic", "home"), outcome):
            for row in table.drop_columns(["day"]).to_pylist():
                assert validate({name: written(value) for name, value in row.items()}).node
        assert len(outcome.problems) <= 20
        run.run(layout, [file], run.Source("attic"), dry_run=True)
        assert sorted(layout.root.rglob("*")) == before

    return bring_it


def written(value):
    """A value as records have it."""
    return utc_text(value.timestamp()) if hasattr(value, "timestamp") else value


@BUDGET
@given(st.binary(max_size=2000), st.sampled_from([".csv", ".log"]))
def test_bytes(bring, content, suffix):
    bring("anything" + suffix, content)


@BUDGET
@given(ROWS)
def test_json_of_any_shape(bring, rows):
    bring("rows.json", json.dumps(rows).encode())
    bring("rows.jsonl", "\n".join(map(json.dumps, rows)).encode())


@BUDGET
@given(st.lists(st.sampled_from(NAMES), min_size=1, max_size=15, unique=True), st.data())
def test_csv_of_any_columns(bring, names, data):
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(names)
    for _ in range(data.draw(st.integers(1, 3))):
        writer.writerow([data.draw(TEXTS) for _ in names])
    bring("rows.csv", text.getvalue().encode(errors="surrogatepass"))


@BUDGET
@given(st.sampled_from(RECORDED), st.integers(0, 10_000), st.binary(max_size=12), st.integers(0, 60))
def test_recorded_output_with_a_piece_replaced(bring, content, place, piece, length):
    place %= len(content) or 1
    bring("spoiled.json", content[:place] + piece + content[place + length :])


def test_a_node_that_is_not_named_is_asked_for(tmp_path):
    file = tmp_path / "rows.json"
    file.write_bytes((FIXTURES / "ookla-1.2.0-ok.json").read_bytes())
    with pytest.raises(UsageError, match="--node NAME"):
        list(run.tables(file, run.Source(None), run.Imported()))
