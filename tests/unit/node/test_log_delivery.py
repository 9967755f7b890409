"""New lines of the diagnostics log reach the archive behind the records, each once, whatever happens on the way."""

from __future__ import annotations

import io
import json
import time
from dataclasses import replace

import pytest

from speedtest_logger import wire
from speedtest_logger.archive.arrive import log_lines, receive
from speedtest_logger.archive.read import logs as read_logs
from speedtest_logger.archive.write import ingest
from speedtest_logger.errors import DeliveryError
from speedtest_logger.log import Log, rotated
from speedtest_logger.node import beside, log_delivery, measure, push
from speedtest_logger.node.spool import Spool

LIMITS = receive.Limits(free_mb=0, low_disk_mb=0, oldest_days=36_500)
FOREVER = read_logs.Wanted(0, 4e9, limit=1_000_000)


class Link(list):
    """What went up, as lines; `lost`: so many receipts get lost; `earlier`: the archive knows no such lines."""

    lost = 0
    earlier = False
    limits = LIMITS


@pytest.fixture
def link(archive, monkeypatch):
    made = Link()

    def send(settings, lines):
        made.append(lines.splitlines())
        receipt = receive.receive(archive, settings.node, io.BytesIO(lines), made.limits)
        if made.earlier:
            receipt = {name: value for name, value in receipt.items() if name not in ("knows", "log")}
        if made.lost:
            made.lost -= 1
            raise DeliveryError("the line was cut")
        return receipt

    for module in (push, beside):
        monkeypatch.setattr(module, "send", send)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    return made


@pytest.fixture
def greeted(node, link):
    """A node whose archive is known to take lines of logs."""
    Spool(node.state_dir).write_state("archive", {"knows": ["hello", "log"]})
    return node


def deliver(node, start=[0], **options):  # noqa: B006  # it counts on from one call to the next
    start[0] += 1
    Spool(node.state_dir).write(measure.begin(node, None, time.time() - 10_000 + start[0]))
    return push.push(node, Log(None), **options)


def write(node, *numbers, **more):
    for number in numbers:
        Log(node.log_file).event("debug", "numbered", number=number, **more)


def carried(link):
    """How many lines of logs went up, delivery by delivery."""
    found = []
    for lines in link:
        rows = [json.loads(line) for line in lines]
        found.append(sum(len(row["log"]["lines"]) for row in rows if "log" in row))
    return found


def archived(archive):
    """The numbers of the lines in the archive, in order."""
    ingest.ingest(archive)
    rows = list(read_logs.rows_of(read_logs.search(archive, FOREVER).lines))
    return [row["fields"]["number"] for row in rows if row["event"] == "numbered"]


def test_new_lines_follow_the_records_and_are_archived(greeted, archive, link):
    write(greeted, 1, 2, 3)
    assert deliver(greeted).accepted == 1
    assert ["log" in json.loads(line) for line in link[0]] == [False, False, True]
    write(greeted, 4)
    deliver(greeted)
    deliver(greeted)
    assert carried(link) == [3, 1, 0]
    assert archived(archive) == [1, 2, 3, 4]
    [row] = list(read_logs.rows_of(read_logs.search(archive, replace(FOREVER, text="number=4")).lines))
    assert (row["node"], row["level"], row["event"], row["fields"]) == ("attic", "debug", "numbered", {"number": 4})
    assert abs(read_logs.unix_time(row["at"]) - time.time()) < 60


def test_an_archive_that_does_not_know_such_lines_gets_none(node, archive, link):
    link.earlier = True
    write(node, 1)
    for _ in range(2):
        assert deliver(node).accepted == 1
    assert carried(link) == [0, 0]
    # it is upgraded, and nothing was forgotten; then it goes back
    link.earlier = False
    deliver(node)
    deliver(node)
    write(node, 2)
    link.earlier = True
    assert deliver(node).accepted == 1
    assert deliver(node).accepted == 1
    assert carried(link) == [0, 0, 0, 1, 1, 0]
    link.earlier = False
    deliver(node)
    deliver(node)
    assert archived(archive) == [1, 2]


def test_what_the_archive_made_of_a_line_that_it_does_not_know(greeted, archive, link, monkeypatch):
    """An archive that went back judges the line as a record: it refuses it, and takes the records."""
    monkeypatch.setattr(log_lines.Lines, "begins", b"nothing begins like this")
    write(greeted, 1)
    delivery = deliver(greeted)
    assert (delivery.accepted, delivery.rejected, delivery.waiting) == (1, 0, 0)


def test_the_owner_may_keep_the_log_on_the_node(greeted, link):
    write(greeted, 1)
    deliver(replace(greeted, log_delivery_enabled=False))
    assert carried(link) == [0]


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_a_lost_receipt_doubles_nothing(greeted, archive, link, lost):
    write(greeted, 1, 2)
    link.lost = lost
    if lost == 3:
        with pytest.raises(DeliveryError):
            deliver(greeted)
    else:
        deliver(greeted)
    assert carried(link)[0] == 2
    assert not any(carried(link)[1:])  # the tries after the first are the records' alone
    write(greeted, 3)
    deliver(greeted, force=True)
    assert carried(link)[-1] == 3
    assert archived(archive) == [1, 2, 3]
    link.lost = 1  # and the other way round: what is in the dataset already comes again
    write(greeted, 4)
    deliver(greeted)
    assert archived(archive) == [1, 2, 3, 4]
    deliver(greeted)
    assert archived(archive) == [1, 2, 3, 4]


def test_rotation_between_deliveries_loses_and_doubles_nothing(greeted, archive, link, monkeypatch):
    monkeypatch.setattr("speedtest_logger.log.MAX_BYTES", 700)
    told = 0
    for count in (1, 5, 12, 30, 2, 9):  # some rotate several times between two deliveries
        write(greeted, *range(told, told + count), filler="x" * 20)
        told += count
        deliver(greeted)
    assert rotated(greeted.log_file, 3).exists()
    assert sorted(archived(archive)) == list(range(told))  # lines of a millisecond are in any order


def test_lines_of_files_that_are_gone_are_lost_and_those_after_them_are_not(greeted, archive, monkeypatch, link):
    monkeypatch.setattr("speedtest_logger.log.MAX_BYTES", 700)
    write(greeted, *range(5))
    deliver(greeted)
    write(greeted, *range(5, 200), filler="x" * 20)  # an outage: the oldest files go
    deliver(greeted)
    found = sorted(archived(archive))
    assert found[:5] == [0, 1, 2, 3, 4]
    assert found[5] > 5
    assert found[5:] == list(range(found[5], 200))


def test_a_push_carries_so_much_and_the_next_one_goes_on(greeted, archive, link):
    write(greeted, *range(1500), filler="x" * 300)
    for _ in range(3):
        deliver(greeted)
    assert all(sum(map(len, lines)) < 1.4 * log_delivery.MOST_BYTES for lines in link)
    assert carried(link)[0] > 400
    assert sorted(archived(archive)) == list(range(1500))


def test_a_log_that_was_never_delivered_begins_with_its_newest_lines(greeted, archive, link, monkeypatch):
    monkeypatch.setattr(log_delivery, "FIRST_BYTES", 2_000)
    monkeypatch.setattr("speedtest_logger.log.MAX_BYTES", 1_500)
    write(greeted, *range(100))
    deliver(greeted)
    found = sorted(archived(archive))
    assert 15 < len(found) < 30
    assert found == list(range(100 - len(found), 100))


def test_a_line_that_is_being_written_waits_for_its_end(greeted, archive, link):
    write(greeted, 1)
    with greeted.log_file.open("ab") as stream:
        stream.write(b'{"time": "2026-01-31T12:00:00.000Z", "level": "info", "ev')
        stream.flush()
        deliver(greeted)
        stream.write(b'ent": "numbered", "number": 2}\n')
    deliver(greeted)
    assert carried(link) == [1, 1]
    assert sorted(archived(archive)) == [1, 2]


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe\x00not JSON\x1b[2J\n",
        b"[1, 2]\n" + b"[" * 100_000 + b"\n",
        b"x" * 600_000 + b"\n",
        b"\n\n\n",
        b'{"event": 7}\n{"event": "a", "time": "yesterday", "level": ["error"]}\n{"event": "b\\ud800", "x": "\\ud8"}\n',
    ],
)
def test_whatever_is_in_the_log_records_and_later_lines_get_through(greeted, archive, link, content):
    write(greeted, 1)
    with greeted.log_file.open("ab") as stream:
        stream.write(content)
    write(greeted, 2)
    for _ in range(6):
        delivery = deliver(greeted)
        assert (delivery.accepted, delivery.rejected, delivery.waiting) == (1, 0, 0)
    assert archived(archive) == [1, 2]


@pytest.mark.parametrize("there", ["pipe", "folder", "nothing", "empty", "link"])
def test_what_is_no_log_is_left_alone(greeted, tmp_path, link, there):
    import os

    place = greeted.log_file
    {
        "pipe": lambda: os.mkfifo(place),
        "folder": place.mkdir,
        "nothing": lambda: None,
        "empty": place.touch,
        "link": lambda: place.symlink_to("/etc/passwd"),
    }[there]()
    assert deliver(greeted).accepted == 1
    assert carried(link) == [0]


@pytest.mark.parametrize("state", [{}, {"file": 7, "offset": "x"}, {"file": "1-2", "offset": -1}, [], {"offset": 4}])
def test_a_state_that_makes_no_sense_begins_anew_and_doubles_nothing(greeted, archive, link, state):
    write(greeted, 1, 2)
    deliver(greeted)
    file = greeted.state_dir / "state/log.json"
    assert json.loads(file.read_text())["offset"] == greeted.log_file.stat().st_size
    file.write_text(json.dumps(state))
    deliver(greeted)
    assert carried(link) == [2, 2]
    assert archived(archive) == [1, 2]


def test_lines_that_wait_for_no_record_go_alone_after_an_hour(greeted, archive, link, monkeypatch):
    write(greeted, 1)
    deliver(greeted)
    write(greeted, 2)
    push.push(greeted, Log(greeted.log_file))
    assert len(link) == 1
    later = time.time() + log_delivery.ALONE_SECONDS + 1
    monkeypatch.setattr(time, "time", lambda: later)
    for _ in range(3):  # the clock stands: it is tried once an hour
        push.push(greeted, Log(greeted.log_file))
    assert carried(link) == [1, 1]
    write(greeted, 3)
    push.push(greeted, Log(greeted.log_file), force=True)
    assert carried(link) == [1, 1, 1]
    monkeypatch.undo()
    assert archived(archive) == [1, 2, 3]


def test_lines_alone_fail_no_delivery(greeted, monkeypatch):
    def broken(*_):
        raise DeliveryError("no route")

    monkeypatch.setattr(beside, "send", broken)
    write(greeted, 1)
    assert push.push(greeted, Log(greeted.log_file), force=True).waiting == 0
    assert not (greeted.state_dir / "state/push.json").exists()  # no rest: records will be tried at once
    assert "log_not_delivered" in greeted.log_file.read_text()


def test_lines_of_a_log_are_packed_below_what_the_archive_takes():
    lines = [(number, "\x1b" * wire.MOST_LOG_TEXT) for number in range(20)] + [(99, "short")] * 3_000
    packed = wire.log_lines("a-b", lines).splitlines()
    assert max(map(len, packed)) < wire.MOST_LOG_LINE
    assert [tuple(line) for row in packed for line in json.loads(row)["log"]["lines"]] == lines
