"""The workbench asks what was chosen and nothing else, and listens on this machine only."""

from __future__ import annotations

import io
from datetime import date, datetime, timezone

import pyarrow.parquet as pq
import pytest
from builders import fresh, row

from speedtest_logger.archive import open_archive
from speedtest_logger.archive.format import json_lines
from speedtest_logger.archive.write import store
from speedtest_logger.errors import EXIT_USAGE, UsageError
from speedtest_logger.workbench import cli
from speedtest_logger.workbench.questions import FIRST_QUESTION, Selection, answer, file_of, nodes_of

JULY = [datetime(2026, 7, day, 12, tzinfo=timezone.utc) for day in (1, 2, 3)]
ALL = Selection(date(2026, 7, 1), date(2026, 7, 3))
QUESTION = "SELECT node, day(started_at) AS day FROM records ORDER BY ALL"


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Two nodes on three days."""
    layout = fresh(tmp_path_factory)
    rows = [row(at.timestamp(), node=node) for at in JULY for node in ("attic", "shed's")]
    with store.single_writer(layout, "test"):
        store.commit(layout, "ingest", json_lines.to_table(rows))
    return open_archive(layout.root)


@pytest.mark.parametrize(
    ("selection", "rows"),
    [
        (ALL, [(node, day) for node in ("attic", "shed's") for day in (1, 2, 3)]),
        (Selection(date(2026, 7, 2), date(2026, 7, 2)), [("attic", 2), ("shed's", 2)]),
        (Selection(date(2026, 7, 3), date(2026, 7, 9), ("shed's",)), [("shed's", 3)]),
        (Selection(date(2026, 7, 3), date(2026, 7, 1)), []),
    ],
)
def test_what_is_chosen_is_what_the_question_sees(archive, selection, rows):
    found = answer(archive, selection, QUESTION).to_pylist()
    assert [(item["node"], item["day"]) for item in found] == rows


def test_the_first_question_is_answered_and_nodes_are_named(archive):
    assert answer(archive, ALL, FIRST_QUESTION).num_rows == 6
    assert nodes_of(archive) == ["attic", "shed's"]
    assert Selection.latest(date(2026, 7, 30)) == Selection(date(2026, 7, 1), date(2026, 7, 30))


@pytest.mark.parametrize(
    "wish",
    [
        "SELECT * FROM read_text('{file}')",
        "SELECT * FROM '{file}'",
        "SELECT * FROM read_csv('/etc/passwd')",
        "COPY records TO '{file}'",
        "SET enable_external_access = true",
        "ATTACH '{file}' AS x",
        "SELECT 1; SELECT 2",
    ],
)
def test_a_question_reads_and_writes_nothing_but_the_archive(archive, tmp_path, wish):
    file = tmp_path / "secret.csv"
    file.write_text("a\nsecret\n")
    with pytest.raises(UsageError) as refused:
        answer(archive, ALL, wish.format(file=file))
    assert "secret\n" not in str(refused.value)
    assert file.read_text() == "a\nsecret\n"


def test_an_answer_is_taken_away_whole(archive):
    table = answer(archive, ALL, "SELECT node, started_at, '=1+1' AS text FROM records ORDER BY started_at, node")
    assert pq.read_table(io.BytesIO(file_of(table, "parquet"))).to_pylist() == table.to_pylist()
    lines = file_of(table, "csv").decode().splitlines()
    assert lines[0] == "node,started_at,text"
    assert len(lines) == 7
    assert lines[1].endswith(",'=1+1")


def test_it_listens_on_this_machine_only_and_tells_nobody(monkeypatch, archive):
    monkeypatch.setattr(cli, "find_spec", lambda _: object())
    started = []
    monkeypatch.setattr(cli.os, "execve", lambda *given: started.append(given))
    cli.main(["--root", str(archive.layout.root), "--port", "8600", "--path", "/workbench/"])
    ((_, argv, environment),) = started
    options = dict(word.removeprefix("--").split("=", 1) for word in argv if word.startswith("--"))
    assert options["server.address"] == "127.0.0.1"
    assert options["browser.gatherUsageStats"] == "false"
    assert (options["server.port"], options["server.baseUrlPath"]) == ("8600", "workbench")
    assert environment["SPEEDTEST_ARCHIVE_DIR"] == str(archive.layout.root)


def test_it_answers_to_its_own_names_only():
    for given, names in (([], ["localhost", "127.0.0.1"]), (["--host", "speed.example.org"], ["speed.example.org"])):
        argv = cli.command(cli.parser().parse_args(given))
        assert [word for word in argv if "allowedHosts" in word] == [f"--server.allowedHosts={name}" for name in names]
        assert f"--browser.serverAddress={names[0]}" in argv


def test_for_others_than_this_machine_it_wants_a_front(monkeypatch, archive, capsys):
    monkeypatch.setattr(cli, "find_spec", lambda _: object())
    started = []
    monkeypatch.setattr(cli.os, "execve", lambda *given: started.append(given))
    asked = ["--root", str(archive.layout.root), "--bind", "192.0.2.7"]
    assert cli.main(asked) == EXIT_USAGE
    assert "--bind 192.0.2.7 needs --host NAME" in capsys.readouterr().err
    assert not started
    cli.main([*asked, "--host", "speed.example.org"])
    assert "--server.address=192.0.2.7" in started[0][1]


def test_what_is_missing_is_said_in_words(monkeypatch, tmp_path, archive, capsys):
    assert cli.main(["--root", str(tmp_path)]) == EXIT_USAGE
    assert f"{tmp_path} is not an archive" in capsys.readouterr().err
    monkeypatch.setattr(cli, "find_spec", lambda _: None)
    assert cli.main(["--root", str(archive.layout.root)]) == EXIT_USAGE
    assert "requirements/workbench.txt" in capsys.readouterr().err
