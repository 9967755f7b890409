"""The database follows the archive on Debian's own server, which nothing but a socket reaches; dumps are proved."""

from __future__ import annotations

import json

import pytest
from fleet import anew, attempt, measure_by_hand, on, playbook, query, quoted, wait_until
from security import exposure

NODE = "homelab"
SYNC, SERVER = "speedtest-database.service", "speedtest-postgresql.service"
PASSWORD = "not-secret-of-a-test"  # as molecule.yml has it
MOST_EXPOSED = 2.0


def sql(text: str) -> str:
    """What the server says to its owner."""
    asked = f"psql -XAt -h /run/speedtest-database -U postgres speedtest -c {quoted(text)}"
    return on(NODE, asked).strip()


def records() -> set[str]:
    """All that it holds, a row each."""
    return set(sql("SELECT * FROM speedtest.records").split("\n"))


def as_reader(text: str, password: str = PASSWORD) -> str:
    """What it says to who only reads, as an account that has nothing to do with it."""
    asked = f"psql -XAt -h /run/speedtest-database -U speedtest_reader speedtest -c {quoted(text)}"
    return attempt(NODE, f"PGPASSWORD={quoted(password)} runuser -u nobody -- {asked}").stdout.strip()


def status() -> dict[str, object]:
    found: dict[str, object] = json.loads(attempt(NODE, "speedtest-database status --format json").stdout)
    return found


@pytest.fixture(scope="module", autouse=True)
def synced() -> None:
    measure_by_hand(NODE)
    query("SELECT 1", NODE)
    on(NODE, anew(SYNC))


def test_it_holds_each_record_once():
    runs = {row["run_id"] for row in query("SELECT run_id FROM records", NODE)}
    on(NODE, anew(SYNC))
    held = sql("SELECT run_id FROM speedtest.records").split()
    assert len(held) == len(set(held))
    assert runs <= set(held)
    assert len(runs) > 0
    assert set(sql("SELECT node FROM speedtest.coverage_day").split()) == {NODE}
    print(sql("SELECT version()"))


def test_nothing_but_a_socket_reaches_it():
    assert on(NODE, "ss -Htlnp | grep postgres; true") == ""
    assert "Owner" not in on(NODE, "pg_lsclusters -h").strip()
    for unit in (SERVER, SYNC, "speedtest-database-dump.service"):
        found, said = exposure(NODE, unit)
        print(unit, found)
        assert found <= MOST_EXPOSED, said


def test_the_reader_reads_and_cannot_write():
    assert int(as_reader("SELECT count(*) FROM speedtest.records")) > 0
    assert "permission denied" in as_reader("DELETE FROM speedtest.records")
    assert "permission denied" in as_reader("CREATE TABLE speedtest.mine (a int)")
    assert "password authentication failed" in as_reader("SELECT 1", "speedtest")
    whoever = "psql -h /run/speedtest-database -U speedtest_writer speedtest -c 'SELECT 1'"
    assert "Peer authentication failed" in attempt(NODE, f"runuser -u nobody -- {whoever}").stdout
    assert attempt(NODE, "runuser -u nobody -- cat /etc/speedtest-database/reader_password").returncode != 0
    assert attempt(NODE, "runuser -u speedtest-database -- touch /srv/speedtest-archive/manifest/x").returncode != 0


def test_a_dump_is_proved_and_can_be_restored():
    on(NODE, "systemctl start speedtest-database-dump.service")
    (dump,) = on(NODE, "ls /srv/speedtest-archive/database/dumps").split()
    on(NODE, "systemctl stop speedtest-database.timer")
    on(NODE, anew(SYNC))  # none runs on
    before = records()
    sql("DROP SCHEMA speedtest CASCADE")
    on(NODE, f"speedtest-database restore {dump} --yes")
    assert records() <= before
    on(NODE, f"systemctl start speedtest-database.timer; {anew(SYNC)}")
    assert before <= records()
    assert int(as_reader("SELECT count(*) FROM speedtest.records")) > 0


def test_a_dead_server_holds_nothing_up_and_is_told():
    on(NODE, f"systemctl stop {SERVER}")
    measure_by_hand(NODE)
    rows = query("SELECT count(*) AS n FROM records", NODE)[0]["n"]  # ingest went on
    assert attempt(NODE, anew(SYNC)).returncode != 0
    found = status()
    assert found["failing_since"]
    assert int(str(found["lag"])) > 0
    told = " ".join(playbook("playbooks/status.yml").stdout.split())
    assert "the database does not follow the archive since" in told
    on(NODE, f"systemctl start {SERVER}")
    on(NODE, anew(SYNC))
    assert int(sql("SELECT count(*) FROM speedtest.records")) >= rows
    assert status()["failing_since"] is None


def test_a_killed_server_comes_back_by_itself():
    on(NODE, f"systemctl kill --signal=KILL --kill-whom=main {SERVER}")
    wait_until(
        "it answers",
        lambda: "1" in attempt(NODE, "psql -XAt -h /run/speedtest-database -U postgres speedtest -c 'SELECT 1'").stdout,
        60,
    )
    on(NODE, anew(SYNC))
