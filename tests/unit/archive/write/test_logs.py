"""Lines of logs become a day's file: each once, whole or not at all, and nothing of them is in a record's way."""

from __future__ import annotations

import io
import json
import time
import uuid
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from speedtest_logger import wire
from speedtest_logger.archive import cli
from speedtest_logger.archive.arrive import log_lines, receive
from speedtest_logger.archive.care import prune, verify
from speedtest_logger.archive.format.schema import LOG_SCHEMA
from speedtest_logger.archive.read import logs as read_logs
from speedtest_logger.archive.write import ingest, logs
from speedtest_logger.errors import StorageError
from speedtest_logger.record import Record, utc_text

DAY = 86_400
LIMITS = receive.Limits(free_mb=0, low_disk_mb=0)
EVERYTHING = read_logs.Wanted(0, 4e9, limit=1_000_000)


def line(number, at=None, **more):
    moment = utc_text(time.time() if at is None else at)
    return json.dumps({"time": moment, "level": "info", "event": "numbered", "number": number, **more})


def deliver(archive, *lines, node="attic", file="a-1", first=0):
    places = [(first + 100 * number, text) for number, text in enumerate(lines)]
    receipt = receive.receive(archive, node, io.BytesIO(wire.log_lines(file, places)), LIMITS)
    assert receipt["log"]


def rows(archive, **wanted):
    return list(read_logs.rows_of(read_logs.search(archive, replace(EVERYTHING, **wanted)).lines))


def numbers(archive, **wanted):
    return [row["fields"].get("number") for row in rows(archive, **wanted)]


def a_record(number=2):
    at = utc_text(time.time() - 100 * number)
    row = Record(
        run_id=str(uuid.uuid4()), node="attic", location="home", started_at=at, finished_at=at,
        status="ok", download_bps=1e8, upload_bps=1e7,
    ).to_row()  # fmt: skip
    return json.dumps(row).encode() + b"\n"


def test_a_days_lines_of_all_nodes_are_one_file(archive):
    deliver(archive, line(1), line(2))
    deliver(archive, line(3), node="porch")
    outcome = ingest.ingest(archive)
    assert (outcome.log_lines, outcome.damaged) == (3, [])
    deliver(archive, line(4), first=300)
    assert ingest.ingest(archive).log_lines == 1
    [file] = archive.log_files()
    assert file == archive.log_file(utc_text(time.time())[:10])
    found = pq.read_table(file)
    assert found["node"].to_pylist() == ["attic", "attic", "attic", "porch"]
    assert found.schema.names == LOG_SCHEMA.names
    assert numbers(archive) == [1, 2, 3, 4]
    assert not list(archive.log_inbox.glob("*/*"))
    assert verify.verify(archive) == []  # the manifest speaks of records only
    assert file.stat().st_mode & 0o007 == 0


def test_a_line_that_comes_twice_is_kept_once_wherever_it_lies(archive):
    deliver(archive, line(1), line(2))
    deliver(archive, line(1), line(2), line(3))  # the receipt was lost, and the log went on
    ingest.ingest(archive)
    deliver(archive, line(1), line(2), line(3), line(4))
    ingest.ingest(archive)
    assert numbers(archive) == [1, 2, 3, 4]
    (archive.state / "log-places.json").unlink()  # then the dataset is asked
    deliver(archive, line(4), line(5), first=300)
    ingest.ingest(archive)
    assert numbers(archive) == [1, 2, 3, 4, 5]
    deliver(archive, line(6), file="b-1")  # another file begins at its beginning
    deliver(archive, line(7), node="porch")
    ingest.ingest(archive)
    assert numbers(archive) == [1, 2, 3, 4, 5, 6, 7]


def test_a_line_that_comes_again_on_another_day_is_known(archive, monkeypatch):
    deliver(archive, line(1))
    ingest.ingest(archive)
    later = time.time() + 3 * DAY
    monkeypatch.setattr(time, "time", lambda: later)
    deliver(archive, line(1), line(2))
    ingest.ingest(archive)
    assert len(archive.log_files()) == 2
    assert numbers(archive) == [1, 2]


def test_lines_that_are_late_in_the_inbox_are_not_left_out(archive, monkeypatch):
    """A failure, or a clock that was set back, puts deliveries into another order than that of the log."""
    deliver(archive, line(1))
    deliver(archive, line(2), first=100)
    first = min(archive.log_inbox.glob("attic/*"))
    away = archive.root / "away"
    first.rename(away)
    ingest.ingest(archive)
    later = time.time() + DAY
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: later)
        deliver(archive, line(3), first=200)
        ingest.ingest(archive)
        away.rename(first)
        ingest.ingest(archive)
    assert numbers(archive) == [1, 2, 3]


@pytest.mark.parametrize(
    "state",
    [
        "", "[]", "{", '{"attic": 7}', '{"day": "2020-01-01", "places": {"attic": {"a-1": "x"}}}', '{"places": {}}',
        '{"day": 7, "places": {}}', '{"day": "2222-01-01", "places": {"attic": {"a-1": 0}}}', None,
    ],
)  # fmt: skip
def test_a_note_that_makes_no_sense_is_made_again(archive, monkeypatch, state):
    deliver(archive, line(1))
    ingest.ingest(archive)
    note = archive.state / "log-places.json"
    if state is None:
        note.unlink()
    else:
        note.write_text(state)
    later = time.time() + DAY
    monkeypatch.setattr(time, "time", lambda: later)
    deliver(archive, line(1), line(2))
    ingest.ingest(archive)
    assert numbers(archive) == [1, 2]


def test_what_lines_say(archive):
    now = time.time()
    deliver(
        archive,
        line(1, at=now - 50, more={"a": [1]}, level="warning"),
        line(2, at=now + 9 * DAY),
        json.dumps({"event": "odd", "level": "loud", "time": "yesterday", "text": "\x1b[2J \ud800 \u202e"}),
        "no JSON \x1b[31m",
        '{"event": 5}',
        "[" * 3_000,
        "\u00fcber",
    )
    ingest.ingest(archive)
    found = {row["event"] + str(row["fields"].get("number", "")): row for row in rows(archive)}
    assert abs(read_logs.unix_time(found["numbered1"]["at"]) - now + 50) < 1
    assert found["numbered1"]["level"] == "warning"
    assert found["numbered1"]["fields"]["more"] == {"a": [1]}
    assert read_logs.unix_time(found["numbered2"]["at"]) < now + 60  # it cannot come from the future
    assert found["odd"]["level"] == "info"
    texts = [row["fields"]["text"] for row in rows(archive) if row["event"] == "text"]
    assert set(texts) == {"no JSON \x1b[31m", '{"event": 5}', "[" * 3_000, "\u00fcber"}


def test_how_many_were_left_out_is_a_line_of_the_log(archive):
    few = receive.Limits(free_mb=0, low_disk_mb=0, log_day_mb=1)
    content = wire.log_lines("a-1", [(number, "x" * 1_000) for number in range(1_200)])
    receive.receive(archive, "attic", io.BytesIO(content), few)
    ingest.ingest(archive)
    [said] = [row for row in rows(archive) if row["event"] == logs.LEFT_OUT]
    assert (said["node"], said["level"], said["fields"]["lines"]) == ("attic", "warning", 1_201 - len(rows(archive)))


@pytest.mark.parametrize("damage", ["torn", "no Parquet", "empty", "pipe"])
def test_a_damaged_file_stops_no_record_and_no_line(archive, damage):
    import os

    deliver(archive, *[line(number) for number in range(50)])
    ingest.ingest(archive)
    [file] = archive.log_files()
    if damage == "pipe":
        file.unlink()
        os.mkfifo(file)
    else:
        file.write_bytes({"torn": file.read_bytes()[:-40], "no Parquet": b"x" * 5_000, "empty": b""}[damage])
    assert read_logs.search(archive, EVERYTHING).unreadable == [utc_text(time.time())[:10]]
    receive.receive(archive, "attic", io.BytesIO(a_record()), LIMITS)
    deliver(archive, line(50), first=5_000)
    outcome = ingest.ingest(archive)
    assert (outcome.rows, outcome.log_lines, outcome.damaged) == (1, 1, [])
    assert numbers(archive) == [50]
    [problem] = logs.problems(archive)
    assert f"damaged-{file.name}" in problem
    assert prune.prune(archive, time.time() + 3 * DAY, logs_older_than=DAY)
    assert logs.problems(archive) == []


def test_a_delivery_that_no_ingest_can_read_holds_up_no_other(archive, monkeypatch):
    deliver(archive, line(1))
    deliver(archive, line(2), node="porch")
    parsed = logs.said

    def poisoned(text, arrived):
        if '"number": 1' in text:
            raise MemoryError
        return parsed(text, arrived)

    monkeypatch.setattr(logs, "said", poisoned)
    for _ in range(4):
        ingest.ingest(archive)
    assert numbers(archive) == [2]
    assert list((archive.quarantine / "attic").glob("*.reason"))
    assert not list(archive.log_inbox.glob("attic/*"))


def test_lines_that_are_damaged_are_kept_aside(archive):
    deliver(archive, line(1))
    [file] = archive.log_inbox.glob("*/*")
    file.write_bytes(b'nonsense\n{"file": 7, "offset": 1, "line": "x"}\n{"left_out": "x"}\n{}\n' + file.read_bytes())
    ingest.ingest(archive)
    assert numbers(archive) == [1]
    assert len(list(archive.quarantine.glob("attic/*.jsonl"))) == 4


def test_a_disk_that_fails_under_lines_fails_no_record(archive, monkeypatch):
    receive.receive(archive, "attic", io.BytesIO(a_record()), LIMITS)
    deliver(archive, line(1))

    def full(self, file, rows):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(logs.Taking, "_write_day", full)
        outcome = ingest.ingest(archive)
    assert (outcome.rows, outcome.log_lines) == (1, 0)
    assert "No space left" in outcome.damaged[0]
    assert not list(archive.inbox.glob("*/*"))
    assert ingest.ingest(archive).log_lines == 1
    assert numbers(archive) == [1]


def test_a_later_versions_file_is_left_alone(archive):
    deliver(archive, line(1))
    ingest.ingest(archive)
    [file] = archive.log_files()
    pq.write_table(pq.read_table(file).replace_schema_metadata({"schema_version": "9"}), file)
    before = file.read_bytes()
    deliver(archive, line(2), first=100)
    [problem] = ingest.ingest(archive).damaged
    assert "later one" in problem
    assert file.read_bytes() == before
    with pytest.raises(StorageError):
        cli_ingest(archive)
    assert read_logs.search(archive, EVERYTHING).unreadable


def cli_ingest(archive):
    args = cli.parser().parse_args(["--root", str(archive.root), "ingest"])
    return args.run(args)


def test_a_few_lines_of_a_large_day_wait_for_more(archive, monkeypatch):
    monkeypatch.setattr(log_lines, "SMALL_BYTES", 0)
    deliver(archive, *[line(number, filler=str(time.time_ns() * number)) for number in range(2_000)])
    ingest.ingest(archive)
    assert archive.log_files()[0].stat().st_size > 8_192
    deliver(archive, line(2_000), first=200_000)
    assert cli_ingest(archive) == 0
    assert len(numbers(archive)) == 2_000
    later = time.time() + log_lines.PATIENCE + 10
    monkeypatch.setattr(time, "time", lambda: later)
    assert cli_ingest(archive) == 0
    assert len(numbers(archive)) == 2_001


def test_thirty_days_stay_and_older_ones_go(archive, monkeypatch):
    """The night's upkeep, with its own option, on each of 40 days."""
    start = 1_790_000_000 // DAY * DAY
    clock = {"now": start}
    monkeypatch.setattr(time, "time", lambda: clock["now"])
    for day in range(40):
        clock["now"] = start + day * DAY + 4.7 * 3_600
        deliver(archive, line(day), first=1_000 * day)
        ingest.ingest(archive)
        assert cli.main(["--root", str(archive.root), "prune", "--yes", "--logs-older-than", "30d"]) == 0
    assert numbers(archive) == list(range(9, 40))  # that of 31 days ago was over for less than 30
    assert [file.parent.name for file in archive.log_files()][-1] == f"day={utc_text(clock['now'])[8:10]}"
    assert len(list(archive.logs.glob("year=*/month=*/day=*"))) == 31


def test_what_would_go_is_listed_first(archive, capsys):
    deliver(archive, line(1))
    ingest.ingest(archive)
    plan = prune.plan_days(archive, time.time() + 40 * DAY, logs_older_than=30 * DAY)
    assert [(old.rows, old.reason) for old in plan] == [(1, "age")]
    assert archive.log_files()
