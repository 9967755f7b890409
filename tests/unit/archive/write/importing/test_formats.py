"""Each format gives the bit/s, ms, percent, bytes and UTC that were worked out by hand; nothing changes them later."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cases import CASES, FILES, WHOLE, path, rows_of

from speedtest_logger.archive import open_archive
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.read import exporters
from speedtest_logger.archive.write.importing import catalogue, run
from speedtest_logger.archive.write.importing.run import Source

TEXTS = ("updated_at", "server_name")


def exact(value):
    """A number to the last digits that a double has."""
    return pytest.approx(value, rel=1e-14) if isinstance(value, float) else value


def new_archive(folder: Path) -> Layout:
    layout = Layout(folder)
    layout.prepare()
    return layout


@pytest.mark.parametrize("name", CASES)
def test_every_value_is_the_one_worked_out_by_hand(name):
    form, wanted, refused, passed_over = CASES[name]
    rows, outcome = rows_of(path(name))
    seen = [{column: row[column] for column in want} for row, want in zip(rows, wanted, strict=True)]
    assert seen == [{name: exact(value) for name, value in want.items()} for want in wanted]
    assert form in outcome.formats
    assert (outcome.refused, sum(outcome.passed_over.values())) == (refused, passed_over), outcome.problems
    assert {row["runtime"] for row in rows} == {"imported"}


def test_every_format_and_every_fixture_has_its_case():
    assert {file.name for file in FILES.iterdir()} == set(CASES)
    covered = {form for name in CASES for form in rows_of(path(name))[1].formats}
    assert covered | {catalogue.OWN} == set(catalogue.BY_NAME)


OUT_ONLY = ("openmetrics", "sqlite")  # for other programs: nothing of them comes in again


@pytest.mark.parametrize("form", [form for form in exporters.FORMS if form not in OUT_ONLY])
def test_what_came_in_goes_out_and_comes_in_again_the_same(form, tmp_path):
    """In every form: no double, the same engine, and no speed of another scale."""
    first = new_archive(tmp_path / "first")
    files = [path(name) for name in CASES]
    run.run(first, files, WHOLE, dry_run=False)
    before = open_archive(first.root)
    out = tmp_path / f"out.{form}"
    count = exporters.export(before, form, out)
    again, _ = run.run(first, run.find([out]), Source(None), dry_run=False)
    assert (again.added, again.duplicates, again.different, again.refused) == (0, count, 0, 0), again.problems
    second = new_archive(tmp_path / "second")
    run.run(second, run.find([out]), Source(None), dry_run=False)
    wanted = before.query("SELECT * FROM records" + (" WHERE status = 'ok'" if form == "speedsnake" else ""))
    found = open_archive(second.root).query("SELECT * FROM records")
    key = "run_id"
    assert sorted(found.to_pylist(), key=lambda r: r[key]) == sorted(wanted.to_pylist(), key=lambda r: r[key])


def test_the_same_test_of_two_programs_counts_once(tmp_path):
    """Ookla's own JSON, and what a tracker and pandas made of it."""
    layout = new_archive(tmp_path / "archive")
    first, _ = run.run(layout, [path("tracker-flattened.csv")], WHOLE, dry_run=False)
    again, _ = run.run(layout, [path("tracker-flattened.csv")], WHOLE, dry_run=False)
    assert (first.added, again.added, again.duplicates, again.different) == (2, 0, 2, 0)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("id,ping,download,upload,created_at,updated_at", r"speedtest-tracker .*bytes/s.* or .*mbit \(Mbit/s\)"),
        ("timestamp,ping,download,upload,server_name", r"speedtest-cli \(bit/s\) or librespeed-cli \(Mbit/s\)"),
    ],
)
def test_what_could_be_two_formats_asks_which(header, words, tmp_path):
    file = tmp_path / "rows.csv"
    cells = {"created_at": "2026-01-01 10:00:00", "timestamp": "2026-01-01T10:00:00Z"} | dict.fromkeys(TEXTS, "x")
    row = ",".join(cells.get(name, "94.3") for name in header.split(","))
    file.write_text(f"{header}\n{row}\n{row}\n")
    rows, outcome = rows_of(file)
    assert (rows, outcome.refused) == ([], 2)
    assert re.search(words, outcome.problems[0])
    assert "--format NAME" in outcome.problems[0]
    named = re.search(r"(\S+) \(Mbit/s\)", outcome.problems[0])[1]
    rows, outcome = rows_of(file, Source("attic", form=named))
    assert [row["download_bps"] for row in rows] == [94_300_000.0] * 2


@pytest.mark.parametrize(
    "content",
    [
        "time,download,upload\n2026-01-01T10:00:00Z,94.3,41.2\n",
        "client_ip,timestamp,download mbps,upload mbps\n192.0.2.1,2026-01-01T10:00:00Z,94.3,41.2\n",
        "server name,idle latency,download (bytes),upload (bytes),download bytes,upload bytes,timestamp\n"
        "x,9,1,2,3,4,2026-01-01T10:00:00Z\n",
        '{"type":"result","timestamp":"2026-01-01T10:00:00Z","ping":{"latency":9}}\n',
        '{"created_at":"2026-01-01 10:00:00","download":94.3,"upload":41.2}\n',
        '{"timestamp":"2026-01-01T10:00:00Z","servers":[{"dl_speed":1e7,"ul_speed":1e6}]}\n',
    ],
)
def test_one_column_that_matches_makes_no_format(content, tmp_path):
    file = tmp_path / "rows.txt"
    file.write_text(content)
    rows, outcome = rows_of(file)
    assert (rows, outcome.refused, outcome.formats) == ([], 1, {})


def test_the_second_speed_of_tracker_0_16_0_is_not_believed(tmp_path):
    text = path("tracker-bits.csv").read_text().replace("41943040", "546087912")
    file = tmp_path / "old.csv"
    file.write_text(text)
    rows, outcome = rows_of(file)
    assert [row["status"] for row in rows] == ["failed"]
    assert "0.16.0 to 0.16.2" in outcome.problems[0]


@pytest.mark.parametrize("factor", [1e-6, 1e7])
def test_a_speed_that_no_line_has_is_of_another_unit(factor, tmp_path):
    file = tmp_path / "sivel.json"
    file.write_text(path("speedtest-cli.json").read_text().replace("94300000.5", str(94300000.5 * factor)))
    rows, outcome = rows_of(file)
    assert (rows, outcome.refused) == ([], 1)
    assert "it is not in this format's unit" in outcome.problems[0]
