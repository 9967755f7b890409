"""Searching the fleet's logs: the right lines, the newest last, page by page, and shown so that nothing can harm."""

from __future__ import annotations

import csv
import io
import json
import sys
from typing import NamedTuple

import pytest

from speedtest_logger.archive import cli
from speedtest_logger.archive.format.layout import Layout, ulid
from speedtest_logger.archive.read import logs
from speedtest_logger.archive.read.logs import Wanted, rows_of, search
from speedtest_logger.archive.write import by_day
from speedtest_logger.archive.write import logs as write_logs
from speedtest_logger.errors import UsageError
from speedtest_logger.log import PRIORITIES
from speedtest_logger.record import utc_text

START = 1_790_035_200  # a midnight
DAY, HOUR = 86_400, 3_600
NODES = ("attic", "porch", "shed")


class Entry(NamedTuple):
    """A line."""

    at: float
    node: str
    number: int


def a_line(number, at):
    level = tuple(PRIORITIES)[number % 4]
    fields = {"number": number, "status": "failed" if number % 7 == 0 else "ok", "message": f"Timeout of {number} s"}
    return json.dumps({"time": utc_text(at), "level": level, "event": "record" if number % 2 else "try", **fields})


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Four days of three nodes, a line each 20 minutes; the shed's come a day late."""
    made = Layout(tmp_path_factory.mktemp("archive"))
    made.prepare()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(by_day, "GROUP_ROWS", 50)
        for day in range(5):
            for node in NODES:
                deliver(made, node, day)
            taking = write_logs.Taking(made)
            batch = by_day.Batch()
            for folder in sorted(made.log_inbox.iterdir()):
                taking.read(sorted(folder.iterdir()), batch)
            taking.write(batch)
    return made


def deliver(made, node, day):
    of = day - 1 if node == "shed" else day
    if not 0 <= of < 4:
        return
    folder = made.log_inbox / node
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.time", lambda: START + day * DAY + DAY - 60)
        name = ulid()
    found = [
        {"file": "a-1", "offset": number * 100, "line": a_line(number, START + number * 1_200)}
        for number in range(of * 72, of * 72 + 72)
    ]
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))


def everything():
    """All lines: node, number, time; in the order in which they are to be found."""
    return [Entry(START + number * 1_200, node, number) for number in range(4 * 72) for node in NODES]


def found(archive, **wanted):
    lines = search(archive, Wanted(**{"start": 0, "end": 4e9, "limit": 10_000, **wanted})).lines
    return [(logs.unix_time(row["at"]), row["node"], row["fields"]["number"]) for row in rows_of(lines)]


def test_all_of_them_in_order_though_some_came_late(archive):
    assert len(archive.log_files()) == 5
    assert found(archive) == everything()


@pytest.mark.parametrize(
    ("wanted", "condition"),
    [
        ({"nodes": frozenset(["porch"])}, lambda e: e.node == "porch"),
        ({"nodes": frozenset(["porch", "shed"])}, lambda e: e.node != "attic"),
        ({"nodes": frozenset()}, lambda _: False),
        ({"nodes": frozenset(["nobody"])}, lambda _: False),
        ({"start": START + DAY, "end": START + 2 * DAY}, lambda e: START + DAY <= e.at < START + 2 * DAY),
        ({"start": START + DAY + 1, "end": START + DAY + 1_201}, lambda e: e.at == START + DAY + 1_200),
        ({"end": START}, lambda _: False),
        ({"level": "warning"}, lambda e: e.number % 4 >= 2),
        ({"level": "error"}, lambda e: e.number % 4 == 3),
        ({"text": "timeout OF 17 s"}, lambda e: e.number == 17),
        ({"text": "RECORD"}, lambda e: e.number % 2 == 1),
        ({"text": "status=failed"}, lambda e: e.number % 7 == 0),
        ({"text": "number=28"}, lambda e: str(e.number).startswith("28")),
        ({"text": '"number":28,'}, lambda e: e.number == 28),
        ({"text": ".*"}, lambda _: False),
        ({"text": "(=["}, lambda _: False),
        (
            {"nodes": frozenset(["shed"]), "level": "error", "text": "status=failed", "start": START + DAY},
            lambda e: e.node == "shed" and e.number % 28 == 7 and e.at >= START + DAY,
        ),
    ],
)
def test_what_is_asked_for_is_found(archive, wanted, condition):
    expected = [entry for entry in everything() if condition(entry)]
    assert found(archive, **wanted) == expected
    assert bool(expected) or list(wanted) != ["level"]


@pytest.mark.parametrize("limit", [1, 5, 72, 100, 864, 865])
def test_the_newest_come_first_page_by_page(archive, limit):
    pages, before = [], None
    while True:
        answer = search(archive, Wanted(0, 4e9, limit=limit, before=before))
        pages.insert(0, [(logs.unix_time(r["at"]), r["node"], r["fields"]["number"]) for r in rows_of(answer.lines)])
        before = answer.before
        if before is None or len(pages) == 12:
            break
    told = [entry for page in pages for entry in page]
    assert told == everything()[-len(told) :]
    assert len(told) == min(864, 12 * limit)


def test_a_search_for_the_newest_reads_few_files(archive, monkeypatch):
    opened = []
    original = logs.parquet.ParquetFile
    monkeypatch.setattr(logs.parquet, "ParquetFile", lambda path: opened.append(path) or original(path))
    assert len(found(archive, limit=10)) == 10
    assert len(opened) <= 2
    opened.clear()
    found(archive, start=START + 3 * DAY)
    assert len(opened) == 2


@pytest.mark.parametrize(
    "cursor", ["", "x", "[]", "{}", "[1, 2, 3, 4]", '["2026-01-31T12:00:00.000Z", "a", "b", 1e99]', "["]
)
def test_a_cursor_that_is_none_is_refused(archive, cursor):
    if cursor:
        with pytest.raises(UsageError):
            search(archive, Wanted(0, 4e9, before=cursor))
    with pytest.raises(UsageError):
        search(archive, Wanted(0, 4e9, text="x" * 201))


def run(archive, capsys, *arguments):
    code = cli.main(["--root", str(archive.root), "logs", *arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


PERIOD = ("--from", "2026-09-22", "--to", "2026-09-30")


def test_the_command_shows_lines_as_a_log_does(archive, capsys):
    code, out, said = run(archive, capsys, *PERIOD, "--grep", "timeout of 30 s", "--node", "shed")
    assert (code, said) == (0, "")
    assert out == "2026-09-22T10:00:00.000Z shed warning try number=30 status=ok message=Timeout of 30 s\n"


def test_its_forms_agree(archive, capsys):
    options = (*PERIOD, "--level", "warning", "--limit", "50")
    text = run(archive, capsys, *options)[1].splitlines()
    objects = [json.loads(line) for line in run(archive, capsys, *options, "--format", "json")[1].splitlines()]
    cells = list(csv.DictReader(io.StringIO(run(archive, capsys, *options, "--format", "csv")[1])))
    assert len(text) == len(objects) == len(cells) == 50
    assert [(row["at"], row["node"]) for row in objects] == [(row["at"], row["node"]) for row in cells]
    assert [json.loads(row["fields"]) for row in cells] == [row["fields"] for row in objects]
    assert [line.split()[:2] for line in text] == [[row["at"], row["node"]] for row in objects]
    assert objects == sorted(objects, key=lambda row: (row["at"], row["node"]))


def test_it_says_what_is_left_out_and_why_there_may_be_nothing(archive, capsys, tmp_path):
    assert "there are older ones, see --limit" in run(archive, capsys, *PERIOD, "--limit", "3")[2]
    assert "no such lines of node nobody" in run(archive, capsys, *PERIOD, "--node", "nobody")[2]
    empty = Layout(tmp_path / "empty")
    empty.prepare()
    assert "speedtest_logger_log_delivery_enabled" in run(empty, capsys)[2]
    code, _, said = run(archive, capsys, "--location", "nowhere")
    assert (code, "no node is at 'nowhere'" in said) == (2, True)
    code, _, said = run(archive, capsys, "--from", "2026-09-25", "--to", "2026-09-24")
    assert (code, "--from has to lie before --to" in said) == (2, True)
    code, _, said = run(archive, capsys, "--grep", "x" * 300)
    assert (code, "200 characters" in said) == (2, True)
    for limit in ("0", "-1", "x", "1000001", "9" * 40):
        with pytest.raises(SystemExit):
            run(archive, capsys, "--limit", limit)
        assert "number of lines" in capsys.readouterr().err


def test_a_location_is_its_nodes(archive, capsys):
    archive.fleet.mkdir(exist_ok=True)
    inventory = {name: {"location": "home" if name == "attic" else "farm"} for name in NODES}
    (archive.fleet / "schedule.json").write_text(json.dumps({"nodes": {}, "inventory": inventory}))
    _, out, said = run(archive, capsys, *PERIOD, "--location", "farm", "--limit", "20")
    assert {line.split()[1] for line in out.splitlines()} == {"porch", "shed"}, said
    _, out, _ = run(archive, capsys, *PERIOD, "--location", "farm", "--node", "attic")
    assert out == ""


def test_hostile_lines_move_no_cursor(tmp_path, capsys):
    made = Layout(tmp_path / "archive")
    made.prepare()
    (made.log_inbox / "mallory").mkdir()
    said = json.dumps(
        {"event": "a\x1b[2J\u202e", "level": "info", "=cmd": "\x07\x9b31m\n2026 attic forged", "t": "=1+1"}
    )
    row = {"file": "a", "offset": 0, "line": said}
    [node] = [made.log_inbox / "mallory"]
    (node / f"{ulid()}.jsonl").write_text(json.dumps(row) + "\n")
    write_logs.Taking(made).take(list(node.iterdir()))
    for form in cli.logs.FORMS:
        _, out, _ = run(made, capsys, "--format", form)
        assert out
        assert all(sign.isprintable() or sign in "\r\n" for sign in out), form
    _, out, _ = run(made, capsys)
    assert len(out.splitlines()) == 1
    assert sys.stdout  # nothing closed it


def test_a_day_that_cannot_be_read_is_said_and_others_are_shown(archive, tmp_path, capsys):
    import shutil

    shutil.copytree(archive.root, tmp_path / "copy")
    copy = Layout(tmp_path / "copy")
    copy.log_files()[2].write_bytes(b"PAR1 no more")
    code, out, said = run(copy, capsys, *PERIOD, "--limit", "10000", "--level", "debug")
    assert (code, len(out.splitlines())) == (0, 864 - 3 * 72)
    assert "the lines that came in on 2026-09-24 cannot be read" in said
