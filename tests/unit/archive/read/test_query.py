"""SQL can only read: what is not a question is refused, and where root asks the process could not write even so."""

from __future__ import annotations

import os
import time
from pathlib import Path

import duckdb
import pytest
from builders import SERVICE, bytes_of, in_a_process

from speedtest_logger import accounts
from speedtest_logger.archive import cli, open_archive
from speedtest_logger.archive.read import sql
from speedtest_logger.errors import UsageError

NOW = time.time() - 100


QUESTIONS = [
    "SELECT node FROM records",
    "FROM records SELECT node;",
    "/* who */ SELECT node -- comment\n FROM records",
    "WITH a AS (SELECT node FROM records) SELECT * FROM a",
    "WITH RECURSIVE a AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM a WHERE n < 3) SELECT * FROM a",
    "VALUES (1)",
    "DESCRIBE records",
    "SUMMARIZE records",
    "SHOW TABLES",
    "TABLE records",
    "(SELECT node FROM records) UNION ALL SELECT 'cellar'",
    "PIVOT records ON status IN ('ok') USING count(*) GROUP BY node",
    "UNPIVOT (SELECT download_bps, upload_bps FROM records) ON download_bps, upload_bps",
    "EXPLAIN SELECT node FROM records",
    "explain analyze FROM records",
    "SELECT 'COPY records TO x; DROP TABLE records' AS text",
]


@pytest.mark.parametrize("question", QUESTIONS)
def test_questions_are_answered(archive, question):
    assert open_archive(archive.root).query(question).num_rows > 0


NOT_QUESTIONS = {
    "COPY records TO '{file}'": "COPY is not a question",
    "COPY (SELECT 1 AS a) TO '{file}' (FORMAT parquet)": "COPY is not a question",
    "cOpY/**/records--\n to '{file}'": "COPY is not a question",
    "COPY\u00a0records TO '{file}'": "COPY is not a question",
    "EXPORT DATABASE '{folder}'": "EXPORT is not a question",
    "IMPORT DATABASE '{folder}'": "PRAGMA is not a question",
    "ATTACH '{file}' AS x": "ATTACH is not a question",
    "DETACH x": "DETACH is not a question",
    "INSTALL httpfs": "LOAD is not a question",
    "LOAD httpfs": "LOAD is not a question",
    "CREATE TABLE x AS FROM records": "CREATE is not a question",
    "CREATE TABLE x AS PIVOT records ON status USING count(*)": "PIVOT needs its values",
    "INSERT INTO records VALUES (1)": "INSERT is not a question",
    "UPDATE records SET node = 'x'": "UPDATE is not a question",
    "DELETE FROM records": "DELETE is not a question",
    "DROP VIEW records": "DROP is not a question",
    "PRAGMA version": "PRAGMA is not a question",
    "SET threads = 1": "SET is not a question",
    "RESET threads": "SET is not a question",
    "USE memory": "SET is not a question",
    "CALL pragma_version()": "CALL is not a question",
    "CHECKPOINT": "CALL is not a question",
    "VACUUM": "VACUUM is not a question",
    "BEGIN": "TRANSACTION is not a question",
    "PREPARE x AS SELECT 1": "PREPARE is not a question",
    "EXECUTE x": "EXECUTE is not a question",
    "COMMENT ON VIEW records IS 'x'": "ALTER is not a question",
    "SELECT 1; COPY records TO '{file}'": "one statement is expected, there are 2",
    "SELECT 1; SELECT 2": "one statement is expected, there are 2",
    "": "one statement is expected, there are 0",
    "-- nothing": "one statement is expected, there are 0",
    "PIVOT records ON node USING count(*)": "PIVOT needs its values",
    "EXPLAIN ANALYZE COPY records TO '{file}'": "EXPLAIN of COPY is not a question",
    "explain\tanalyze\nINSERT INTO records VALUES (1)": "EXPLAIN of INSERT is not a question",
    "/**/EXPLAIN ANALYZE COPY records TO '{file}'": "EXPLAIN must be the first word",
    "WITH a AS (COPY records TO '{file}') SELECT * FROM a": "COPY in a WITH clause is not a question",
    "with a as MATERIALIZED (/**/copy (SELECT 1) to '{file}') FROM a": "COPY in a WITH clause",
    "EXPLAIN ANALYZE WITH a AS (COPY records TO '{file}') FROM a": "COPY in a WITH clause",
    "WITH a AS (INSERT INTO records VALUES (1) RETURNING *) FROM a": "INSERT in a WITH clause",
    "FROM json_execute_serialized_sql('{tree}')": "json_execute_serialized_sql",
    "FROM \"JSON_Execute_Serialized_SQL\"('{tree}')": "json_execute_serialized_sql",
    "FROM query('FROM json_execute_serialized_sql(''x'')')": "the function query",
    "SELECT * FROM (FROM system.main.query('SELECT 1'))": "the function query",
}


@pytest.mark.parametrize(("wish", "words"), list(NOT_QUESTIONS.items()))
def test_anything_else_is_refused_by_its_kind(archive, wish, words):
    before = bytes_of(archive.root)
    file = archive.month_files()[0]
    text = wish.replace("{file}", str(file)).replace("{folder}", str(archive.archive)).replace("{tree}", tree(file))
    with pytest.raises(UsageError, match=words):
        open_archive(archive.root).query(text)
    assert bytes_of(archive.root) == before


def test_several_questions_are_answered_in_their_order_or_none_is(archive):
    asked = open_archive(archive.root)
    first, second, third = asked.answers(["SELECT count(*) AS n FROM records", "FROM raw", "FROM records"])
    assert (first["n"].to_pylist(), second) == ([third.num_rows], asked.query("FROM raw"))
    with pytest.raises(UsageError, match="DELETE is not a question"):
        asked.answers(["FROM records", "DELETE FROM stored"])
    with pytest.raises(UsageError, match="one statement is expected, there are 2"):
        asked.answers(["FROM records", "FROM records; FROM records"])


def tree(file):
    """A COPY as json_execute_serialized_sql would run it."""
    wish = f"WITH a AS (COPY (SELECT 1 AS a) TO '{file}') SELECT * FROM a"
    found = duckdb.connect().execute("SELECT json_serialize_sql(?)", [wish]).fetchall()[0][0]
    return found.replace("'", "''")


WRITES = [
    "COPY (SELECT range AS a FROM range(1000000)) TO '{file}' (FORMAT parquet)",
    "COPY (SELECT 1 AS a) TO '{folder}/location=new/new.parquet'",
    "COPY (SELECT range AS a FROM range(1000000)) TO '{folder}/many' (FORMAT parquet, PER_THREAD_OUTPUT)",
    "COPY (SELECT 1 AS a, 2 AS b) TO '{folder}/location=home' (FORMAT parquet, PARTITION_BY (a), OVERWRITE)",
    "WITH a AS (COPY (SELECT 1 AS a) TO '{file}') SELECT * FROM a",
    "FROM json_execute_serialized_sql('{tree}')",
    "EXPORT DATABASE '{folder}'",
]


@pytest.mark.parametrize("through", ["query", "become"])
@pytest.mark.parametrize("wish", WRITES)
def test_roots_process_could_not_write_even_so(archive, monkeypatch, wish, through):
    """Without the check of statements DuckDB carries a COPY out, up to the disk that refuses it."""
    monkeypatch.setattr(sql, "check", lambda *_: None)
    before = bytes_of(archive.root)
    file = archive.month_files()[0]
    text = wish.replace("{file}", str(file)).replace("{folder}", str(archive.archive)).replace("{tree}", tree(file))

    def act():
        if through == "become":  # what the command line does
            accounts.become(SERVICE, to_read=True)
        with pytest.raises(UsageError, match=r"Permission denied|Cannot open file|Failed to create directory"):
            open_archive(archive.root).query(text)
        assert open_archive(archive.root).query("SELECT count(*) AS n FROM records").to_pylist() == [{"n": 1}]

    in_a_process(act)
    assert bytes_of(archive.root) == before


def test_what_does_not_fit_into_memory_goes_to_a_folder_of_its_own(archive):
    def act():
        accounts.become(SERVICE, to_read=True)
        found = open_archive(archive.root).query("SELECT value FROM duckdb_settings() WHERE name = 'temp_directory'")
        (folder,) = found["value"].to_pylist()
        assert Path(folder).name.startswith("speedtest-query-")
        assert not Path(folder).exists()

    in_a_process(act)


def test_months_are_the_groups_to_read(archive):
    assert [oct(file.stat().st_mode & 0o777) for file in archive.month_files()] == ["0o640"]


@pytest.mark.parametrize(
    "verb", [["query", "FROM records"], ["nodes"], ["fleet"], ["coverage"], ["verify"], ["latest"]]
)
def test_roots_command_line_answers(archive, verb, capfd):
    def act():
        assert cli.main(["--root", str(archive.root), *verb]) == 0
        assert os.getuid() == SERVICE.uid

    in_a_process(act)
    said = capfd.readouterr()
    assert "attic" in said.out or "all is as the manifest says" in said.err or "expected" in said.out
