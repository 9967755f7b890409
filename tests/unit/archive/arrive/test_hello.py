"""What a node says of itself: taken where it makes sense, kept beside the records, never in the way of one."""

from __future__ import annotations

import json
import os

import pytest
from deliveries import LIMITS, NOW, record, send

from speedtest_logger import wire
from speedtest_logger.archive.arrive import hello, receive
from speedtest_logger.errors import RecordError, RefusedError

pytestmark = pytest.mark.usefixtures("clock")

SAID = {
    "version": "1.9.0",
    "runtime": "systemd",
    "outbox": {"records": 7, "bytes": 28_672},
    "clock": NOW - 2.25,
    "disk_free": 5_000_000_000,
}


def deliver(archive, *lines, limits=LIMITS):
    return send(archive, b"".join(lines), limits=limits)


def kept(archive):
    return json.loads((archive.state / "nodes/attic.json").read_text())


def test_a_hello_is_kept_and_is_no_record(archive):
    receipt = deliver(archive, wire.hello_line(SAID), record())
    assert (len(receipt["accepted"]), receipt["rejected"], receipt["knows"]) == (1, {}, list(wire.KNOWN))
    assert kept(archive) == {
        "version": "1.9.0", "runtime": "systemd", "outbox": {"records": 7, "bytes": 28_672}, "clock_offset": -2.2,
        "disk_free": 5_000_000_000, "last_seen": NOW,
    }  # fmt: skip
    [delivery] = archive.inbox.glob("*/*")
    assert [json.loads(line)["run_id"] for line in delivery.read_text().splitlines()] == receipt["accepted"]
    assert (archive.state / "nodes/attic.json").stat().st_mode & 0o777 == 0o640 & ~os.umask(os.umask(0))
    assert [file.name for file in (archive.state / "nodes").iterdir()] == ["attic.json"]


def test_a_node_of_an_earlier_version_has_been_seen_and_says_nothing(archive):
    deliver(archive, wire.hello_line(SAID), record())
    assert len(deliver(archive, record(1))["accepted"]) == 1
    assert kept(archive) == {"last_seen": NOW}


def test_a_contact_without_a_line_leaves_what_was_said(archive, monkeypatch):
    deliver(archive, wire.hello_line(SAID))
    before = kept(archive)
    monkeypatch.setattr("time.time", lambda: NOW + 60.0)
    deliver(archive)
    assert kept(archive) == {**before, "last_seen": NOW + 60}
    monkeypatch.setattr("time.time", lambda: NOW + 90.0)
    with pytest.raises(RefusedError):
        deliver(archive, wire.hello_line(SAID), limits=receive.Limits(free_mb=1_000_000))
    assert kept(archive) == {**before, "last_seen": NOW + 90}


@pytest.mark.parametrize(
    "changed",
    [
        {"version": "<script>"}, {"version": "1" * 41}, {"version": 1}, {"runtime": "imported"},
        {"runtime": ["systemd"]}, {"outbox": None}, {"outbox": {"records": -1, "bytes": 0}}, {"outbox": {"records": 1}},
        {"outbox": {"records": True, "bytes": 0}}, {"clock": "now"}, {"clock": float("nan")}, {"clock": 1e300},
        {"disk_free": -1}, {"disk_free": None}, {"more": "x" * wire.MOST_HELLO},
    ],
)  # fmt: skip
def test_a_hello_that_is_none_is_refused_and_its_records_are_not(archive, changed):
    receipt = deliver(archive, wire.hello_line({**SAID, **changed}), record())
    assert len(receipt["accepted"]) == 1
    assert kept(archive) == {"last_seen": NOW}
    [refused] = archive.quarantine.glob("attic/*")
    assert json.loads(refused.read_text())["reason"] == "bad_hello"


CONVERGED = {"applied": 1_800_000_000, "at": NOW - 60, "changed": 3, "version": "1.9.0", "error": "its serial is older"}


def test_how_a_node_has_brought_itself_to_its_bundle_is_kept(archive):
    deliver(archive, wire.hello_line({**SAID, "converged": {**CONVERGED, "more": 1}}))
    assert kept(archive)["converged"] == CONVERGED
    deliver(archive, wire.hello_line({**SAID, "converged": {**CONVERGED, "leaving": 7}}))
    assert kept(archive)["converged"] == {**CONVERGED, "leaving": 7}
    deliver(archive, wire.hello_line({**SAID, "converged": {"at": 5, "error": "never"}}))
    assert kept(archive)["converged"] == {"applied": 0, "at": 5, "changed": 0, "version": "", "error": "never"}


@pytest.mark.parametrize(
    "changed",
    [{"applied": -1}, {"at": "now"}, {"changed": None}, {"version": "<b>"}, {"error": 3}, {"error": "x" * 401},
     {"error": "two\nlines"}, {"error": "\x1b[2J"}],
)  # fmt: skip
def test_what_no_node_can_say_of_its_bundle_is_refused(archive, changed):
    receipt = deliver(archive, wire.hello_line({**SAID, "converged": {**CONVERGED, **changed}}), record())
    assert len(receipt["accepted"]) == 1
    assert kept(archive) == {"last_seen": NOW}


@pytest.mark.parametrize("said", [None, [], 7, "x", {}])
def test_anything_may_stand_in_a_hello(said):
    with pytest.raises(RecordError):
        hello.taken({"hello": said}, 50, NOW)


def test_what_a_later_version_says_besides_is_left_out(archive):
    deliver(archive, wire.hello_line({**SAID, "moon": "full"}))
    assert "moon" not in kept(archive)


def test_only_the_first_line_is_a_hello(archive):
    receipt = deliver(archive, record(), wire.hello_line(SAID))
    assert len(receipt["accepted"]) == 1
    assert kept(archive) == {"last_seen": NOW}


def test_a_delivery_is_taken_where_its_hello_cannot_be_kept(archive, tmp_path):
    (archive.state / "nodes").mkdir()
    (tmp_path / "precious").write_text("as it was")
    (archive.state / "nodes/.attic.tmp").symlink_to(tmp_path / "precious")
    assert len(deliver(archive, wire.hello_line(SAID), record())["accepted"]) == 1
    assert (tmp_path / "precious").read_text() == "as it was"
    assert not (archive.state / "nodes/attic.json").exists()


def test_a_full_delivery_with_raw_output_and_a_hello_is_not_too_long(archive):
    limits = receive.Limits(free_mb=0, low_disk_mb=0, rows=2)
    raw = wire.to_line("x", b"") + b"\n"
    deliver(archive, wire.hello_line(SAID), record(), raw, record(1), raw, limits=limits)
    with pytest.raises(RefusedError):
        deliver(archive, wire.hello_line(SAID), record(), raw, record(1), raw, raw, limits=limits)
