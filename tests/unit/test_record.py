"""The record: what comes in is a record or is refused with a reason."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedtest_logger import record
from speedtest_logger.errors import RecordError
from speedtest_logger.node import spool
from speedtest_logger.record import Record

OK = {
    "run_id": str(uuid.UUID(int=1)),
    "node": "attic",
    "started_at": "2026-11-21T10:00:00.000Z",
    "finished_at": "2026-11-21T10:00:20.000Z",
    "status": "ok",
    "download_bps": 1e8,
    "upload_bps": 5e7,
}


def row(**changes):
    return {**Record(**OK).to_row(), **changes}


def test_the_columns_are_the_documented_ones():
    assert list(record.COLUMNS) == [
        "schema_version",
        "run_id",
        "node",
        "location",
        "uplink",
        "runtime",
        "logger_version",
        "scheduled_at",
        "started_at",
        "finished_at",
        "status",
        "reason",
        "message",
        "engine",
        "engine_requested",
        "engine_version",
        "attempt",
        "server_id",
        "server_name",
        "server_host",
        "server_country",
        "isp",
        "external_ip",
        "interface",
        "ip_family",
        "download_bps",
        "upload_bps",
        "latency_ms",
        "latency_low_ms",
        "latency_high_ms",
        "jitter_ms",
        "download_latency_ms",
        "upload_latency_ms",
        "packet_loss_pct",
        "bytes_received",
        "bytes_sent",
        "background_rx_bytes",
        "background_tx_bytes",
        "result_url",
        "raw_sha256",
    ]


def test_a_good_row_is_a_record():
    assert record.validate(row()) == Record(**OK)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"run_id": "1"}, "bad_uuid"),
        ({"node": "a/b"}, "bad_id"),
        ({"node": "12"}, "bad_id"),
        ({"location": ".."}, "bad_id"),
        ({"started_at": "yesterday"}, "bad_time"),
        ({"started_at": "2026-13-01T00:00:00.000Z"}, "bad_time"),
        ({"finished_at": "２０２６-11-21T12:00:00.000Z"}, "bad_time"),  # noqa: RUF001  digits, but not ours
        ({"finished_at": "2026-11-21T09:00:00.000Z"}, "bad_time"),
        ({"status": "fine"}, "bad_status"),
        ({"status": "failed", "reason": "magic"}, "bad_reason"),
        ({"status": "failed"}, "bad_reason"),
        ({"reason": "paused"}, "bad_reason"),
        ({"download_bps": "fast"}, "bad_number"),
        ({"download_bps": float("nan")}, "bad_number"),
        ({"download_bps": float("inf")}, "bad_number"),
        ({"download_bps": True}, "bad_number"),
        ({"bytes_sent": 1.5}, "bad_number"),
        ({"upload_bps": None}, "bad_number"),
        ({"ip_family": 5}, "bad_number"),
        ({"message": "x" * 1001}, "bad_text"),
        ({"message": "\0"}, "bad_text"),
        ({"message": "\ud800"}, "bad_text"),
        ({"message": ["x"]}, "bad_text"),
        ({"raw_sha256": "abc"}, "bad_sha256"),
        ({"colour": "blue"}, "unknown_column"),
        ({"schema_version": 2}, "schema_version"),
        ({"schema_version": True}, "bad_number"),
        ({"node": None}, "missing_column"),
        ({"runtime": "cron"}, "bad_runtime"),
    ],
)
def test_a_bad_row_is_refused(changes, reason):
    with pytest.raises(RecordError) as caught:
        record.validate(row(**changes))
    assert caught.value.reason == reason


@given(
    st.dictionaries(
        st.sampled_from(list(record.COLUMNS)),
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(),
            st.floats(),
            st.text(max_size=50),
            st.lists(st.integers(), max_size=3),
        ),
    )
)
def test_any_row_is_a_record_or_an_error(changes):
    try:
        found = record.validate(row(**changes))
    except RecordError as error:
        assert error.reason
        assert str(error)
    else:
        assert spool.record_from_csv(spool.record_to_csv(found)).run_id == found.run_id


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=200)


@given(texts, st.floats(0.001, 1e12), st.one_of(st.none(), st.integers(0, 2**52)))
def test_csv_keeps_every_value(text, speed, count):
    before = Record(
        **{**OK, "message": text or None, "download_bps": speed, "bytes_sent": count, "server_name": text or None}
    )
    assert spool.record_from_csv(spool.record_to_csv(before)) == before


@given(st.integers(0, 4_000_000_000_000))
def test_times_keep_their_milliseconds(milliseconds):
    assert round(record.unix_time(record.utc_text(milliseconds / 1000)) * 1000) == milliseconds


def test_a_slot_always_has_the_same_run_id():
    first = record.run_id_of_slot("attic", "2026-11-21T10:00:00.000Z")
    assert first == record.run_id_of_slot("attic", "2026-11-21T10:00:00.000Z")
    assert first != record.run_id_of_slot("porch", "2026-11-21T10:00:00.000Z")


def test_a_percentage_above_100_is_none():
    assert record.validate(row(packet_loss_pct=100)).packet_loss_pct == 100
    with pytest.raises(RecordError, match=r"packet_loss_pct is 100\.5: a number from 0 to 100 is expected"):
        record.validate(row(packet_loss_pct=100.5))


@pytest.mark.parametrize(
    ("told", "message"), [(None, "{}"), ("the upload was not measured", "the upload was not measured; {}")]
)
def test_a_record_of_an_earlier_release_loses_the_impossible_percentage_and_nothing_else(told, message):
    before = row(packet_loss_pct=179.6, message=told)
    note = message.format("packet_loss_pct left out: 179.6 is no percentage")
    expected = {**before, "packet_loss_pct": None, "message": note}
    assert record.validate(record.without_impossible(before)).to_row() == expected
    assert spool.record_from_csv(spool.record_to_csv(Record(**before))).to_row() == expected


@pytest.mark.parametrize("loss", [None, 0, 100, "many", True, -1, float("inf"), 2**53])
def test_what_is_a_percentage_or_no_number_is_left_to_validate(loss):
    assert record.without_impossible({"packet_loss_pct": loss, "message": 5}) == {"packet_loss_pct": loss, "message": 5}
