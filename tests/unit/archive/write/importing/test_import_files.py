"""Whatever a file is called, packed, encoded and separated by: it is taken rightly, or refused with the cause."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import zipfile

import pyarrow as pa
import pytest
from cases import CASES, WHOLE, path, rows_of, whole_of

from speedtest_logger.archive.write.importing import reading, run
from speedtest_logger.errors import UsageError


def zstd(content):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


FORMS = {
    "as it is": lambda content: content,
    "gz": gzip.compress,
    "two gz, one behind the other": lambda content: gzip.compress(content[:100]) + gzip.compress(content[100:]),
    "zstd": zstd,
    "byte order mark": lambda content: b"\xef\xbb\xbf" + content,
    "UTF-16 with mark": lambda content: content.decode().encode("utf-16"),
    "UTF-16, big end first, with mark": lambda content: b"\xfe\xff" + content.decode().encode("utf-16-be"),
    "UTF-16, little end first": lambda content: content.decode().encode("utf-16-le"),
    "UTF-16, big end first": lambda content: content.decode().encode("utf-16-be"),
    "ends of lines of Windows": lambda content: content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"),
    "UTF-16 in gz": lambda content: gzip.compress(content.decode().encode("utf-16")),
}
NAMES = ("old.CSV", "speedtest.log", "old.json", "results.txt", "results.csv.gz")


@pytest.mark.parametrize("form", FORMS)
def test_every_fixture_is_the_same_in_every_form_under_any_name(form, tmp_path):
    for number, name in enumerate(CASES):
        file = tmp_path / NAMES[number % len(NAMES)]
        file.write_bytes(FORMS[form](path(name).read_bytes()))
        assert rows_of(file)[0] == whole_of(name), name
        assert run.find([tmp_path]) == [file]
        file.unlink()


TABLES = [name for name in CASES if name.endswith(".csv") and "headerless" not in name]


@pytest.mark.parametrize("delimiter", [";", "\t", "|", "^"])
@pytest.mark.parametrize("name", TABLES)
def test_any_delimiter(name, delimiter, tmp_path):
    rows = list(csv.reader(io.StringIO(path(name).read_text())))
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows(rows)
    file = tmp_path / "rows.txt"
    file.write_text(text.getvalue())
    assert rows_of(file)[0] == whole_of(name)


@pytest.mark.parametrize("name", sorted(name for name in CASES if "headerless" in name))
@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_any_delimiter_without_a_header(name, delimiter, tmp_path):
    content = path(name).read_text()
    own = next(sign for sign in "\t;," if sign in content)
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows(csv.reader(io.StringIO(content), delimiter=own))
    file = tmp_path / "rows.txt"
    file.write_text(text.getvalue())
    assert rows_of(file)[0] == whole_of(name)


@pytest.mark.parametrize(
    ("ping", "outcome"),
    [("12,5", 12.5), ("12,50", 12.5), ("0,125", 0.125), ("1234,567", 1234.567), ("19,083", "19.083 or 19083"),
     ("1.234,5", "a number such as 94.3"), ("1_000", "a number such as 94.3"), ("12.5 ms", "a number such as 94.3"),
     ("-1", "a number such as 94.3"), ("", None), ("N/A", None)],
)  # fmt: skip
def test_numbers_as_people_write_them(ping, outcome, tmp_path):
    header, row = path("speedtest-cli.csv").read_text().splitlines()
    file = tmp_path / "rows.csv"
    file.write_text(f"{header}\n{row}\n".replace(",", ";").replace(";12.5;", f";{ping};"))
    rows, told = rows_of(file)
    if isinstance(outcome, str):
        assert (rows, told.refused) == ([], 1)
        assert outcome in told.problems[0]
    else:
        assert [row["latency_ms"] for row in rows] == [outcome]


def test_one_row_that_is_not_utf_8_costs_itself(tmp_path):
    header, row = path("speedtest-cli.csv").read_text().splitlines()
    file = tmp_path / "rows.csv"
    foreign = row.replace("Berlin", "S\xe3o Paulo").encode("latin-1")
    file.write_bytes(b"\n".join([header.encode(), foreign, row.encode(), row.replace("Berlin", "Köln").encode(), b""]))
    rows, told = rows_of(file)
    assert told.refused == 1
    assert "row 2: it is not UTF-8" in told.problems[0]
    assert [row["server_name"] for row in rows] == ["Berlin", "Köln"]


def zipped(content):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("a.csv", content)
    return file.getvalue()


@pytest.mark.parametrize(
    ("pack", "words"),
    [(bz2.compress, "it is bzip2"), (lzma.compress, "it is xz"), (zipped, "it is zip"),
     (lambda _: b"SQLite format 3\0" + bytes(100), "a SQLite database"),
     (lambda _: bytes(range(256)) * 9, "neither text nor Parquet"),
     (lambda _: b"PAR1 no Parquet PAR1", "it cannot be read")],
)  # fmt: skip
def test_what_is_not_unpacked_says_what_it_is(pack, words, tmp_path):
    file = tmp_path / "old.csv"
    file.write_bytes(pack(path("speedtest-cli.csv").read_bytes()))
    rows, told = rows_of(file)
    assert (rows, told.refused) == ([], 1)
    assert words in told.problems[0]


def test_a_packed_file_that_is_cut_gives_what_is_before_the_cut(tmp_path):
    header, row = path("speedtest-cli.csv").read_text().splitlines()
    lines = [row.replace("03:10:25.213227", f"03:10:25.{number:06d}") for number in range(0, 400_000, 100)]
    content = gzip.compress("\n".join([header, *lines, ""]).encode())
    file = tmp_path / "old.csv.gz"
    file.write_bytes(content[: len(content) // 2])
    rows, told = rows_of(file)
    assert 100 < len(rows) < len(lines)
    assert told.refused == 1
    assert "it cannot be read" in told.problems[0]


def test_unpacking_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MOST_UNPACKED", 2 << 30)
    reader = reading._Bounded(io.BytesIO(bytes(100)).read)
    reader._left = 50
    with pytest.raises(ValueError, match="longer than 2 GiB unpacked"):
        reader.readinto(bytearray(80))
    for name, content in (("line.csv.gz", b"a" * (3 << 20)), ("object.json.gz", b'{"a":"' + b"a" * (20 << 20))):
        file = tmp_path / name
        file.write_bytes(gzip.compress(content))
        rows, told = rows_of(file)
        assert (rows, told.formats) == ([], {})
        assert told.refused == 1


@pytest.mark.parametrize("name", TABLES)
def test_a_last_line_that_may_be_cut_short_is_not_taken_with_another_value(name, tmp_path):
    """Cut anywhere: every row is one of the whole file's, or is refused."""
    whole = whole_of(name)
    content = path(name).read_bytes()
    file = tmp_path / "cut.csv"
    for end in range(len(content) - 60, len(content)):
        file.write_bytes(content[:end])
        rows, _ = rows_of(file, WHOLE)
        assert [row for row in rows if row not in whole] == [], content[end - 30 : end]


def test_a_header_that_changes_half_way(tmp_path):
    """As where a program was upgraded and wrote on."""
    file = tmp_path / "all.csv"
    parts = ["ookla-1.0.csv", "ookla-1.2.csv", "speedtest-cli.csv", "librespeed-cli.csv"]
    file.write_text("".join(path(name).read_text() for name in parts))
    wanted = sorted((row for name in parts for row in rows_of(path(name))[0]), key=lambda row: row["started_at"])
    assert rows_of(file)[0] == wanted


def test_a_folder_is_looked_through_whatever_the_case_and_links_lead_nowhere(tmp_path):
    for name in ("a.CSV", "b.Log", "c.json.GZ", "d.md", ".hidden.csv"):
        (tmp_path / name).write_text("x")
    assert [file.name for file in run.find([tmp_path])] == ["a.CSV", "b.Log", "c.json.GZ"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="none ends in"):
        run.find([tmp_path / "empty"])


def test_objects_behind_a_time_and_a_table_that_nobody_knows(tmp_path):
    file = tmp_path / "cron.log"
    line = path("ookla.json").read_text().strip()
    file.write_text(f"2026-11-20T10:00:01 {line}\n[error] Cannot open socket\n")
    rows, told = rows_of(file)
    assert rows == rows_of(path("ookla.json"))[0]
    assert told.passed_over == {"line of text": 2}
    table = tmp_path / "home.csv"
    table.write_text("Date,Time,Ping (ms),Download (Mbps),Upload (Mbps)\n" + "2026-01-01,10:00,9,94.3,41\n" * 5)
    rows, told = rows_of(table)
    assert (rows, told.refused, told.passed_over) == ([], 6, {})
    assert "no known format" in told.problems[0]


def test_what_other_pages_and_dumps_wrap(tmp_path):
    """The first API of Speedtest Tracker, librespeed-cli's stream, phpMyAdmin's JSON."""
    file = tmp_path / "wrapped.json"
    henry = json.loads(path("henrywhitaker3.json").read_text())[0]
    file.write_text(json.dumps({"message": "ok", "data": henry}))
    assert rows_of(file)[0] == rows_of(path("henrywhitaker3.json"))[0]
    libre = json.loads(path("librespeed-cli.json").read_text())
    file.write_text('{"event":"start"}\n' + json.dumps({"event": "result", "reports": libre}) + "\n")
    assert rows_of(file)[0] == rows_of(path("librespeed-cli.json"))[0]
    with path("librespeed-telemetry.csv").open() as stream:
        users = list(csv.DictReader(stream))[:1]
    dump = [{"type": "header", "version": "5"}, {"type": "table", "name": "speedtest_users", "data": users}]
    file.write_text(json.dumps(dump, indent=1))
    assert rows_of(file)[0] == rows_of(path("librespeed-telemetry.csv"))[0]


def test_both_directions_of_iperf3_at_once(tmp_path):
    content = json.loads(path("iperf3-upload.json").read_text())
    content["end"]["sum_received_bidir_reverse"] = {"bits_per_second": 9e7, "bytes": 1000}
    file = tmp_path / "bidir.json"
    file.write_text(json.dumps(content))
    row = rows_of(file)[0][0]
    assert (row["status"], row["download_bps"], row["upload_bps"]) == ("ok", 9e7, 45466037.949673079)
    file.write_text(json.dumps({**content, "error": "unable to connect to server: Connection refused"}))
    row = rows_of(file)[0][0]
    assert (row["status"], row["reason"], row["download_bps"]) == ("failed", "server_unreachable", None)
