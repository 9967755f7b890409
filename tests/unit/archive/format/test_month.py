"""A month's file: its newest day lies behind a beginning that is copied as it is while new rows are of that day."""

from __future__ import annotations

import io
from datetime import datetime, timedelta, timezone

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import fresh, put_in_inbox, row
from hypothesis import given, settings
from hypothesis import strategies as st
from tries import tries

from speedtest_logger.archive.care import verify
from speedtest_logger.archive.format import month, parquet, two_part
from speedtest_logger.archive.format.schema import SCHEMA
from speedtest_logger.archive.ledger import manifest
from speedtest_logger.archive.write import ingest

START = datetime(2026, 3, 1, tzinfo=timezone.utc)


def at(day, minute=0):
    """Rows' start, day 0 being the first of the month."""
    return (START + timedelta(days=day, minutes=minute)).timestamp()


def deliver(layout, *rows):
    put_in_inbox(layout, list(rows))
    return ingest.ingest(layout)


def beginning(layout):
    """The bytes that the only month's file keeps; None where it is of one piece."""
    (file,) = layout.month_files()
    found = two_part.beginning_of(parquet.ParquetFile(file))
    return file.read_bytes()[: found.size] if found else None


def content(file):
    """A file's rows, without what its folders' names say."""
    return pq.ParquetFile(file).read()


@pytest.fixture
def layout(tmp_path_factory, monkeypatch):
    """Three days of ten rows, then one row of the newest day: it is worth a place of its own now."""
    monkeypatch.setattr(two_part, "WORTH_APART", 20)
    made = fresh(tmp_path_factory)
    deliver(made, *(row(at(day, minute)) for day in range(3) for minute in range(10)))
    deliver(made, row(at(2, 20)))
    return made


def test_a_month_that_came_as_a_whole_is_of_one_piece(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(two_part, "WORTH_APART", 20)
    layout = fresh(tmp_path_factory)
    deliver(layout, *(row(at(day, minute)) for day in range(3) for minute in range(10)))
    assert beginning(layout) is None
    deliver(layout, *(row(at(2, 20 + minute)) for minute in range(20)))
    assert beginning(layout) is None


def test_a_small_month_is_of_one_piece(tmp_path_factory):
    layout = fresh(tmp_path_factory)
    deliver(layout, *(row(at(day, minute)) for day in range(3) for minute in range(10)))
    deliver(layout, row(at(2, 20)))
    assert beginning(layout) is None


def test_what_is_kept_is_a_parquet_file_of_the_earlier_days(layout):
    kept = pq.read_table(io.BytesIO(beginning(layout)))
    assert kept.num_rows == 20
    assert kept.schema.equals(SCHEMA)
    assert kept.schema.metadata == SCHEMA.metadata


def test_a_row_of_the_newest_day_leaves_the_earlier_days_bytes_as_they_are(layout):
    kept = beginning(layout)
    deliver(layout, row(at(2, 15)))  # between others of its day
    deliver(layout, row(at(2, 40)))
    assert beginning(layout) == kept
    assert not verify.verify(layout)


def test_nothing_but_pages_and_the_footer_comes_behind_the_earlier_days(layout):
    (file,) = layout.month_files()
    whole, footer = file.read_bytes(), pq.read_metadata(file)
    newest = footer.row_group(footer.num_row_groups - 1)
    pages = sum(newest.column(number).total_compressed_size for number in range(newest.num_columns))
    size = int.from_bytes(whole[-8:-4], "little")
    assert len(whole) == len(beginning(layout)) + pages + len(b"PAR1") + size + 8


def test_a_row_of_an_earlier_day_is_put_in_its_place(layout):
    kept = beginning(layout)
    deliver(layout, row(at(0, 30)))
    assert beginning(layout) != kept
    assert pq.read_table(io.BytesIO(beginning(layout))).num_rows == 21
    assert not verify.verify(layout)


def test_a_new_day_takes_the_one_before_it_among_the_earlier_ones(layout):
    deliver(layout, row(at(3)))
    assert pq.read_table(io.BytesIO(beginning(layout))).num_rows == 31
    assert not verify.verify(layout)


def test_a_run_that_is_there_is_found_in_either_part(layout):
    (file,) = layout.month_files()
    runs = content(file)["run_id"].to_pylist()
    again = [row(at(2, 50)) | {"run_id": run} for run in (runs[0], runs[-1])]
    outcome = deliver(layout, *again, row(at(2, 51)))
    assert (outcome.added, outcome.different) == (1, 2)
    assert pq.read_metadata(file).num_rows == 32


def test_every_reader_sees_all_rows_once_and_in_order(layout):
    deliver(layout, row(at(2, 15)))
    (file,) = layout.month_files()
    by_arrow = content(file)["run_id"].to_pylist()
    assert len(set(by_arrow)) == 32
    assert pd.read_parquet(file)["run_id"].tolist() == by_arrow
    assert [run for (run,) in duckdb.sql(f"SELECT run_id FROM '{file}' ORDER BY started_at").fetchall()] == by_arrow
    assert duckdb.sql(f"SELECT count(*) FROM '{file}' WHERE day = DATE '2026-03-03'").fetchall() == [(12,)]
    assert pq.read_metadata(file).num_rows == 32


def test_a_column_that_only_the_file_knows_survives_in_both_parts(layout):
    (file,) = layout.month_files()
    table = content(file)
    with parquet.new_file(file) as stream:
        parquet.write(
            stream,
            [table.append_column("quic_bps", pa.array([7.0] * 31))],
            table.schema.append(pa.field("quic_bps", pa.float64())),
            1000,
        )
    for minute in (30, 31):
        deliver(layout, row(at(2, minute)))
    assert beginning(layout)
    assert content(file)["quic_bps"].to_pylist() == [7.0] * 31 + [None] * 2


def test_a_beginning_with_other_columns_is_not_kept(layout, monkeypatch):
    later = SCHEMA.append(pa.field("quic_bps", pa.float64()))
    monkeypatch.setattr(month, "SCHEMA", later)
    kept = beginning(layout)
    deliver(layout, row(at(2, 30)))
    assert beginning(layout) != kept
    assert pq.read_table(io.BytesIO(beginning(layout))).schema.names == later.names


@pytest.mark.parametrize("ending", ["PAR1", "\x08\0\0\0PAR1", "x" * 90 + "\x40\0\0\0PAR1"])
def test_a_text_that_ends_as_a_parquet_file_does_is_a_text(tmp_path, ending):
    file = tmp_path / "pages.parquet"
    table = pa.table({"text": ["a", ending, "b"]})
    pq.write_table(table, file, compression="none", use_dictionary=False, row_group_size=2)
    second = pq.read_metadata(file).row_group(1).column(0).data_page_offset
    assert file.read_bytes()[:second].endswith(b"PAR1")
    assert two_part.beginning_of(parquet.ParquetFile(file)) is None


def test_a_file_whose_footer_says_nothing_of_days_is_of_one_piece(layout):
    (file,) = layout.month_files()
    table = content(file)
    pq.write_table(table, file, write_statistics=False)
    deliver(layout, row(at(2, 30)))
    assert beginning(layout) is None
    assert pq.read_metadata(file).num_rows == 32


TOUCHES = st.lists(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 99)), min_size=1, max_size=12), max_size=8)


@settings(max_examples=tries(15))
@given(touches=TOUCHES, rows=st.sampled_from([3, 7, 1000]), held=st.sampled_from([0, 2000, month.DAY_BYTES]))
def test_whatever_comes_in_whatever_order_is_there_once_and_as_the_manifest_says(tmp_path_factory, touches, rows, held):
    layout = fresh(tmp_path_factory)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(two_part, "WORTH_APART", 6)
        patch.setattr(month, "ROW_GROUP", rows)
        patch.setattr(month, "DAY_BYTES", held)  # of larger days the digest is taken from the file
        for touch in touches:
            deliver(layout, *(row(at(day, minute), 100 * day + minute) for day, minute in touch))
    wanted = {100 * day + minute: at(day, minute) for touch in touches for day, minute in touch}
    files = layout.month_files()
    times = [moment.timestamp() for file in files for moment in content(file)["started_at"].to_pylist()]
    assert times == sorted(wanted.values())
    assert not verify.verify(layout)
    for file in files:
        assert month.describe(file).days == manifest.state(layout)[layout.name(file)].days
