"""The files of a published table: what is written again, what is not, and what a commit tells of them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from builders import DAY, FIRST, put, slot
from deltalake import write_deltalake

from speedtest_logger.errors import StorageError
from speedtest_logger.record import utc_text
from speedtest_logger.sinks import data_files, delta, table

NOW = FIRST + 20 * DAY + 7200.0  # a while into a day (UTC)


@pytest.fixture(autouse=True)
def now(monkeypatch):
    monkeypatch.setattr("time.time", lambda: NOW)


def publish(layout, place):
    """Publish; returns the files that stayed, and those that came."""
    before = paths(place)
    delta.Publisher(layout, place, 1).publish()
    assert table.compared(place.existing(), layout) == []
    assert table.broken_links(place.existing()) == []
    return before & paths(place), paths(place) - before


def paths(place):
    found = place.table()
    return {file.path for file in data_files.files_of(found)} if found else set()


def spans(place):
    return sorted(tuple(map(day_of, (file.first, file.last))) for file in data_files.files_of(place.existing()))


def day_of(moment):
    return utc_text(moment / 1e6)[:10]


def on(day):
    return utc_text(FIRST + day * DAY)[:10]


def test_a_day_that_may_get_more_has_a_file_of_its_own(layout, place):
    put(layout, *(slot("attic", FIRST + day * DAY) for day in range(21)))
    publish(layout, place)
    assert spans(place) == [(on(0), on(18)), (on(19), on(19)), (on(20), on(20))]
    put(layout, slot("attic", FIRST + 20 * DAY + 300))
    stayed, came = publish(layout, place)
    assert (len(stayed), len(came)) == (2, 1)


def three_places(layout, place, day, number=0):
    put(layout, *(slot(node, FIRST + day * DAY + number * 300, node) for node in ("attic", "porch", "shed")))
    return publish(layout, place)


def of(place):
    return {file.of: file.path for file in data_files.files_of(place.existing())}


def test_a_day_that_is_over_takes_the_other_locations_of_its_file_along(layout, place):
    three_places(layout, place, 10)
    put(layout, slot("porch", FIRST + 10 * DAY + 300, "porch"))
    assert [len(each) for each in publish(layout, place)] == [0, 1]
    assert table.rows_in(place.existing()) == 4


def test_a_location_that_changes_alone_gets_a_file_of_its_own(layout, place):
    """So that from the second time on the others' file is neither read nor written."""
    three_places(layout, place, 20)
    put(layout, slot("porch", FIRST + 20 * DAY + 300, "porch"))
    publish(layout, place)
    others = data_files.sign(["attic", "shed"])
    assert of(place).keys() == {"porch", others}
    for path in of(place).values():
        Path(place.address, path).write_bytes(b"PAR1 nonsense PAR1")
    put(layout, slot("porch", FIRST + 20 * DAY + 600, "porch"))
    delta.Publisher(layout, place, 1).publish()
    assert of(place).keys() == {"porch", others}
    three_places(layout, place, 20, 3)  # of all of them no row stays: the damaged file is not read
    assert of(place).keys() == {data_files.sign(["attic", "porch", "shed"])}
    assert table.rows_in(place.existing()) == 8


def test_one_of_two_locations_apart_comes_back_with_the_rest(layout, place):
    three_places(layout, place, 20)
    for number, node in enumerate(("porch", "attic", "shed", "shed"), 1):
        put(layout, slot(node, FIRST + 20 * DAY + number * 300, node))
        publish(layout, place)
    assert of(place).keys() == {"porch", "attic", "shed"}
    put(layout, *(slot(node, FIRST + 20 * DAY + 3000, node) for node in ("porch", "shed")))
    stayed, came = publish(layout, place)
    assert (stayed, len(came)) == ({of(place)["attic"]}, 1)
    put(layout, slot("hut", FIRST + 20 * DAY, "hut"))  # one that is new may be in the file of two
    assert [len(each) for each in publish(layout, place)] == [1, 1]
    assert table.rows_in(place.existing()) == 10


def test_open_days_do_not_fall_into_ever_more_files(layout, place):
    names = [f"place-{number:02}" for number in range(12)]
    put(layout, *(slot(name, FIRST + 20 * DAY, name) for name in names))
    publish(layout, place)
    for name in names:
        put(layout, slot(name, FIRST + 20 * DAY + 300, name))
        publish(layout, place)
    assert len(of(place)) == data_files.MOST_APART


def test_neither_do_they_where_one_location_after_the_other_is_new(layout, place):
    counts = []
    for number in range(2 * data_files.MOST_APART):
        put(layout, slot(f"place-{number:02}", FIRST + 20 * DAY, f"place-{number:02}"))
        publish(layout, place)
        counts.append(len(of(place)))
    assert max(counts) == data_files.MOST_APART
    assert table.rows_in(place.existing()) == 2 * data_files.MOST_APART


def test_a_location_whose_file_was_put_together_with_others_is_found_there(layout, place):
    three_places(layout, place, 20)
    put(layout, slot("porch", FIRST + 20 * DAY + 300, "porch"))
    publish(layout, place)
    delta.Publisher(layout, place, 1).maintain()
    assert len(paths(place)) == 1
    for number in (2, 3):
        put(layout, slot("porch", FIRST + 20 * DAY + number * 300, "porch"))
        publish(layout, place)
    assert table.rows_in(place.existing()) == 6


def test_a_file_that_another_release_wrote_is_read_and_written_again(layout, place):
    """Of several days and locations in any order, with statistics of all columns, as write_deltalake makes it."""
    put(layout, *(slot(node, FIRST + day * DAY, node) for node in ("attic", "porch") for day in range(6)))
    publish(layout, place)
    there = place.existing()
    head = table.head_of(there)
    rows = there.to_pyarrow_table()
    order = sorted(range(rows.num_rows), key=lambda number: -number)
    properties = delta._properties(head, {})
    write_deltalake(there, rows.take(order), mode="overwrite", commit_properties=properties)
    assert spans(place) == [(on(0), on(5))]
    put(layout, slot("porch", FIRST + 3 * DAY + 300, "porch"), slot("attic", FIRST + 9 * DAY, "attic"))
    assert [len(each) for each in publish(layout, place)] == [0, 1]
    assert table.rows_in(place.existing()) == 14


def test_what_a_commit_tells_of_a_file_passes_over_no_row(layout, place):
    put(layout, *(slot("attic", FIRST + day * DAY + 0.123) for day in range(21)))
    publish(layout, place)
    there = place.existing()
    wanted = there.to_pyarrow_table().sort_by("started_at")
    for row in wanted.to_pylist():
        found = there.to_pyarrow_dataset(file_pruning_predicate=f"day = '{row['day']}'").to_table()
        assert row["run_id"] in found["run_id"].to_pylist()
        found = there.to_pyarrow_dataset().to_table(filter=pa.compute.field("started_at") == row["started_at"])
        assert found["run_id"].to_pylist() == [row["run_id"]]
    files = [str(Path(place.address, path)) for path in paths(place)]
    read = duckdb.execute("SELECT DISTINCT typeof(started_at), typeof(day) FROM read_parquet(?)", [files])
    assert read.fetchall() == [("TIMESTAMP WITH TIME ZONE", "DATE")]


def test_a_file_of_which_nothing_stays_is_not_read(layout, place):
    """So that a place with one location's days in each file costs no reading, and a damaged one is replaced."""
    put(layout, slot("attic", FIRST + 19 * DAY), slot("attic", FIRST + 20 * DAY))
    publish(layout, place)
    yesterday, today = sorted(data_files.files_of(place.existing()), key=lambda file: file.first)
    assert (yesterday.of, today.of) == ("home", "home")
    Path(place.address, today.path).write_bytes(b"PAR1 nonsense PAR1")
    put(layout, slot("attic", FIRST + 20 * DAY + 300))
    assert publish(layout, place)[0] == {yesterday.path}
    assert table.rows_in(place.existing()) == 3


def test_a_file_of_several_places_is_not_read_where_all_of_them_have_changed(layout, place):
    put(layout, slot("attic", FIRST + 20 * DAY), slot("porch", FIRST + 20 * DAY, "porch"))
    publish(layout, place)
    [file] = data_files.files_of(place.existing())
    assert file.of == data_files.sign(["porch", "home"]) == data_files.sign(["home", "porch"])
    damaged = Path(place.address, file.path)
    damaged.write_bytes(b"PAR1 nonsense PAR1")
    put(layout, slot("attic", FIRST + 20 * DAY + 300), slot("shed", FIRST + 20 * DAY, "shed"))
    with pytest.raises(StorageError, match=damaged.name):  # a place stays, though others come
        delta.Publisher(layout, place, 1).publish()
    put(layout, slot("porch", FIRST + 20 * DAY + 300, "porch"))
    with pytest.raises(StorageError, match=damaged.name):  # of more places than it has nobody knows its own
        delta.Publisher(layout, place, 1).publish()


def test_a_file_of_several_places_whose_rows_are_all_told_anew_is_replaced(layout, place):
    put(layout, slot("attic", FIRST + 20 * DAY), slot("porch", FIRST + 20 * DAY, "porch"))
    publish(layout, place)
    [file] = data_files.files_of(place.existing())
    Path(place.address, file.path).write_bytes(b"PAR1 nonsense PAR1")
    put(layout, slot("attic", FIRST + 20 * DAY + 300), slot("porch", FIRST + 20 * DAY + 300, "porch"))
    publish(layout, place)
    assert table.rows_in(place.existing()) == 4
    assert table.compared(place.existing(), layout) == []


@pytest.mark.parametrize("spoil", [lambda file: file.unlink(), lambda file: file.write_bytes(b"PAR1 nonsense PAR1")])
def test_a_file_that_cannot_be_read_is_named_and_no_commit_made(layout, place, spoil):
    put(layout, slot("attic", FIRST + 20 * DAY), slot("porch", FIRST + 20 * DAY, "porch"))
    publish(layout, place)
    version = place.existing().version()
    [file] = Path(place.address).rglob("part-*.parquet")
    spoil(file)
    put(layout, slot("attic", FIRST + 20 * DAY + 300))
    with pytest.raises(StorageError, match=file.name):
        delta.Publisher(layout, place, 1).publish()
    assert place.existing().version() == version
    delta.Publisher(layout, place, 1).publish(rebuild=True)
    assert table.compared(place.existing(), layout) == []


def test_files_of_a_publish_that_was_cut_off_are_removed_once_nobody_can_use_them(layout, place, monkeypatch):
    put(layout, *(slot("attic", FIRST + day * DAY) for day in range(3)))
    publish(layout, place)
    monkeypatch.undo()  # a store's clock is a true one
    [known] = Path(place.address).rglob("part-*.parquet")
    ours = [known.with_name(f"part-{name}.parquet") for name in ("old", "young")]
    top = Path(place.address)
    others = [top / "notes.txt", top / "bucket=0/other.parquet", top / "_shared/inbox/a", known.with_suffix(".txt")]
    for file in (*ours, *others):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(known.read_bytes())
        if file != ours[1]:
            os.utime(file, (time.time() - 8 * 86_400,) * 2)
    assert delta.Publisher(layout, place, 1).maintain()["removed"] == 1
    assert [file.exists() for file in ours] == [False, True]
    assert [file for file in others if not file.exists()] == []
    assert table.compared(place.existing(), layout) == []


def test_a_file_that_was_replaced_stays_while_somebody_may_read_it(layout, place, monkeypatch):
    put(layout, slot("attic", FIRST + 20 * DAY))
    publish(layout, place)
    monkeypatch.undo()
    [before] = Path(place.address).rglob("part-*.parquet")
    os.utime(before, (time.time() - 30 * 86_400,) * 2)
    put(layout, slot("attic", FIRST + 20 * DAY + 300))
    delta.Publisher(layout, place, 1).publish()
    assert paths(place) != {before.relative_to(place.address).as_posix()}
    assert delta.Publisher(layout, place, 1).maintain()["removed"] == 0
    assert before.exists()


def test_a_log_that_names_what_is_none_of_an_archives_files_is_refused(layout, place):
    put(layout, slot("attic", FIRST + 20 * DAY))
    publish(layout, place)
    log = sorted(Path(place.address, "_delta_log").glob("*.json"))[-1]
    log.write_text(
        log.read_text().replace('"path":"bucket=0/month=2026-01/part-', '"path":"bucket=0/month=2026-02/part-')
    )
    put(layout, slot("attic", FIRST + 20 * DAY + 300))
    with pytest.raises(StorageError, match="none of an archive's"):
        delta.Publisher(layout, place, 1).publish()
