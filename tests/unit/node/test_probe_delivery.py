"""Results of probes go up behind records, or alone after a while, and are forgotten once the archive has them."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace

import pytest

from speedtest_logger.errors import DeliveryError
from speedtest_logger.log import Log
from speedtest_logger.node import beside, measure, probe_buffer, probe_delivery, push
from speedtest_logger.node.probe_buffer import Entry
from speedtest_logger.node.spool import Spool
from speedtest_logger.probes.contract import Answer
from speedtest_logger.record import utc_text
from speedtest_logger.wire import MOST_PROBES_LINE


class Archive:
    """One that takes every record; `takes`: results too; `lost`: so many receipts get lost."""

    def __init__(self):
        self.sent, self.takes, self.lost, self.knows = [], True, 0, ["hello", "probes"]

    def send(self, _settings, content):
        lines = [json.loads(line) for line in content.splitlines()]
        self.sent.append(lines)
        assert all(len(line) <= MOST_PROBES_LINE for line in content.splitlines())
        if self.lost:
            self.lost -= 1
            raise DeliveryError("the line was cut")
        accepted = [line["run_id"] for line in lines if "run_id" in line]
        taken = self.takes and any("probes" in line for line in lines)
        return {"receipt": "r", "node": "attic", "accepted": accepted, "knows": self.knows, "probes": taken}

    @property
    def results(self):
        """The results of each delivery."""
        return [[row for line in lines for row in line.get("probes", [])] for lines in self.sent]


@pytest.fixture
def archive(monkeypatch):
    made = Archive()
    for module in (push, beside):
        monkeypatch.setattr(module, "send", made.send)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    return made


@pytest.fixture
def greeted(node):
    here = replace(node, log_delivery_enabled=False)
    Spool(here.state_dir).write_state("archive", {"knows": ["hello", "probes"]})
    return here


def put(here, number, age=0.0):
    """A file of results."""
    moment = time.time() - 100_000 + 300 * number
    row = probe_buffer.result(here, [Entry("ping", "gateway", moment, Answer(3, [1.0, 2.0]))]).to_row()
    file = Spool(here.state_dir).probes / f"{number:04d}.jsonl"
    file.write_text(json.dumps(row) + "\n")
    os.utime(file, (time.time() - age, time.time() - age))
    return file


def deliver(here):
    Spool(here.state_dir).write(measure.begin(here, None, time.time()))
    return push.push(here, Log(here.log_file))


def test_results_go_behind_the_records_and_are_forgotten(greeted, archive):
    files = [put(greeted, number) for number in range(3)]
    deliver(greeted)
    assert [next(iter(line)) for line in archive.sent[0]] == ["hello", "schema_version", "probes"]
    assert [row["started_at"] for row in archive.results[0]] == sorted(row["started_at"] for row in archive.results[0])
    assert len(archive.results[0]) == 3
    assert [file for file in files if file.exists()] == []


def test_what_the_archive_did_not_take_goes_again(greeted, archive):
    file = put(greeted, 1)
    archive.takes = False
    deliver(greeted)
    assert file.exists()
    archive.takes = True
    deliver(greeted)
    assert archive.results[0] == archive.results[1]
    assert not file.exists()


def test_records_never_wait_for_results(greeted, archive):
    file = put(greeted, 1)
    archive.lost = 1
    assert deliver(greeted).accepted == 1
    assert [bool(results) for results in archive.results] == [True, False]
    assert file.exists()


@pytest.mark.parametrize("knows", [[], ["hello", "log"]])
def test_an_earlier_archive_is_sent_none(greeted, archive, knows):
    Spool(greeted.state_dir).write_state("archive", {"knows": knows})
    archive.knows = knows
    file = put(greeted, 1, age=5000)
    deliver(greeted)
    push.push(greeted, Log(None), force=True)
    assert not any(archive.results)
    assert file.exists()


def test_alone_they_go_after_a_quarter_of_an_hour(greeted, archive):
    put(greeted, 1, age=probe_delivery.ALONE_SECONDS - 60)
    push.push(greeted, Log(None))
    assert archive.sent == []
    put(greeted, 0, age=probe_delivery.ALONE_SECONDS + 60)
    push.push(greeted, Log(None))
    assert [len(results) for results in archive.results] == [2]


def test_alone_they_fail_no_delivery_and_rest_before_they_try_again(greeted, archive):
    file = put(greeted, 1, age=probe_delivery.ALONE_SECONDS + 60)
    archive.lost = 9
    for _ in range(3):
        push.push(greeted, Log(greeted.log_file))
    assert len(archive.sent) == 1
    assert file.exists()
    assert Spool(greeted.state_dir).read_state("push") is None
    Spool(greeted.state_dir).write_state("probes_alone", {"at": time.time() - 901})
    push.push(greeted, Log(None))
    assert len(archive.sent) == 2


def test_a_backlog_goes_in_pieces_the_oldest_first(greeted, archive, monkeypatch):
    monkeypatch.setattr(probe_delivery, "MOST_BYTES", 1000)
    for number in range(6):
        put(greeted, number)
    for _ in range(6):
        deliver(greeted)
    started = [row["started_at"] for results in archive.results for row in results]
    assert started == sorted(started)
    assert len(started) == 6
    assert max(len(results) for results in archive.results) < 4


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"probe": "ping"}\n', b'{"nonsense": 1}\n'])
def test_what_is_no_result_goes_and_stops_nothing(greeted, archive, content):
    bad = Spool(greeted.state_dir).probes / "0000.jsonl"
    bad.write_bytes(content)
    good = put(greeted, 1)
    deliver(greeted)
    assert len(archive.results[0]) == 1
    assert not bad.exists()
    assert not good.exists()
    assert utc_text(time.time()) > archive.results[0][0]["started_at"]
