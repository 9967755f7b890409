"""Properties of the archive: what comes in is there once, in order, in its month, whoever reads meanwhile."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import time
from datetime import datetime, timezone

import pyarrow.parquet as pq
import pytest
from builders import ROOT, fresh, put_in_inbox, row
from hypothesis import given
from hypothesis import strategies as st

from speedtest_logger.archive import cli, open_archive
from speedtest_logger.archive.arrive.delivery import as_line
from speedtest_logger.archive.format import json_lines, month
from speedtest_logger.archive.format.layout import Layout, month_of
from speedtest_logger.archive.read import render
from speedtest_logger.archive.write import ingest
from speedtest_logger.errors import RecordError
from speedtest_logger.record import COLUMNS, utc_text, validate

EDGES = [
    datetime(*day, tzinfo=timezone.utc).timestamp()
    for day in ((2024, 2, 29), (2024, 3, 1), (2025, 12, 31), (2026, 1, 1), (2026, 2, 28), (2026, 3, 1))
]
MOMENTS = st.builds(lambda edge, ms: edge + ms / 1000, st.sampled_from(EDGES), st.integers(-3000, 3000))


@given(batches=st.lists(st.lists(st.tuples(MOMENTS, st.integers(0, 12)), max_size=8), min_size=1, max_size=4))
def test_each_run_is_there_once_in_order_and_in_its_month(tmp_path_factory, batches):
    layout = fresh(tmp_path_factory)
    first: dict[str, dict] = {}
    for batch in batches:
        rows = [row(EDGES[run % len(EDGES)] + moment % 1, run) for moment, run in batch]
        for each in rows:
            first.setdefault(each["run_id"], each)
        put_in_inbox(layout, rows)
        ingest.ingest(layout)
    seen = []
    for file in layout.month_files():
        found = pq.ParquetFile(file).read().to_pylist()
        keys = [(each["started_at"], each["node"], each["run_id"]) for each in found]
        assert keys == sorted(keys)
        _, year, month = month_of(layout.name(file))
        assert {(each["started_at"].year, each["started_at"].month) for each in found} == {(year, month)}
        assert all(each["day"] == each["started_at"].date() for each in found)
        seen += [(each["run_id"], utc_text(each["started_at"].timestamp())) for each in found]
    assert sorted(seen) == sorted((run, each["started_at"]) for run, each in first.items())


@given(groups=st.lists(st.lists(MOMENTS, min_size=1, max_size=30), min_size=1, max_size=4))
def test_a_month_that_is_larger_than_memory_is_merged_piece_by_piece(tmp_path_factory, groups):
    layout, old = fresh(tmp_path_factory), month.ROW_GROUP
    month.ROW_GROUP = 4
    try:
        for moments in groups:
            put_in_inbox(layout, [row(moment) for moment in moments])
            ingest.ingest(layout)
        for file in layout.month_files():
            source = pq.ParquetFile(file)
            started = source.read()["started_at"].to_pylist()
            assert started == sorted(started)
            sizes = [source.metadata.row_group(n).num_rows for n in range(source.num_row_groups)]
            assert sizes[:-1] == [4] * (len(sizes) - 1)
    finally:
        month.ROW_GROUP = old
    assert sum(pq.ParquetFile(file).metadata.num_rows for file in layout.month_files()) == sum(map(len, groups))


ODD = [
    "",
    "ok",
    "x" * 1001,
    "failed",
    "paused",
    "home",
    "UP",
    "123",
    "a\0b",
    "0" * 64,
    "[]",
    "2026-02-30T00:00:00.000Z",
]
ODD += [
    "\uff12\uff10\uff12\uff16-01-01T00:00:00.000Z",
    "1969-12-31T23:59:59.000Z",
    "2026-01-01 00:00:00",
    "2026-01-01T00:00:00.000Z\n",
    "2026-01-01T00:00:00.000Z",
]
NUMBERS = st.one_of(st.integers(-10, 2**60), st.floats())
VALUES = st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=12), st.sampled_from(ODD), st.just([1]))


def test_judged_lines_are_read_and_not_judged_again():
    line = as_line(row(EDGES[0], status="odd"))
    assert json_lines.read_lines(line, "attic") is None
    assert json_lines.read_lines(line, "attic", judged=True).num_rows == 1
    assert json_lines.read_lines(line, "porch", judged=True) is None
    assert json_lines.read_lines(line.replace(b'"node"', b'"mode"'), "attic", judged=True) is None


@given(changes=st.dictionaries(st.sampled_from([*COLUMNS, "unknown"]), VALUES, max_size=3))
def test_a_file_that_is_believed_at_once_would_pass_line_by_line(changes):
    changed = {**row(EDGES[0]), **changes}
    line = json.dumps(changed).encode() + b"\n"
    table = json_lines.read_lines(line, "attic")
    try:
        record = validate(json.loads(line)) if json.loads(line)["node"] == "attic" else None
    except (RecordError, KeyError):
        record = None
    if table is not None:
        assert record is not None, changes
        assert table.equals(json_lines.to_table([record.to_row()]))


@given(
    texts=st.lists(st.tuples(st.text(max_size=30), st.floats(0, 2**52), st.integers(0, 2**52)), min_size=1, max_size=5)
)
def test_a_delivery_is_read_as_its_rows_are(tmp_path_factory, texts):
    folder = tmp_path_factory.mktemp("location=elsewhere")  # which is no column
    rows = [
        row(EDGES[0], server_name=text.replace("\0", ""), jitter_ms=number, bytes_sent=whole)
        for text, number, whole in texts
    ]
    (folder / "[1]*.jsonl").write_bytes(b"".join(map(as_line, rows)))
    expected = json_lines.to_table([validate(each).to_row() for each in rows])
    assert json_lines.read_deliveries([folder / "[1]*.jsonl"], len(rows), "attic").equals(expected)


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (lambda good: good[:-9] + b"\n", 1),
        (lambda good: good.replace(b'"schema_version":1', b'"schema_version":2'), 1),
        (lambda good: good.replace(b"attic", b"porch"), 1),
        (lambda good: good + b"\n", 2),
        (lambda good: good.replace(b"00:00:00.000Z", b"noon"), 1),
    ],
    ids=["torn", "later version", "other node", "fewer rows than lines", "no time"],
)
def test_a_delivery_that_is_another_than_expected_is_not_believed(tmp_path, content, rows):
    file = tmp_path / "delivery.jsonl"
    file.write_bytes(content(as_line(row(EDGES[0]))))
    assert json_lines.read_deliveries([file], rows, "attic") is None
    assert json_lines.read_deliveries([tmp_path / "gone.jsonl"], 1, "attic") is None


@pytest.mark.parametrize("line", [b"", b"\n", b"{}", b"[]", b"null", b'{"a":1}{"b":2}', b"\xff", b"{" * 5000, b"\0"])
def test_what_is_no_line_is_never_believed(line):
    good = json.dumps(row(EDGES[0])).encode() + b"\n"
    assert json_lines.read_lines(good + line + b"\n" + good, "attic") is None
    assert json_lines.read_lines(good, "porch") is None


@given(data=st.data())
def test_bytes_that_flipped_block_nothing_and_lose_nothing(tmp_path_factory, data):
    layout = fresh(tmp_path_factory)
    put_in_inbox(layout, [row(EDGES[0], run) for run in range(3)])
    file = next(layout.inbox.glob("attic/*"))
    content = bytearray(file.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    torn = data.draw(st.booleans())
    file.write_bytes(content[: len(content) // 2] if torn else content)
    put_in_inbox(layout, [row(EDGES[1], 77)])
    outcome = ingest.ingest(layout)
    assert not list(layout.inbox.glob("*/*"))
    kept = sum(
        json.loads(entry)["line"] != "" for f in layout.quarantine.glob("*/*") for entry in f.read_text().splitlines()
    )
    assert kept == outcome.quarantined
    assert outcome.added >= 1
    if not torn:
        assert outcome.added + outcome.duplicates + outcome.quarantined >= 4


HOSTILE = ['=HYPERLINK("http://example.org")', "+1+1", "-2+3", "@SUM(A1)", "<script>alert(1)</script>", "NULL", "nan"]
HOSTILE += ["'); DROP TABLE records; --", "../../../etc/passwd", "\x1b[2J\x1b]0;owned\x07", "\u202egnp.exe"]
HOSTILE += ['a\r\nb,c"d', "{{ 7*7 }}", "\u2028", "\U0001d54f" * 500]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_are_data_wherever_they_go(tmp_path, capsys, text):
    layout = Layout(tmp_path)
    layout.prepare()
    names = [name for name, kind in COLUMNS.items() if kind == "text"]
    put_in_inbox(layout, [row(EDGES[0], 1, **dict.fromkeys(names, text))])
    assert ingest.ingest(layout).added == 1
    archive = open_archive(tmp_path)
    stored = archive.to_arrow().to_pylist()[0]
    assert all(stored[name] == text for name in names)
    assert archive.to_pandas()["server_name"].tolist() == [text]
    found = archive.query("SELECT count(*) AS n FROM records WHERE isp = '" + text.replace("'", "''") + "'")
    assert found.to_pylist() == [{"n": 1}]
    for form in ("table", "csv", "json", "jsonl"):
        assert (
            cli.main(["--root", str(tmp_path), "query", "SELECT server_name, isp FROM records", "--format", form]) == 0
        )
        printed = capsys.readouterr().out
        if form != "csv":
            assert not set(printed) & {"\x1b", "\x07", "\u202e", "\u2028"}
        else:
            value = next(csv.DictReader(io.StringIO(printed, newline="")))["server_name"]
            assert not value.startswith(("=", "+", "-", "@"))
            clean = text.translate(dict.fromkeys((0x1B, 0x07), "\N{REPLACEMENT CHARACTER}"))  # `cat` must not run it
            assert value.removeprefix("'") == clean or value == clean


def test_csv_on_a_terminal_moves_no_cursor():
    assert render.for_terminal("a\x1b[2J,b\r\n\u202ex\r\n".encode()) == b"a?[2J,b\r\n?x\r\n"


READER = """
import sys, time
import pandas as pd
from speedtest_logger.archive import open_archive
folder, end, last, rounds = sys.argv[1], time.time() + float(sys.argv[2]), 0, 0
while time.time() < end or rounds < 4:
    frame = pd.read_parquet(folder + "/archive", columns=["run_id", "started_at", "location"])
    assert frame["run_id"].is_unique, "a row twice"
    assert len(frame) >= last, f"{len(frame)} rows after {last}"
    last = len(frame)
    rows = open_archive(folder, fresh=True).query("SELECT count(*) AS n, count(DISTINCT run_id) AS d FROM records")
    n, d = rows.to_pylist()[0].values()
    assert n == d and n >= last, (n, d, last)
    rounds += 1
print(rounds, last)
"""


def test_a_reader_never_sees_an_error_a_partial_month_or_a_row_twice(tmp_path):
    layout = Layout(tmp_path)
    layout.prepare()
    put_in_inbox(layout, [row(EDGES[0] + n, location=place) for place in ("home", "garden") for n in range(500)])
    ingest.ingest(layout)
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, str(tmp_path), "6"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={"PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    written = 1000
    while reader.poll() is None and written < 100_000:
        moment = EDGES[0] + 1000 + written
        put_in_inbox(layout, [row(moment, location="home"), row(moment, location="garden")])
        written += ingest.ingest(layout).added
        time.sleep(0.005)
    said, problem = reader.communicate(timeout=600)
    assert reader.returncode == 0, problem
    rounds, last = map(int, said.split())
    assert rounds > 3
    assert 1000 < last <= written
