"""Rows as JSON knows them: column by column the same as value by value."""

from __future__ import annotations

from datetime import datetime, timezone

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedtest_logger.archive.read import render
from speedtest_logger.text import plain

MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1))  # noqa: DTZ001  # each type below has its own zone


@pytest.mark.parametrize("unit", ["ms", "us"])
@pytest.mark.parametrize("zone", [None, "UTC", "Etc/UTC", "Europe/Berlin"])
@given(moments=st.lists(st.none() | MOMENTS, max_size=5))
def test_times(unit, zone, moments):
    known = [each and each.replace(tzinfo=timezone.utc if zone else None) for each in moments]
    if unit == "ms":
        known = [each and each.replace(microsecond=each.microsecond // 1000 * 1000) for each in known]
    table = pa.table({"at": pa.array(known, pa.timestamp(unit, zone))})
    assert [row["at"] for row in render.objects(table)] == [plain(each) for each in known]


@given(
    rows=st.lists(st.tuples(st.none() | st.integers(-(2**60), 2**60), st.none() | st.text(), st.none() | st.dates()))
)
def test_other_values(rows):
    columns = zip(*rows, strict=True) if rows else ((), (), ())
    types = {"number": pa.int64(), "text": pa.string(), "day": pa.date32()}
    arrays = [pa.array(values, kind) for values, kind in zip(columns, types.values(), strict=True)]
    table = pa.table(arrays, names=list(types))
    assert [tuple(row.values()) for row in render.objects(table)] == [tuple(map(plain, row)) for row in rows]
