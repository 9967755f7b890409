"""Months of the whole fleet in one file: the same answers, and never a stale one."""

from __future__ import annotations

import os
import uuid

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from speedtest_logger.archive import cli, open_archive
from speedtest_logger.archive.care import prune
from speedtest_logger.archive.format import json_lines, layout, parquet
from speedtest_logger.archive.read import gathered
from speedtest_logger.archive.write import store
from speedtest_logger.record import Record, unix_time, utc_text

JANUARY, FEBRUARY = unix_time("2026-01-05T00:00:00.000Z"), unix_time("2026-02-05T00:00:00.000Z")
LATER = unix_time("2026-06-01T00:00:00.000Z")
PLACES = [f"loc-{number}" for number in range(4)]


@pytest.fixture
def archive(tmp_path, monkeypatch):
    monkeypatch.setattr(gathered, "FEWEST_FILES", len(PLACES))
    made = layout.Layout(tmp_path / "archive")
    made.prepare()
    for moment in (JANUARY, FEBRUARY):
        add(made, *(measured(place, moment + 60 * n) for place in PLACES for n in range(3)))
    age(made)
    return made


def measured(place, moment, **changes):
    times = {"started_at": utc_text(moment), "finished_at": utc_text(moment + 9)}
    record = Record(run_id=str(uuid.uuid4()), node=f"at-{place}", location=place, status="ok", **times)
    return {**record.to_row(), "download_bps": 1e8, "upload_bps": 5e7, **changes}


def add(archive, *rows):
    with store.single_writer(archive, "test"):
        store.commit(archive, "ingest", json_lines.to_table(list(rows)))


def age(archive):
    for file in archive.month_files():
        os.utime(file, (FEBRUARY, FEBRUARY))


def everything(archive, **scope):
    return open_archive(archive.root).only(**scope).query("SELECT * FROM records ORDER BY run_id")


@pytest.fixture
def taken(monkeypatch):
    """The gathered files that queries read."""
    seen, original = [], gathered.instead_of

    def watched(*args):
        found = original(*args)
        seen.extend(found)
        return found

    monkeypatch.setattr(gathered, "instead_of", watched)
    return seen


def test_the_answers_are_the_same_and_come_from_one_file_a_month(archive, taken):
    before = everything(archive)
    assert not taken
    new = gathered.gather(archive, LATER)
    assert [file.parent.parent.name + "/" + file.parent.name for file in new] == [
        "year=2026/month=01",
        "year=2026/month=02",
    ]
    assert everything(archive).equals(before)
    assert set(taken) == set(new)
    assert not gathered.gather(archive, LATER)


def test_a_question_about_one_node_or_place_opens_its_own_files_only(archive, taken):
    gathered.gather(archive, LATER)
    assert everything(archive, location="loc-1").num_rows == everything(archive, node="at-loc-2").num_rows == 6
    assert not taken
    assert everything(archive, start=FEBRUARY).num_rows == 12
    assert len(taken) == 1


def test_a_month_that_changes_is_read_from_its_own_files_at_once(archive, taken):
    old = gathered.gather(archive, LATER)
    add(archive, measured("loc-1", JANUARY + 600))
    taken.clear()
    assert everything(archive).num_rows == 25
    assert taken == [old[1]]
    age(archive)
    new = gathered.gather(archive, LATER)
    assert everything(archive).num_rows == 25
    assert len(new) == 1
    assert set(archive.gathered.rglob("*.parquet")) == {old[1], *new}


def test_what_is_young_or_small_is_left_as_it_is(archive, monkeypatch):
    assert not gathered.gather(archive, FEBRUARY + 3600)
    monkeypatch.setattr(gathered, "FEWEST_FILES", 5)
    assert not gathered.gather(archive, LATER)


def test_a_month_that_changes_while_it_is_gathered_is_not_gathered(archive, monkeypatch):
    original = parquet.write

    def while_another_writes(*args):
        os.utime(archive.month_files()[0])
        return original(*args)

    monkeypatch.setattr(parquet, "write", while_another_writes)
    assert len(gathered.gather(archive, LATER)) == 1
    assert len(list(archive.gathered.rglob("*.parquet"))) == 1


def test_columns_of_a_later_version_survive(archive, taken):
    file = archive.month_files()[0]
    table = pq.ParquetFile(file).read()
    pq.write_table(table.append_column("quic_bps", pa.array([7.0] * table.num_rows)), file)
    (archive.state / "index.json").unlink()
    age(archive)
    assert not gathered.gather(archive, LATER)
    assert everything(archive)["quic_bps"].null_count == 21
    assert not taken


def test_a_full_disk_leaves_nothing_behind(archive, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        gathered.gather(archive, LATER)
    assert not [file for file in archive.gathered.rglob("*") if file.is_file()]


def test_pruning_takes_the_gathered_months_along(archive, capsys):
    assert cli.main(["--root", str(archive.root), "gather"]) == 0
    assert "2 months gathered" in capsys.readouterr().err
    prune.prune(archive, LATER, 100 * 86_400, None)
    assert [file.parent.name for file in archive.gathered.rglob("*.parquet")] == ["month=02"]
