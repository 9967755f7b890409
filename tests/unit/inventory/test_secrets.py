"""Secrets that are none are refused before anything is touched, and no words show one."""

from __future__ import annotations

import pytest
from builders import ROOT

from speedtest_logger.inventory import check
from speedtest_logger.inventory.found import Inventory

A, B, M, S = "speedtest_archive_", "speedtest_database_", "speedtest_monitoring_", "speedtest_store_"
GROUPS = {f"speedtest_{name}": ["h"] for name in ("nodes", "archive", "targets", "database", "store", "monitoring")}
LONG = "zT8q-long-and-nobodys-own"
OTHER = "7be1-another-one-of-its-kind"
ID = {S + "access_key": "publisher"}
STORE = {**ID, S + "secret_key": LONG}
BACKUP = {A + "backup_repository": "/mnt/restic", A + "backup_password": LONG}
PUBLISHED = {
    A + "store_address": "s3://bucket/records",
    A + "store_access_key": "publisher",
    A + "store_secret_key": LONG,
}
MAIL = {
    M + "mail_to": ["me@example.org"],
    M + "mail_from": "nas@example.org",
    M + "mail_smarthost": "mail.example.org:587",
    M + "mail_username": "nas",
    M + "mail_password": LONG,
}


def problems(folders=(), hosts=None, **values):
    """What is wrong with a machine that is everything; its key for the store is good unless one is given."""
    given = {**ID, S + "secret_key": "aa11bb22cc33dd44ee55ff66", **values}
    return check.problems(Inventory({"h": given, **(hosts or {})}, GROUPS, (), tuple(folders), ROOT))


@pytest.fixture
def production(tmp_path):
    """An inventory of production, as a folder to put files into."""
    (tmp_path / "group_vars/all").mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize(
    ("values", "variable", "words"),
    [
        ({**BACKUP, A + "backup_password": "changeme"}, A + "backup_password", "everybody tries it first"),
        ({**BACKUP, A + "backup_password": "Postgres-Admin-1"}, A + "backup_password", "everybody tries it first"),
        ({**BACKUP, A + "backup_password": "x7-Kq9-mm2-pp4"}, A + "backup_password", "fewer than 16 characters"),
        ({**MAIL, M + "mail_password": "grafana1"}, M + "mail_password", "everybody tries it first"),
        ({B + "dsn": "postgresql://s:x7Kq9mm2pp4@db.example.org/s"}, B + "dsn", "fewer than 16 characters"),
        ({**BACKUP, B + "reader_password": LONG}, B + "reader_password", f"{A}backup_password has the same"),
        ({**BACKUP, **MAIL}, M + "mail_password", f"{A}backup_password has the same"),
        ({**BACKUP, **STORE}, S + "secret_key", f"{A}backup_password has the same"),
        (
            {**BACKUP, A + "backup_environment": {"AWS_SECRET_ACCESS_KEY": LONG}},
            A + "backup_password",
            f"{A}backup_environment has the same",
        ),
    ],
)
def test_a_secret_that_is_none_is_refused_by_name(values, variable, words):
    (line,) = problems(**values)
    assert line.startswith(f"{variable}: seen a value that is not shown on h; ")
    assert words in line
    assert "openssl rand -base64 24" in line
    for secret in (*values.values(), "x7Kq9mm2pp4", LONG):
        assert not isinstance(secret, str) or len(secret) < 8 or f" {secret}" not in line


@pytest.mark.parametrize(
    "values",
    [
        {**STORE, **PUBLISHED},  # the key of one store, with those who have it
        {**MAIL, M + "mail_password": "hv7-kx2q"},  # a provider judges it
        {**BACKUP, A + "backup_environment": {"AWS_ACCESS_KEY_ID": "publisher", "AWS_DEFAULT_REGION": "eu-central-1"}},
        {**BACKUP, B + "reader_password": OTHER},
        {"fleet_environment": "production", **BACKUP},
    ],
)
def test_what_is_one_is_taken(values):
    assert problems(**values) == []


def test_several_hosts_have_one_and_the_same():
    assert problems(hosts={"other": BACKUP}, **BACKUP) == []


@pytest.mark.parametrize("environment", ["staging", "production"])
@pytest.mark.parametrize(
    ("values", "variable", "text"),
    [
        (BACKUP, A + "backup_password", f'{A}backup_password: "{LONG}"\n'),
        (BACKUP, A + "backup_password", f"vault_backup: {LONG}\n"),
        (BACKUP, A + "backup_password", f"# it was {LONG} once\n"),
        ({B + "dsn": f"postgresql://s:{LONG}@db.example.org/s"}, B + "dsn", f"vault_pg: {LONG}\n"),
        (
            {A + "alerts_destinations": [{"name": "me", "url": f"tgram://{LONG}/12"}]},
            A + "alerts_destinations",
            f"phone: tgram://{LONG}/12\n",
        ),
        ({M + "webhooks": [f"https://example.org/{LONG}"]}, M + "webhooks", f"- https://example.org/{LONG}\n"),
        (
            {**BACKUP, A + "backup_password": OTHER, A + "backup_environment": {"B2_ACCOUNT_KEY": LONG}},
            A + "backup_environment",
            f"key: {LONG}\n",
        ),
    ],
)
def test_a_secret_in_clear_is_found_by_whatever_name(production, environment, values, variable, text):
    file = production / "group_vars/all/main.yml"
    file.write_text(text)
    (line,) = problems([production], fleet_environment=environment, **values)
    assert line.startswith(f"{variable}: seen a value that is not shown on h; it lies in clear in {file}: encrypt")
    assert LONG not in line
    assert problems([production], **values) == []
    file.write_text("$ANSIBLE_VAULT;1.2;AES256;production\n3532\n")
    assert problems([production], fleet_environment=environment, **values) == []


def test_an_id_and_a_hash_are_no_secrets(production):
    (production / "group_vars/all/main.yml").write_text("id: publisher-of-ours\n")
    values = {S + "access_key": "publisher-of-ours", "fleet_environment": "production"}
    assert problems([production], **values) == []


def test_hosts_of_one_inventory_are_of_one_environment(production):
    (production / "group_vars/all/main.yml").write_text(f"{A}backup_password: {LONG}\n")
    said = problems([production], {"other": {"fleet_environment": "production"}}, fleet_environment="staging", **BACKUP)
    assert [line.partition("; ")[0] for line in said] == [
        "fleet_environment: seen 'production' on other",
        "fleet_environment: seen 'staging' on h",
        f"{A}backup_password: seen a value that is not shown on h",
    ]
    (line,) = problems(fleet_environment="prod")
    assert "development, staging, production" in line
