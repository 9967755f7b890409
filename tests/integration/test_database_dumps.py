"""Dumps of the sink on real servers, and its command line: what comes back is what was dumped, or it is said."""

from __future__ import annotations

import json
import os

import psycopg
import pytest
from builders import DAY, FIRST, put, slot, stored
from postgresql import PROGRAMS, Server, forms

from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.errors import ConfigError, DeliveryError
from speedtest_logger.sinks import cli, dumps, server, settings, tables
from speedtest_logger.sinks.connection import connected
from speedtest_logger.sinks.settings import READER, WRITER, Settings


@pytest.fixture(scope="module", params=sorted(forms()))
def own(request):
    made = Server(*forms()[request.param]).make()
    patched = pytest.MonkeyPatch()
    patched.setattr(server, "PROGRAMS", PROGRAMS)
    with connected(Settings(made.conninfo("postgres"))) as session:
        server.prepare(session, "correct horse battery")
        server.prepare(session, "correct horse battery")  # as at each start
    yield made
    made.remove()
    patched.undo()


@pytest.fixture
def layout(tmp_path, own, monkeypatch):
    made = Layout(tmp_path / "archive")
    made.prepare()
    made.database.mkdir()
    with psycopg.connect(own.conninfo("speedtest"), autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS speedtest CASCADE")
    monkeypatch.setenv("DATABASE_URL", writer(own))
    monkeypatch.setenv(settings.TIMESCALE, str(own.timescale).lower())
    for day in range(3):
        put(made, slot("attic", FIRST + day * 40 * DAY, message="a\tb"), slot("shed", FIRST + day * DAY))
    return made


def writer(own):
    return f"postgresql:///speedtest?host={own.folder}&user={WRITER}"


def run(layout, *words):
    return cli.main(["--root", str(layout.root), *words])


def held(own):
    with psycopg.connect(own.conninfo("speedtest")) as connection:
        return connection.execute("SELECT * FROM speedtest.records ORDER BY node, started_at").fetchall()


def status(layout, capsys):
    capsys.readouterr()
    code = run(layout, "status", "--format", "json")
    return code, json.loads(capsys.readouterr().out)


def test_dumped_dropped_and_restored_it_is_the_same(layout, own, capsys):
    assert run(layout, "sync") == 0
    assert run(layout, "dump") == 0
    before = held(own)
    assert len(before) == len(stored(layout)) == 6
    with psycopg.connect(own.conninfo("speedtest"), autocommit=True) as connection:
        connection.execute("DROP SCHEMA speedtest CASCADE")
    assert run(layout, "restore") == 2
    assert "would take the place of all tables: add --yes" in capsys.readouterr().err
    assert run(layout, "restore", "--yes") == 0
    assert held(own) == before
    put(layout, slot("attic", FIRST + 3600))
    assert run(layout, "sync") == 0
    assert len(held(own)) == 7
    assert run(layout, "restore-test") == 0
    assert "records" in capsys.readouterr().out
    code, said = status(layout, capsys)
    assert code == 0
    assert said["lag"] == 0
    assert said["dump"].endswith(".dump")
    assert psql(own, "SELECT count(*) FROM pg_database WHERE datname = 'speedtest_scratch'") == 0


def test_a_dump_is_named_from_wherever_the_command_is_typed(layout, own, tmp_path, monkeypatch, capsys):
    assert run(layout, "sync") == 0
    assert run(layout, "dump") == 0
    (dump,) = (layout.database / "dumps").iterdir()
    (tmp_path / dump.name).write_text("something else")
    monkeypatch.chdir(tmp_path)
    for named in (dump.name, str(dump)):
        assert run(layout, "restore-test", named) == 0
        assert run(layout, "restore", named, "--yes") == 0
    assert len(held(own)) == 6
    assert run(layout, "restore", f"./{dump.name}", "--yes") != 0
    assert run(layout, "restore", "speedtest-never.dump", "--yes") == 2
    assert "speedtest-never.dump is no dump: name one of `ls`" in capsys.readouterr().err


def test_a_dump_comes_back_in_whichever_form_is_wanted(layout, own, monkeypatch):
    assert run(layout, "sync") == 0
    assert run(layout, "dump") == 0
    before = held(own)
    for timescale in sorted({False, own.timescale}):
        monkeypatch.setenv(settings.TIMESCALE, str(timescale).lower())
        assert run(layout, "restore", "--yes") == 0
        with connected(Settings(own.conninfo("speedtest"))) as session:
            assert tables.form(session) == (tables.HYPERTABLE if timescale else tables.PARTITIONS)
        assert held(own) == before
        assert run(layout, "sync") == 0
        assert held(own) == before


def psql(own, sql):
    with psycopg.connect(own.conninfo("speedtest"), autocommit=True) as connection:
        return connection.execute(sql).fetchone()[0]


def test_the_newest_dumps_stay(layout, own, monkeypatch):
    assert run(layout, "sync") == 0
    folder = layout.database / "dumps"
    folder.mkdir()
    for day in range(1, 10):
        (folder / f"speedtest-202601{day:02d}T000000Z.dump").touch()
    assert run(layout, "dump", "--keep", "3") == 0
    names = [file.name for file in dumps.dumps(folder)]
    assert names[:2] == ["speedtest-20260108T000000Z.dump", "speedtest-20260109T000000Z.dump"]
    assert len(names) == 3
    assert not list(folder.glob(".*"))


def test_a_dump_that_is_not_what_was_dumped_is_removed_and_told(layout, own, monkeypatch, capsys):
    assert run(layout, "sync") == 0
    original = dumps._run

    def spoiled(session, program, *arguments, **options):
        original(session, program, *arguments, **options)
        if program == "pg_restore":
            with psycopg.connect(session.settings.conninfo, autocommit=True) as connection:
                connection.execute("UPDATE speedtest.records SET latency_ms = 1 WHERE node = 'shed'")

    with monkeypatch.context() as patched:
        patched.setattr(dumps, "_run", spoiled)
        assert run(layout, "dump") == 4
    assert "the dump is not what was dumped: speedtest.records" in capsys.readouterr().err
    assert list((layout.database / "dumps").iterdir()) == []
    code, said = status(layout, capsys)
    assert code == 1
    assert said["dump_failing_since"] is not None
    assert run(layout, "dump") == 0
    assert status(layout, capsys)[0] == 0


def test_since_when_a_server_is_dead_is_kept_until_it_is_back(layout, own, capsys):
    assert run(layout, "sync") == 0
    put(layout, slot("attic", FIRST + 3600))
    own.stop()
    try:
        assert run(layout, "sync") == 4
        code, first = status(layout, capsys)
        assert (code, first["lag"]) == (1, 1)
        assert "the database: connection" in first["why"]
        assert run(layout, "sync") == 4
        assert status(layout, capsys)[1]["failing_since"] == first["failing_since"]
    finally:
        own.start()
    assert run(layout, "sync") == 0
    code, said = status(layout, capsys)
    assert (code, said["lag"], said["failing_since"]) == (0, 0, None)


def test_roles_are_what_they_should_be(layout, own):
    assert run(layout, "sync") == 0
    roles = dict(
        psql_rows(own, "SELECT rolname, (rolsuper, rolcreaterole, rolcreatedb, rolcanlogin)::text FROM pg_roles")
    )
    assert roles[WRITER] == "(f,f,t,t)"
    assert roles[READER] == "(f,f,f,t)"
    passwords = dict(psql_rows(own, "SELECT rolname, rolpassword FROM pg_authid"))
    assert passwords[WRITER] is None
    assert passwords[READER].startswith("SCRAM-SHA-256$")
    reader = own.conninfo("speedtest").replace("user=postgres", f"user={READER}")
    with psycopg.connect(reader) as connection:
        assert connection.execute("SELECT count(*) FROM speedtest.records").fetchone() == (6,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("CREATE TEMPORARY TABLE mine (a int)")
    with connected(Settings(own.conninfo("postgres"))) as session:
        server.prepare(session, "")
    with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
        psycopg.connect(reader)


def psql_rows(own, sql):
    with psycopg.connect(own.conninfo("speedtest")) as connection:
        return connection.execute(sql).fetchall()


def test_a_password_is_handed_over_once_and_a_short_one_is_refused(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "run"))
    server.hand_over()
    assert server.reader_password() == ""
    (tmp_path / server.CREDENTIAL).write_text("correct horse battery\n")
    server.hand_over()
    assert (tmp_path / "run" / server.HANDED_OVER).stat().st_mode & 0o777 == 0o600
    assert server.reader_password() == "correct horse battery"
    assert list((tmp_path / "run").iterdir()) == []
    (tmp_path / server.CREDENTIAL).write_text("speedtest")
    server.hand_over()
    with pytest.raises(ConfigError, match="fewer than 12 characters"):
        server.reader_password()


def test_settings_name_what_is_wrong_and_no_password():
    wrong = {
        "DATABASE_URL": "postgresql://me:secret@[",
        "SPEEDTEST_DATABASE_TIMEOUT": "soon",
        settings.TIMESCALE: "perhaps",
    }
    with pytest.raises(ConfigError) as raised:
        settings.load(wrong)
    assert "secret" not in str(raised.value)
    assert len(raised.value.problems) == 3
    given = settings.load({"DATABASE_URL": "postgresql://me@db/x", "DB_HOST": "other", "DB_PASS": "hush"})
    assert (given.parameter("host"), given.parameter("password"), given.parameter("dbname")) == ("other", "hush", "x")
    assert "hush" not in repr(given)


def test_no_password_is_in_an_argument_or_in_the_environment(layout, own, monkeypatch):
    assert run(layout, "sync") == 0
    seen = []
    original = dumps.subprocess.run

    def watched(argv, **options):
        seen.append(" ".join([*argv, *options["env"].values()]))
        return original(argv, **options)

    monkeypatch.setattr(dumps.subprocess, "run", watched)
    monkeypatch.setenv("DB_PASS", "correct horse")
    assert run(layout, "dump") == 0
    assert len(seen) == 2
    assert not any("correct horse" in words for words in seen)
    assert os.environ["DB_PASS"] == "correct horse"


def test_a_database_that_refuses_the_scratch_is_said(layout, own):
    reader = f"host={own.folder} dbname=speedtest user={READER}"
    with connected(Settings(own.conninfo("postgres"))) as session:
        server.prepare(session, "correct horse battery")
    with pytest.raises(DeliveryError, match="permission denied to create database"):
        dumps.prove(Settings(reader), layout.root / "none", None)
