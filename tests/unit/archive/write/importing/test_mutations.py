"""Whatever happens to a file: a row is right, or refused and named; never a failed test, never another value."""

from __future__ import annotations

import csv
import io
import json
from datetime import datetime

import pytest
from cases import CASES, WHOLE, path, rows_of, whole_of
from hypothesis import given
from hypothesis import strategies as st

from speedtest_logger.archive.write.importing import columns, run
from speedtest_logger.archive.write.importing.catalogue import BY_NAME
from speedtest_logger.archive.write.importing.formats import Header
from speedtest_logger.archive.write.importing.reading import Rows

TABLES = [name for name in CASES if name.endswith(".csv") and "headerless" not in name]
OBJECTS = [name for name in CASES if name.endswith(".json")]
NUMBERS = ("download_bps", "upload_bps", "latency_ms", "jitter_ms", "packet_loss_pct", "bytes_received", "bytes_sent")
OTHER_UNITS = (
    ("Download bandwidth", "Upload bandwidth"), ("download_bits", "upload_bits"),
    ("download (bytes)", "upload (bytes)"),
    ("Download Mbps", "Upload Mbps"), ("dl", "ul"), ("DownloadValue", "UploadValue"), ("download_bps", "upload_bps"),
)  # fmt: skip
LINES = (
    "Tue Oct  6 03:00:01 UTC 2026", "bash: speedtest: command not found", "[error] Timeout occurred in connect.",
    '{"type":"log","timestamp":"2026-10-06T03:00:01Z","message":"Selecting server","level":"info"}',
    '{"level":"info","msg":"started","time":"2026-10-06T03:00:01Z"}',
    "ERROR: Unable to connect to servers", ",,,,,,0,0,,",
    "Retrieving speedtest.net configuration...", '{"download": 1250', '"', "1;2;3;4", "a,b,c,d,e,f,g,h",
)  # fmt: skip


def seconds(row):
    return datetime.fromisoformat(row["started_at"]).timestamp()


def check(name, content, tmp_path, added=()):
    """No row says what the whole file does not say of the same test; where fewer are there, that is told."""
    whole = whole_of(name)
    file = tmp_path / f"changed-{name}"
    file.write_text(content)
    rows, told = rows_of(file)
    for row in rows:
        if row["started_at"] in added:
            continue
        same = min(whole, key=lambda one: abs(seconds(one) - seconds(row)))
        assert abs(seconds(same) - seconds(row)) <= 60, (row, content)
        assert (row["status"] == "failed") == (same["status"] == "failed"), (row, content)
        for column in NUMBERS:
            assert row[column] in (None, same[column]), (column, row, content)
    counted = len(rows) + told.refused + sum(told.passed_over.values())
    assert counted >= len(whole) or not told.formats, (
        told,
        content,
    )  # then the command says that nothing was recognised
    assert not told.refused or told.problems
    return rows


def as_csv(rows):
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def table(name):
    with path(name).open(newline="") as stream:
        return list(csv.reader(stream))


@pytest.mark.parametrize("name", TABLES)
def test_a_column_is_missing_or_has_another_name(name, tmp_path):
    header, *rows = table(name)
    for place in range(len(header)):
        check(name, as_csv([line[:place] + line[place + 1 :] for line in (header, *rows)]), tmp_path)
        check(name, as_csv([[*header[:place], f"{header[place]} (old)", *header[place + 1 :]], *rows]), tmp_path)


@pytest.mark.parametrize("name", TABLES)
def test_columns_in_another_order_give_the_same(name, tmp_path):
    header, *rows = table(name)
    whole = whole_of(name)
    for turn in range(1, len(header), 4):
        turned = [line[turn:] + line[:turn] for line in (header, *rows)]
        assert check(name, as_csv(turned), tmp_path) == whole
    assert check(name, as_csv([line[::-1] for line in (header, *rows)]), tmp_path) == whole


@pytest.mark.parametrize("name", TABLES)
def test_speeds_under_the_names_of_other_units(name, tmp_path):
    header, *rows = table(name)
    form = BY_NAME[CASES[name][0]]
    speeds = {plain: form.path(plain)[0].split(".")[0] for plain in form.columns if form.path(plain)[0] in
              ("download", "upload", "download.bandwidth", "upload.bandwidth")}  # fmt: skip
    own = [speeds.get(Header((column,)).names[0]) for column in header]
    assert sorted(filter(None, own)) == ["download", "upload"]
    for down, up in OTHER_UNITS:
        names = [{"download": down, "upload": up}.get(kind, column) for kind, column in zip(own, header, strict=True)]
        if Header(tuple(names)).names != Header(tuple(header)).names:
            assert all(row["status"] == "failed" for row in check(name, as_csv([names, *rows]), tmp_path))


@pytest.mark.parametrize("name", CASES)
def test_a_line_is_cut_or_another_programs_line_is_between(name, tmp_path):
    lines = path(name).read_text().splitlines(keepends=True)
    for number, line in enumerate(lines[:8]):
        for end in range(1, len(line) - 1, max(1, len(line) // 5)):
            check(name, "".join([*lines[:number], line[:end] + "\n", *lines[number + 1 :]]), tmp_path)
    for number in {0, 1, len(lines)}:
        for other in LINES:
            check(name, "".join([*lines[:number], other + "\n", *lines[number:]]), tmp_path)


@pytest.mark.parametrize("name", CASES)
def test_rows_of_another_format_are_between(name, tmp_path):
    lines = path(name).read_text().splitlines(keepends=True)
    lines[-1] = lines[-1].rstrip("\r\n") + "\n"
    for other in ("speedtest-cli.json", "ookla.json", "speedtest-cli.csv", "librespeed-cli-headerless.log"):
        added = {row["started_at"] for row in whole_of(other)}
        text = path(other).read_text()
        for number in (0, len(lines) // 2, len(lines)):
            check(name, "".join([*lines[:number], text, *lines[number:]]), tmp_path, added)


def without(content, name):
    """A copy of nested objects without one name, or with it changed, for each of them."""
    if isinstance(content, list):
        for place, each in enumerate(content):
            for changed in without(each, name):
                yield [*content[:place], changed, *content[place + 1 :]]
    if isinstance(content, dict):
        for key, value in content.items():
            rest = {other: its for other, its in content.items() if other != key}
            yield rest
            yield {**rest, name: value}
            for changed in without(value, name):
                yield {**content, key: changed}


@pytest.mark.parametrize("name", [name for name in OBJECTS if not name.startswith("iperf3")])
def test_a_name_in_json_is_missing_or_another(name, tmp_path):
    for changed in without(json.loads(path(name).read_text()), "renamed"):
        check(name, json.dumps(changed), tmp_path)


@pytest.mark.parametrize("name", [name for name in OBJECTS if name.startswith("iperf3")])
def test_a_part_of_iperf3s_json_is_missing(name, tmp_path):
    content = json.loads(path(name).read_text())
    for section in ("start", "end"):
        for key in content[section]:
            part = {other: its for other, its in content[section].items() if other != key}
            check(name, json.dumps({**content, section: part}), tmp_path)


ODD = ("", "0", "9.8", "1e3", "94,3", "N/A", "-1", "12.5 ms", "1" * 18, "99999999", "0.001", "completed", "Failed")
CELLS = st.one_of(st.sampled_from(ODD), st.text(max_size=6), st.decimals(0, 10**9, places=3).map(str))
TIMES = st.sampled_from(
    [
        "2026-10-10T03:10:25.213527Z",
        "2026-10-10 03:10:25",
        "2026-02-30 03:10:25",
        "1969-01-01 00:00:00",
        "2026-10-10T03:10:25+02:00",
        "2026-10-10 03:10:25.5",
        "2026-10-10T03:10:25.0005Z",
        "x",
        "",
    ]
)


@given(st.data())
def test_many_rows_at_once_give_what_one_by_one_gives(data):
    """The conversion by column takes no row that is not the same by the row."""
    name = data.draw(st.sampled_from([name for name in TABLES if not BY_NAME[CASES[name][0]].prepare]))
    form = BY_NAME[CASES[name][0]]
    header, *originals = table(name)
    plain = Header(tuple(header))
    rows = []
    for _ in range(data.draw(st.integers(1, 4))):
        row = list(data.draw(st.sampled_from(originals)))
        for place in data.draw(st.lists(st.integers(0, len(row) - 1), max_size=3)):
            time = plain.names[place] in ("timestamp", "created_at", "created")
            row[place] = data.draw(TIMES if time else CELLS)
        rows.append(row)
    together = Rows(plain, rows, list(range(len(rows))))
    table_of, left = columns.convert(together, form, path(name), WHOLE)
    taken = [place for place in range(len(rows)) if place not in left]
    assert (table_of.num_rows if table_of else 0) == len(taken)
    slowly = [run._one(together, place, form, path(name), WHOLE, run.Imported()) for place in taken]
    assert None not in slowly
    assert run.json_lines.to_table(slowly).equals(table_of) if taken else table_of is None
