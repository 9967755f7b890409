"""Lines of logs as they come in: bounded, judged, and never in the way of a record or of another node."""

from __future__ import annotations

import json

import pytest
from deliveries import DAY, NOW, record, send

from speedtest_logger import wire
from speedtest_logger.archive.arrive import log_lines, receive, standing
from speedtest_logger.archive.arrive.delivery import as_line
from speedtest_logger.errors import RefusedError
from speedtest_logger.record import utc_text

pytestmark = pytest.mark.usefixtures("clock")


def limits(**more):
    return receive.Limits(**{"free_mb": 0, "low_disk_mb": 0, "log_day_mb": 1, **more})


def deliver(archive, *lines, node="attic", of=None):
    return send(archive, b"".join(lines), node, of or limits())


def kept(archive, node="attic"):
    return [
        json.loads(line)
        for file in sorted((archive.log_inbox / node).glob("*.jsonl"))
        for line in file.read_text().splitlines()
    ]


def shout(count, size=1_000, first=0):
    """Lines of a node that shouts."""
    return wire.log_lines("a-1", [(first + number * size, "x" * size) for number in range(count)])


def test_lines_are_kept_as_they_came_and_need_not_come_again(archive):
    receipt = deliver(archive, record(), wire.log_lines("a-1", [(0, "one"), (4, "two \x1b[2J\ud800")]))
    assert (len(receipt["accepted"]), receipt["rejected"], receipt["log"]) == (1, {}, True)
    assert kept(archive) == [
        {"file": "a-1", "offset": 0, "line": "one"},
        {"file": "a-1", "offset": 4, "line": "two \x1b[2J\\ud800"},
    ]
    [file] = (archive.log_inbox / "attic").iterdir()
    assert b"\x1b" not in file.read_bytes()
    assert file.stat().st_mode & 0o007 == 0


@pytest.mark.parametrize(
    "said",
    [
        7, [], {}, {"file": "a"}, {"file": "", "lines": []}, {"file": "a" * 65, "lines": []},
        {"file": "\u00e4", "lines": []}, {"file": "a\n", "lines": []}, {"file": "a", "lines": {}},
        {"file": "a", "lines": [[0]]}, {"file": "a", "lines": [["0", "x"]]}, {"file": "a", "lines": [[True, "x"]]},
        {"file": "a", "lines": [[-1, "x"]]}, {"file": "a", "lines": [[2**53, "x"]]},
        {"file": "a", "lines": [[1.5, "x"]]},
        {"file": "a", "lines": [[0, None]]}, {"file": "a", "lines": [[0, "good"], [1, 2]]},
    ],
)  # fmt: skip
def test_what_no_node_sends_is_refused_and_the_records_are_not(archive, said):
    receipt = deliver(archive, record(), json.dumps({"log": said}).encode() + b"\n", record(1))
    assert (len(receipt["accepted"]), receipt["rejected"]) == (2, {})
    assert kept(archive) == []
    [file] = archive.quarantine.glob("attic/*.jsonl")
    assert json.loads(file.read_text())["reason"] == "bad_log"


def test_a_record_cannot_pass_for_a_line_of_a_log(archive):
    row = json.loads(record())
    disguised = json.dumps({"log": {}, **row}).encode() + b"\n"
    receipt = deliver(archive, disguised)
    assert receipt["accepted"] == []
    assert deliver(archive, b'{"log": nonsense}\n', record())["accepted"]


def test_long_lines_are_cut_and_longer_ones_are_none(archive):
    deliver(archive, json.dumps({"log": {"file": "a", "lines": [[0, "x" * 20_000]]}}).encode() + b"\n")
    assert [len(row["line"]) for row in kept(archive)] == [wire.MOST_LOG_TEXT]
    with pytest.raises(RefusedError, match="line 1 is longer than 32000"):
        deliver(archive, json.dumps({"log": {"file": "a", "lines": [[0, "x" * 40_000]]}}).encode() + b"\n")
    small = limits(line_bytes=4_000)
    assert deliver(archive, record(), shout(20), of=small)["log"]  # the limit is that of records
    with pytest.raises(RefusedError, match="line 1 is longer than 4000"):
        deliver(archive, b'{"run_id": "' + b"x" * 5_000 + b'"}\n', of=small)


def test_a_node_that_shouts_is_cut_off_for_the_day_and_its_records_and_others_are_not(archive, clock):
    for number in range(10):
        receipt = deliver(archive, record(number), shout(250, first=number * 250_000))
        assert (len(receipt["accepted"]), receipt["log"]) == (1, True)
    stored = sum(len(as_line(row)) for row in kept(archive) if "line" in row)
    assert 0.99e6 < stored <= 1e6
    told = sum("line" in row for row in kept(archive))
    assert deliver(archive, record(0, "porch"), shout(250), node="porch")["log"]
    assert sum("line" in row for row in kept(archive, "porch")) == 250
    # how many were left out is said in a line, once an hour at most, and to who asks for the fleet
    said = [row["left_out"] for row in kept(archive) if "left_out" in row]
    assert len(said) == 1
    [problem] = standing.problems(archive, NOW)
    assert problem.startswith(f"node attic: {2_500 - told:,} lines of its log left out since ")
    clock(NOW + 3_601)
    deliver(archive, shout(3, first=9_000_000))
    said = [row["left_out"] for row in kept(archive) if "left_out" in row]
    assert sum(said) == 2_500 - told + 3
    # the next day there is room again
    clock(NOW + 3_601 + DAY)
    assert deliver(archive, shout(5, first=9_100_000))["log"]
    assert sum("line" in row for row in kept(archive)) == told + 5
    assert standing.problems(archive, NOW + 3_601 + 2 * DAY) == []


def test_a_flood_of_lines_costs_no_records_their_bytes(archive):
    small = limits(bytes_burst_mb=1, bytes_per_hour_mb=1, payload_mb=10, rows=1)
    for number in range(8):
        receipt = deliver(archive, record(number), shout(2_500), of=small)
        assert (len(receipt["accepted"]), receipt["log"]) == (1, True)
    with pytest.raises(RefusedError, match="more than 10 MB"):
        deliver(archive, *[shout(2_500) for _ in range(5)], of=small)


def test_more_than_a_node_sends_is_counted_unseen(archive, monkeypatch):
    monkeypatch.setattr(log_lines, "PARSED_BYTES", 100_000)
    receipt = deliver(archive, record(), shout(110), b'{"log": garbage}\n' * 7)
    assert (len(receipt["accepted"]), receipt["log"]) == (1, True)
    told = sum("line" in row for row in kept(archive))
    assert 90 < told < 100
    assert [row["left_out"] for row in kept(archive) if "left_out" in row] == [110 - told + 7]


@pytest.mark.parametrize("why", ["full", "low disk", "unknown", "broken"])
def test_what_cannot_be_taken_now_stays_on_the_node(archive, why, monkeypatch):
    of = limits()
    if why == "full":
        monkeypatch.setattr(log_lines, "MB", 1e3)  # of a day
        of = limits(log_inbox_mb=1, log_day_mb=9_000)
        while deliver(archive, shout(250), of=of)["log"]:
            pass
        assert sum(map(len, map(as_line, kept(archive)))) <= 1e6
    elif why == "low disk":
        of = limits(low_disk_mb=10_000_000)
    elif why == "unknown":
        archive.fleet.mkdir(exist_ok=True)
        (archive.fleet / "schedule.json").write_text('{"nodes": {}, "inventory": {}}')
    else:
        (archive.log_inbox / "attic").write_text("a file where the folder is to be")
    receipt = deliver(archive, record(), shout(250), of=of)
    assert receipt["log"] is False
    assert len(receipt["accepted"]) + len(receipt["later"]) == 1
    assert not receipt["rejected"]
    if why != "full":
        assert not list(archive.log_inbox.glob("attic/*"))
    assert not [file for file in archive.log_inbox.rglob(".*.tmp") if file.is_file()]


def test_a_refused_delivery_leaves_nothing_and_counts_nothing(archive):
    with pytest.raises(RefusedError):
        deliver(archive, shout(10), b"no record\n" * 200)
    assert kept(archive) == []
    assert standing.load(standing.file_of(archive, "attic")).log_bytes == 0


def test_when_what_waits_is_worth_a_days_file(archive, monkeypatch):
    monkeypatch.setattr(log_lines, "SMALL_BYTES", 1_000)
    assert not log_lines.are_due(archive, NOW)
    deliver(archive, shout(2))
    arrived = next((archive.log_inbox / "attic").iterdir()).stat().st_mtime
    assert log_lines.are_due(archive, arrived)
    file = archive.log_file(utc_text(arrived)[:10])
    file.parent.mkdir(parents=True)
    file.write_bytes(bytes(50_000))
    assert not log_lines.are_due(archive, arrived)
    assert log_lines.are_due(archive, arrived + log_lines.PATIENCE + 1)
    assert log_lines.are_due(archive, arrived - log_lines.PATIENCE - 1)  # a clock that was set back holds nothing up
    file.write_bytes(bytes(4_000))
    assert log_lines.are_due(archive, arrived)
