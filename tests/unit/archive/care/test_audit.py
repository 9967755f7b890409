"""An archive of an earlier version is read, extended and verified; what it let in twice, or of others, is said."""

from __future__ import annotations

import json
import uuid

import pyarrow.parquet as pq
import pytest
from builders import DAY, FIRST, by_hand, fleet, put, run, slot, stored

from speedtest_logger.archive import open_archive
from speedtest_logger.archive.format import json_lines, month, parquet
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.format.schema import SCHEMA
from speedtest_logger.archive.ledger import manifest
from speedtest_logger.archive.ledger.entry import Entry, Made
from speedtest_logger.archive.read import audited, coverage
from speedtest_logger.archive.report import report
from speedtest_logger.archive.write import store
from speedtest_logger.record import run_id_of_slot, utc_text


def as_before(layout, *rows):
    """Months with all rows, as a version wrote them that knew only the run_ids of the month itself."""
    for file, part in store.by_month(layout, json_lines.to_table(list(rows))):
        parquet.make_folders(file.parent)
        with parquet.new_file(file) as stream:
            parquet.write(stream, [part], SCHEMA, 1000)
    manifest.append(
        layout, "ingest", {layout.name(file): Entry(month.describe(file), (Made(),)) for file in layout.month_files()}
    )


ODD = str(uuid.UUID(int=7))


@pytest.fixture
def layout(tmp_path):
    made = Layout(tmp_path / "archive")
    made.prepare()
    hand = by_hand("attic", 1, FIRST)
    as_before(
        made,
        slot("attic", FIRST), slot("attic", FIRST + 3600), slot("shed", FIRST + 3600),
        slot("attic", FIRST, "garden"), {**hand, "location": "garden"}, hand,
        slot("mallory", FIRST + 3600, run_id=run_id_of_slot("attic", utc_text(FIRST + 7200))),
        slot("mallory", FIRST, download_bps=1.0), slot("mallory", FIRST + 7200, "garden"),
        slot("old", FIRST, runtime="imported", run_id=ODD),
    )  # fmt: skip
    made.state.joinpath("schedule.json").write_text(
        json.dumps({"nodes": {name: [entry(place)] for name, place in
                              (("attic", "home"), ("shed", "home"), ("mallory", "garden"))}})
    )  # fmt: skip
    return made


def entry(place):
    return {"valid_from": utc_text(FIRST), "valid_to": None, "interval_seconds": 3600, "offset_seconds": 0,
            "location": place}  # fmt: skip


WORDS = [
    "node attic: 2 runs are stored 4 times (locations: garden, home), such as ",
    "node attic: 2 records of location 'garden', where the registry does not know it",
    "node mallory: 1 records have another run_id than their slot gives: ",
    "node mallory: 2 records of location 'home', where the registry does not know it",
]


def test_what_earlier_versions_let_in_is_found_once_and_said(layout, capsys):
    before = stored(layout)
    assert fleet(layout, capsys)["problems"] == []  # nobody has looked yet
    assert run(layout, "verify") == 0
    said = capsys.readouterr().err
    assert all(words in said for words in WORDS)
    problems = fleet(layout, capsys)["problems"]
    assert [problem.startswith(words) for problem, words in zip(problems, WORDS, strict=True)] == [True] * 4
    assert stored(layout) == before
    (layout.state / "schedule.json").unlink()
    assert run(layout, "verify") == 0  # not again
    assert all(words in capsys.readouterr().err for words in WORDS[:1])
    (layout.state / "audit.json").unlink()
    assert run(layout, "verify") == 0
    assert fleet(layout, capsys)["problems"] == [p for p in problems if "registry" not in p]


def test_it_is_extended_and_its_runs_stand_as_they_are(layout):
    before = stored(layout)
    assert put(layout, slot("attic", FIRST), slot("attic", FIRST, "farm")).different == 1
    assert put(layout, slot("attic", FIRST + 9 * DAY)).added == 1
    assert len(stored(layout)) == len(before) + 1
    assert run(layout, "verify") == 0


def test_a_clean_archive_says_nothing(tmp_path, capsys):
    layout = Layout(tmp_path / "clean")
    layout.prepare()
    put(layout, slot("attic", FIRST), by_hand("attic", 5, FIRST))
    assert run(layout, "verify") == 0
    assert "node attic" not in capsys.readouterr().err
    assert audited.read(layout) == []
    assert not audited.may_be_doubled(layout)


def test_a_doubled_run_counts_once_in_coverage(layout):
    covers = {cover.node: cover for cover in coverage.coverage(open_archive(layout.root), FIRST, FIRST + 7200)}
    assert (covers["attic"].outcomes["ok"], covers["attic"].unscheduled) == (2, 1)


@pytest.mark.parametrize("looked", [False, True])
def test_a_report_goes_by_the_nodes_that_the_registry_has_there(layout, tmp_path, capsys, looked):
    if looked:
        run(layout, "verify")
    out = tmp_path / "home.html"
    words = ("report", "--location", "home", "--from", "2026-01-01", "--to", "2026-01-02", str(out))
    assert run(layout, *words) == 0
    assert "left out 2 records of node 'mallory'" in capsys.readouterr().err
    rows = out.with_suffix(".csv").read_text()
    assert "mallory" not in rows
    assert len(rows.splitlines()) == 1 + 5  # attic's three, shed's, the imported one
    assert "Left out: 2 records that node mallory delivered" in out.read_text()


def test_a_report_of_an_archive_without_a_registry_has_everything(layout, tmp_path):
    (layout.state / "schedule.json").unlink()
    archive = open_archive(layout.root).only(location="home")
    trusted, left_out = report.trusted(archive, FIRST, FIRST + DAY)
    assert left_out == {}
    assert trusted.query("SELECT count(*) AS n FROM records").to_pylist() == [{"n": 7}]
    assert sum(pq.read_metadata(file).num_rows for file in layout.month_files("home")) == 7
