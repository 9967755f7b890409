"""What preflight refuses of the database: passwords that everybody tries, and sinks that cannot follow an archive."""

from __future__ import annotations

import pytest
from builders import ROOT

from speedtest_logger.inventory import check
from speedtest_logger.inventory.found import Inventory

B = "speedtest_database_"
GROUPS = {f"speedtest_{name}": ["h"] for name in ("nodes", "archive", "targets", "database")}
PASSWORD = "correct horse battery".replace(" ", "-")
DSN = "postgresql://sink:hush-hush-hush-hush@db.example.org:5432/speedtest?sslmode=verify-full"


def problems(groups=None, **values):
    return check.problems(Inventory({"h": values, "other": {}}, groups or GROUPS, (), (), ROOT))


@pytest.mark.parametrize("values", [{}, {B + "reader_password": PASSWORD}, {B + "dsn": DSN}, {B + "keep_months": 13}])
def test_what_makes_sense_is_taken(values):
    assert problems(**values) == []


@pytest.mark.parametrize(
    "password",
    ["short", "sp33dtest", "postgres", "changeme1234", "Password1234", "grafana-reader", "with blanks in it"],
)
def test_a_password_that_is_guessed_is_refused_and_not_shown(password):
    (line,) = problems(**{B + "reader_password": password})
    assert line.startswith(f"{B}reader_password: seen a value that is not shown on h; a password of 16 characters")
    assert password not in line


@pytest.mark.parametrize(
    ("values", "variable", "words"),
    [
        ({B + "dsn": "db.example.org"}, B + "dsn", "an address such as postgresql://"),
        ({B + "dsn": "postgresql://u:p'w@db/x"}, B + "dsn", "an address such as postgresql://"),
        (
            {B + "dsn": DSN, B + "reader_password": PASSWORD},
            B + "reader_password",
            "make the role speedtest_reader there",
        ),
        ({"speedtest_archive_state": "absent"}, B + "state", "it follows what lies there: set absent here too"),
        ({B + "dump_keep": 0}, B + "dump_keep", "from 1 to 1000"),
        ({B + "timeout_seconds": 0}, B + "timeout_seconds", "from 1 to 3600"),
        ({B + "dump_calendar": "nightly\nUnit=x"}, B + "dump_calendar", "a calendar expression"),
        ({B + "dir": "/var/lib/postgresql/../x"}, B + "dir", "a directory of its own"),
        ({B + "user": "speedtest-postgresql"}, B + "user", "the database's server has an account of this name"),
        ({B + "dir": "/opt/speedtest-database/x"}, B + "dir", "none inside another"),
        ({B + "version": "9.9.9"}, B + "version", "there is no"),
    ],
)
def test_what_cannot_be_is_refused_in_words(values, variable, words):
    found = problems(**values)
    assert [line for line in found if line.startswith(f"{variable}: ") and words in line], found
    assert not any("hush-hush" in line for line in found)


def test_it_is_on_the_archive_host():
    (line,) = problems({**GROUPS, "speedtest_database": ["other"]})
    assert line.startswith(
        "group speedtest_database: seen other; the sink reads the archive's files: put only the host"
    )


def test_a_state_of_absent_wants_nothing_more():
    assert problems(**{B + "state": "absent", "speedtest_archive_state": "absent"}) == []
