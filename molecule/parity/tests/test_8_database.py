"""On Debian 13 the database is PostgreSQL 17, in both forms: it has all of the archive, and dumps of it come back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import HOST
from fleet import ROOT, anew, attempt, on, playbook, query, quoted, recap

NODES = {"timer", "container"}
SYNC = "speedtest-database.service"
DUMPS = "/srv/speedtest-archive/database/dumps"
PASSWORD = "not-secret-of$a-test"
PROVISIONING = "/etc/grafana/provisioning"
GRAFANA = f"{PROVISIONING}/datasources/speedtest-postgresql.yaml"
BOARDS = "/etc/speedtest-monitoring/dashboards/postgresql"


def asked(text: str, user: str, host: str = "/run/speedtest-database", database: str = "speedtest") -> str:
    """The command line of a question."""
    return f"psql -XAt -h {host} -U {user} {database} -c {quoted(text)}"


def sql(text: str) -> str:
    """What the server says to its owner."""
    return on(HOST, asked(text, "postgres")).strip()


def as_reader(text: str, password: str = PASSWORD) -> str:
    """What it says to who only reads, as an account that has nothing to do with it."""
    question = asked(text, "speedtest_reader")
    return attempt(HOST, f"PGPASSWORD={quoted(password)} runuser -u nobody -- {question}").stdout.strip()


def archived() -> set[tuple[str, str]]:
    """Node and run of each record that the archive has."""
    return {(row["node"], row["run_id"]) for row in query("SELECT node, run_id FROM records", HOST)}


def held() -> list[tuple[str, ...]]:
    """The same of each row that the database has."""
    return [tuple(line.split("|")) for line in sql("SELECT node, run_id FROM speedtest.records").split("\n")]


def run(name: str, inventory: Path | None = None, *options: str) -> tuple[str, int]:
    """What a run said, and how many changes it made on the host."""
    done = playbook(name, *(("-i", str(inventory)) if inventory else ()), *options)
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout, recap(done)[HOST]["changed"]


@contextmanager
def nothing_moves() -> Iterator[None]:
    """What nodes deliver waits in the inbox, but where the archive is asked."""
    timers = "speedtest-ingest.timer speedtest-database.timer"
    on(HOST, f"systemctl stop {timers}")
    try:
        yield
    finally:
        on(HOST, f"systemctl start {timers}")


@pytest.fixture(scope="module")
def more(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An inventory with TimescaleDB, and Grafana on the same host; another Prometheus is the owner's."""
    host = {
        "speedtest_database_timescale_enabled": True,
        "speedtest_monitoring_mode": "files",
        "speedtest_monitoring_grafana_enabled": True,
    }
    children = {
        "speedtest_monitoring": {"hosts": {HOST: host}},
        "speedtest_nodes": {"vars": {"speedtest_monitoring_exporter_enabled": False}},
    }
    file: Path = tmp_path_factory.mktemp("more") / "more.yml"
    file.write_text(json.dumps({"all": {"children": children}}), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def hypertable(more: Path) -> None:
    """The records are a hypertable; until they were made anew, each sync refuses."""
    assert run("playbooks/database.yml", more)[1] > 0
    refused = attempt(HOST, anew(SYNC))
    assert refused.returncode != 0
    on(HOST, "speedtest-database sync --rebuild")


def all_of_it_is_there() -> None:
    with nothing_moves():
        delivered = archived()
        on(HOST, anew(SYNC))
        rows = held()
    assert set(rows) == delivered
    assert len(rows) == len(delivered)
    assert {node for node, _ in delivered} >= NODES
    print(sql("SELECT version()").split(" (")[0], len(rows), "records")


def who_reads_cannot_write() -> None:
    assert int(as_reader("SELECT count(*) FROM speedtest.records")) > 0
    for words in ("DELETE FROM speedtest.records", "CREATE TABLE speedtest.mine (a int)", "CREATE TABLE mine (a int)"):
        assert "permission denied" in as_reader(words)
    assert "password authentication failed" in as_reader("SELECT 1", "not-secret-of-a-test")


def a_dump_comes_back() -> None:
    """The unit restores it into a scratch database, which goes again; then it takes the place of what is there."""
    with nothing_moves():
        on(HOST, f"{anew(SYNC)}; rm -f {DUMPS}/*; systemctl start speedtest-database-dump.service")
        (dump,) = on(HOST, f"ls {DUMPS}").split()
        before = sorted(held())
        proved = on(HOST, "speedtest-database restore-test")
        sql("DROP SCHEMA speedtest CASCADE")
        on(HOST, f"speedtest-database restore {dump} --yes")
        after = sorted(held())
    assert ["records", str(len(before))] in [line.split() for line in proved.splitlines()]
    assert set(sql("SELECT datname FROM pg_database WHERE NOT datistemplate").split()) == {"postgres", "speedtest"}
    assert after == before
    assert int(as_reader("SELECT count(*) FROM speedtest.records")) >= len(before)


def test_the_server_is_debian_13_s():
    assert sql("SHOW server_version").startswith("17.")
    assert on(HOST, "ss -Htlnp | grep postgres; true") == ""


def test_a_second_run_changes_nothing():
    assert run("playbooks/database.yml")[1] == 0


def test_it_holds_each_record_of_the_archive_once():
    all_of_it_is_there()


def test_the_reader_reads_and_cannot_write():
    who_reads_cannot_write()


def test_a_dump_is_proved_and_can_be_restored():
    a_dump_comes_back()


def test_a_hypertable_of_timescaledb_holds_the_same(hypertable: None, more: Path):
    assert sql("SELECT hypertable_name FROM timescaledb_information.hypertables") == "records"
    print("TimescaleDB", sql("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'"))
    all_of_it_is_there()
    who_reads_cannot_write()
    a_dump_comes_back()
    assert run("playbooks/database.yml", more)[1] == 0


def test_without_grafana_s_account_nothing_is_written_for_it(hypertable: None, more: Path):
    done = playbook("playbooks/monitoring.yml", "-i", str(more))
    assert done.returncode != 0
    assert "install Grafana's package first" in " ".join(done.stdout.split())
    on(HOST, f"test ! -e {GRAFANA} && test ! -e /etc/speedtest-monitoring")


@pytest.fixture(scope="module")
def told(hypertable: None, more: Path) -> str:
    """What was said while Grafana was told of the database. Its package makes such an account and folders."""
    on(HOST, "useradd --system --user-group --shell /usr/sbin/nologin grafana")
    on(HOST, f"mkdir -p {PROVISIONING}/datasources {PROVISIONING}/dashboards")
    return run("playbooks/monitoring.yml", more, "-vvv", "--diff")[0]


def test_grafana_s_account_reads_the_database_by_what_it_is_told_and_no_other_sees_the_password(told: str, more: Path):
    assert on(HOST, f"stat -c '%U %G %a' {GRAFANA}").split() == ["root", "grafana", "640"]
    assert attempt(HOST, f"runuser -u nobody -- cat {GRAFANA}").returncode != 0
    (source,) = yaml.safe_load(on(HOST, f"runuser -u grafana -- cat {GRAFANA}"))["datasources"]
    password = source["secureJsonData"]["password"].replace("$$", "$")  # as Grafana does
    assert password == PASSWORD
    for panel in panels_without_macros(source["uid"]):
        question = asked(panel, source["user"], source["url"], source["jsonData"]["database"])
        on(HOST, f"PGPASSWORD={quoted(password)} runuser -u grafana -- {question}")
    assert PASSWORD not in told
    assert source["secureJsonData"]["password"] not in told
    assert run("playbooks/monitoring.yml", more)[1] == 0


def panels_without_macros(uid: str) -> list[str]:
    """What dashboards on the host ask in plain SQL; all of them ask the data source of that uid."""
    found = []
    for name in on(HOST, f"ls {BOARDS}").split():
        board: dict[str, Any] = json.loads(on(HOST, f"runuser -u grafana -- cat {BOARDS}/{name}"))
        assert board == json.loads((ROOT / "dashboards/postgresql" / name).read_text(encoding="utf-8"))
        (source,) = [each for each in board["templating"]["list"] if each["type"] == "datasource"]
        assert source["current"]["value"] == uid
        found += [target["rawSql"] for panel in board["panels"] for target in panel["targets"]]
    plain = [text for text in found if "$" not in text]
    assert plain
    return plain


def test_switched_off_it_is_gone(told: str, more: Path):
    run("playbooks/monitoring.yml", more, "-e", json.dumps({"speedtest_monitoring_grafana_enabled": False}))
    on(HOST, f"test ! -e {GRAFANA} && test ! -e {BOARDS}")
    assert "fleet.json" in on(HOST, "ls /etc/speedtest-monitoring/dashboards")
