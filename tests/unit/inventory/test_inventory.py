"""An inventory is refused for everything that is wrong with it, and for nothing else."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import pytest
from builders import ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tries import tries

from speedtest_logger.engines.catalogue import ENGINES
from speedtest_logger.errors import ConfigError
from speedtest_logger.inventory import check, environment, roles
from speedtest_logger.inventory.found import Failure, Inventory, View
from speedtest_logger.node import config

GROUPS = {f"speedtest_{name}": ["h"] for name in ("nodes", "archive", "dashboard", "targets")}
PUBLISHED = {
    "speedtest_archive_store_address": "s3://measurements/records",
    "speedtest_archive_store_access_key": "publisher",
    "speedtest_archive_store_secret_key": "3f2a9c1e77b04d5580aa91c2",
}
BACKUP = {
    "speedtest_archive_backup_repository": "/mnt/usb/restic",
    "speedtest_archive_backup_password": "planted-secret-of-a-test",
}
NAN, INFINITY = float("nan"), float("inf")


def problems(groups=None, sources=(), folders=(), **values):
    """Problems of one machine that is everything."""
    return check.problems(Inventory({"h": values}, groups or GROUPS, sources, folders, ROOT))


def test_an_inventory_without_variables_is_well():
    assert problems() == []
    assert problems(**BACKUP) == []


HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
L, A, T, D = "speedtest_logger_", "speedtest_archive_", "speedtest_target_", "speedtest_dashboard_"
HASH = "scrypt$32768$8$1$MDEyMzQ1Njc4OWFiY2RlZg==$5sfY8P85Gz2Wi0Gj/1mwLsPGSnZvPs1HKCewzF/EYfU="
ADA = {"name": "ada", "password": HASH}
KEY = {"name": "grafana", "id": "abcdefgh", "sha256": "0" * 64, "scopes": ["read"], "expires": "2027-01-31"}
SHARE = {"location": "home", "sha256": "0" * 64, "expires": None}
DOWNLOAD = {"url": "https://example.org/x.tgz", "sha256": "0" * 64, "program": "speedtest"}
NONSENSE = [
    {L + "user": "root"}, {L + "uid": 0}, {A + "user": "root"}, {T + "user": "root"}, {L + "user": "1000"},
    {L + "state_dir": "/"}, {L + "state_dir": "/var/lib"}, {L + "state_dir": "var/x"}, {A + "dir": "/etc"},
    {A + "dir": "/"},
    {A + "dir": '/srv/x"\nssh-ed25519 AAAA'}, {A + "upkeep_calendar": "garbage"},
    {A + "upkeep_calendar": "daily\nUnit=x"}, {A + "backup_calendar": "never"}, {A + "ingest_interval": "7min"},
    {A + "keep_days": -5}, {A + "keep_raw_days": -1}, {A + "keep_size": "-1GB"}, {A + "backup_keep_daily": -1},
    {A + "backup_repository": "backups", A + "backup_password": "x"}, {L + "measure_timeout_seconds": -1},
    {L + "duration_seconds": 0}, {L + "outbox_max_mb": -1}, {L + "outbox_max_mb": 0}, {L + "history_days": -1},
    {L + "raw_days": -1}, {L + "librespeed_servers": ["http://x/\nSPEEDTEST_PAUSED=true"]},
    {L + "iperf3_extra_args": ["a\nb"]},
    {L + "downloads": {"ookla": {"url": "https://example.org/x.tgz"}}}, {L + "downloads": {"../../x": DOWNLOAD}},
    {L + "downloads": {"ookla": {**DOWNLOAD, "program": "../../x"}}},
    {L + "downloads": {"ookla": {**DOWNLOAD, "sha256": "x"}}},
    {A + "version": "../../../tmp/x"}, {A + "version": "9.9.9"}, {L + "version": "9.9.9"},
    {"fleet_archive_address": "-oProxyCommand=x y"}, {T + "iperf3_ports": [22, 99999, -1]}, {T + "librespeed_port": -1},
    {"ansible_port": "ssh"}, {L + "plan_download_mbps": -5}, {L + "plan_upload_mbps": NAN}, {L + "busy_mbps": INFINITY},
    {L + "data_budget_gb": -1}, {L + "start_tolerance_seconds": -1}, {L + "busy_window_seconds": -3},
    {L + "container_pids": -1},
    {L + "container_memory": "lots"}, {L + "source_address": "nowhere"}, {L + "source_interface": "eth0; rm"},
    {L + "base_image": "debian:latest"}, {T + "garbage_bytes": -1}, {T + "config_dir": "/etc/nginx"},
    {"docker_host_repository_url": "deb x"}, {"docker_host_repository_pin": "1\nPin: *"},
    {"docker_host_users": ["a b"]},
    {D + "user": "root"}, {D + "dir": "/var/lib"}, {D + "port": 80}, {D + "port": "8000"}, {D + "bind": "everywhere"},
    {D + "time_zone": "Mars/Olympus"}, {D + "title": "x" * 81}, {D + "title": "a\nLOG_LEVEL=debug"},
    {D + "version": "9.9.9"}, {D + "log_level": "loud"}, {D + "hosts": ["a b"]}, {D + "runtime": "kubernetes"},
    *[{D + "cors_origins": [origin]} for origin in ("*", "https://example.org/x", "example.org", "https://u@example.org")],
    *[
        {D + "users": [{"name": "ada", "password": text}]}
        for text in (
            "hunter2", "", None, HASH[:-8], HASH.replace("32768", "16384"), HASH.replace("32768", "32769"),
            HASH.replace("32768", "67108864"), HASH.replace("$8$", "$1$"),
            HASH.replace("MDEyMzQ1Njc4OWFiY2RlZg==", "MDEy"),
        )
    ],
    {D + "users": [{"name": "a\nb", "password": HASH}]}, {D + "users": [{"name": "ada"}]}, {D + "users": [ADA, ADA]},
    {D + "users": ["ada"]}, {D + "users": {"ada": HASH}}, {D + "keys": [{**KEY, "sha256": "stk_abcdefgh_secret"}]},
    {D + "keys": [{**KEY, "scopes": []}]}, {D + "keys": [{**KEY, "scopes": ["write"]}]},
    {D + "keys": [{**KEY, "id": "x"}]},
    {D + "keys": [{**KEY, "expires": "soon"}]}, {D + "keys": [{**KEY, "expires": "20270131"}]},
    {D + "keys": [KEY, {**KEY, "name": "other"}]}, {D + "shares": [{**SHARE, "location": "No Such"}]},
    {D + "shares": [SHARE, SHARE]},
    {L + "paused": "false"}, {"speedtest_upgrade_batches": ["200%"]}, {A + "backup_environment": {"LD_PRELOAD": "/x"}},
]  # fmt: skip


@pytest.mark.parametrize(
    "values", NONSENSE, ids=lambda values: f"{next(iter(values))}={next(iter(values.values()))!r:.30}"
)
def test_nonsense_is_refused_by_the_name_of_its_variable(values):
    found = problems(**values)
    assert len([line for line in found if line.startswith(f"{next(iter(values))}: seen ")]) == 1, found


def iperf3(server, **values):
    """A machine that measures with iperf3 against a server."""
    return {L + "engines": ["iperf3"], L + "iperf3_servers": [server], **values}


@pytest.mark.parametrize(
    "values",
    [
        iperf3("127.0.0.1:5201", **{L + "own_server_allowed": True}),
        iperf3("hh:5201"),
        iperf3("127.0.0.1.example.org:5201", ansible_host="192.0.2.9"),
        {L + "iperf3_servers": ["127.0.0.1"], L + "librespeed_servers": ["7"]},  # iperf3 is not asked
    ],
)
def test_a_server_that_is_allowed_or_elsewhere_is_well(values):
    assert problems(**values) == []


def test_a_number_with_its_unit_is_refused_in_plain_words():
    line = f"{L}busy_mbps: seen '5 Mbit' on h; a number from 0 to 1000000 is expected"
    assert problems(**{L + "busy_mbps": "5 Mbit"}) == [line]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({L + "install_dir": "/srv/x", L + "state_dir": "/srv/x"}, [L + "state_dir", "install_dir is /srv/x"]),
        ({L + "state_dir": "/srv/speedtest-archive/node"}, [A + "dir", "none inside another"]),
        ({A + "home_dir": "/srv/speedtest-archive"}, [A + "dir", "home_dir is /srv/speedtest-archive"]),
        ({**BACKUP, A + "backup_repository": "/srv/speedtest-archive/b"}, [A + "backup_repository", "none inside"]),
        ({L + "config_dir": "/etc/speedtest-archive"}, [L + "config_dir", "/etc/speedtest-archive"]),
        ({L + "user": "speedtest-archive"}, [A + "user", "account of its own"]),
        ({A + "user": "speedtest-backup"}, [A + "user", "backups have an account of this name"]),
        ({L + "user": "admin", "ansible_user": "admin"}, [L + "user", "ansible_user is the same"]),
        ({L + "measure_timeout_seconds": 3590}, [L + "measure_timeout_seconds", L + "interval (3600)"]),
        ({L + "duration_seconds": 200}, [L + "duration_seconds", L + "measure_timeout_seconds (180)"]),
        ({L + "engines": ["iperf3"]}, [L + "iperf3_servers", "seen []", "HOST or HOST:PORT"]),
        ({L + "engines": ["ookla"]}, [L + "ookla_licence_accepted", "seen False", "set true if you accept"]),
        (
            {L + "archive_raw": True, L + "external_ip": "none"},
            [L + "archive_raw", L + "external_ip", "choose one of the two"],
        ),
        (iperf3("127.0.0.1:5201"), [L + "iperf3_servers", "127.0.0.1:5201 is the node itself", "own_server_allowed"]),
        (iperf3("[::1]:5201"), [L + "iperf3_servers", "is the node itself"]),
        (iperf3("H"), [L + "iperf3_servers", "H is the node itself"]),
        (iperf3("192.0.2.9:5201", ansible_host="192.0.2.9"), [L + "iperf3_servers", "is the node itself"]),
        (iperf3("nas.example.org", fleet_archive_address="nas.example.org"), [L + "iperf3_servers", "the node itself"]),
        ({L + "librespeed_servers": ["http://localhost:8080/"]}, [L + "librespeed_servers", "is the node itself"]),
        ({L + "image_source": "pull"}, [L + "image: seen nothing", "@sha256:"]),
        ({L + "runtime": "compose", "docker_host_source": "repository"}, ["docker_host_repository_key: seen nothing"]),
        ({A + "backup_repository": "/mnt/usb/restic"}, [A + "backup_password: seen nothing", "vault"]),
        ({A + "store_address": "/srv/speedtest-archive/table"}, [A + "store_address", "none inside"]),
        ({A + "user": "speedtest-publish"}, [A + "user", "publishing has an account of this name"]),
        (
            {A + "store_address": "s3://measurements/records", A + "store_secret_key": "x"},
            [A + "store_access_key: seen nothing", "publishing to s3://measurements/records needs the id", "vault"],
        ),
        (
            {A + "store_address": "s3://measurements/records", A + "store_access_key": "x"},
            [A + "store_secret_key: seen nothing", "needs the key", "vault"],
        ),
        (
            {**PUBLISHED, A + "store_tree": "s3://measurements/records/plain"},
            [A + "store_tree: seen 's3://measurements/records/plain'", "upkeep of the table", "outside it"],
        ),
        ({**PUBLISHED, A + "store_tree": "s3://measurements", A + "shared": True}, [A + "store_tree", "keep no tree"]),
        ({A + "store_tree": "s3://measurements"}, [A + "store_tree", f"set {A}store_address"]),
        (
            {A + "store_address": "/mnt/usb/records", A + "store_tree": "s3://measurements"},
            [A + "store_tree: seen 's3://measurements'", f"{A}store_address is a directory, which has no key"],
        ),
        (
            {A + "store_address": "/mnt/usb/records", A + "store_tree": "/mnt/usb"},
            [A + "store_tree: seen '/mnt/usb'", "none inside another"],
        ),
        ({**PUBLISHED, A + "store_tree_results": True}, [A + "store_tree_results: seen True", "set false"]),
        ({A + "shared": True}, [A + "shared: seen True", A + "store_address to s3://BUCKET/FOLDER"]),
        (
            {**BACKUP, **{f"{A}backup_keep_{age}": 0 for age in ("daily", "weekly", "monthly")}},
            ["no backup would stay"],
        ),
        ({A + "limit_rows_burst": 9000}, [A + "limit_rows_burst", "limit_rows is 10000"]),
        ({T + "librespeed_port": 5201}, [T + "librespeed_port", "port of its own"]),
        ({D + "port": 8989}, [D + "port: seen 8989", T + "librespeed_port has it too"]),
        ({D + "port": 5301, T + "iperf3_ports": [5201, 5301]}, [D + "port: seen 5301", T + "iperf3_ports has it too"]),
        ({D + "bind": "0.0.0.0"}, [D + "bind: seen '0.0.0.0'", D + "users names nobody", "127.0.0.1"]),  # noqa: S104
        ({D + "bind": "192.0.2.10"}, [D + "bind", D + "users names nobody"]),
        ({D + "workbench_enabled": True}, [D + "workbench_enabled: seen True on h", "into group speedtest_front"]),
        ({D + "image_source": "pull"}, [D + "image: seen nothing", "@sha256:"]),
        ({D + "runtime": "compose", "docker_host_source": "repository"}, ["docker_host_repository_key: seen nothing"]),
        ({A + "state": "absent"}, [D + "state: seen 'present'", "set absent here too"]),
        ({D + "user": "speedtest-archive"}, [D + "user", "account of its own"]),
        ({D + "dir": "/srv/speedtest-archive/dashboard"}, [D + "dir", "none inside another"]),
        ({D + "install_dir": "/etc/speedtest-dashboard/x"}, [D + "install_dir", "/etc/speedtest-dashboard"]),
    ],
)
def test_what_contradicts_is_refused(values, words):
    found = [line for line in problems(**values) if all(word in line for word in words)]
    assert len(found) == 1, problems(**values)


@pytest.mark.parametrize(
    "values",
    [
        {D + "bind": "192.0.2.10", D + "users": [ADA, {**ADA, "name": "bob@example.org"}]},
        {D + "bind": "127.0.0.2"},
        {D + "runtime": "compose"},
        {D + "bind": "::1"},
        {D + "keys": [KEY, {**KEY, "name": "b", "id": "bcdefghi", "sha256": "1" * 64, "expires": date(2027, 1, 31)}]},
        {D + "shares": [SHARE, {**SHARE, "sha256": "1" * 64}]},
        {D + "cors_origins": ["https://example.org", "http://192.0.2.1:3000"], D + "title": "Häuser & Leitungen"},
        {D + "state": "absent", A + "state": "absent"},
    ],
)
def test_a_dashboard_for_whom_it_is_meant_is_well(values):
    assert problems(**values) == []


def test_a_dashboard_is_where_the_archive_is():
    groups = {"speedtest_nodes": ["a"], "speedtest_archive": ["a"], "speedtest_dashboard": ["a", "b"]}
    (found,) = check.problems(Inventory({"a": {}, "b": {}}, groups, checkout=ROOT))
    assert found.startswith("group speedtest_dashboard: seen b; the dashboard reads the archive's files")
    assert check.problems(Inventory({"a": {}, "b": {}}, {**groups, "speedtest_dashboard": ["a"]}, checkout=ROOT)) == []


F = "speedtest_front_"
EVERYTHING = {**GROUPS, "speedtest_front": ["h"], "speedtest_dashboard": ["h"]}
FRONT = {F + "name": "speed.example.org", D + "users": [ADA]}


@pytest.fixture(scope="module")
def pems(tmp_path_factory):
    """A certificate, its key, and another one's."""
    folder = tmp_path_factory.mktemp("pems")
    for name in ("own", "other"):
        made = ["-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem", "-subj", "/CN=speed.example.org"]
        argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", *made]
        subprocess.run(argv, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize(
    "values",
    [
        {},
        {F + "tls": "acme", F + "acme_email": "ops@example.org"},
        {F + "tls": "acme", F + "name": "nas.home.arpa", F + "acme_directory": "https://ca.home.arpa/acme/directory"},
        {F + "name": "nas", F + "hsts_seconds": 0, F + "https_port": 8443, F + "http_port": 8080},
        {F + "state": "absent", F + "name": "", D + "users": []},
        {D + "workbench_enabled": True},
        {D + "workbench_enabled": False, D + "workbench_port": 8000, D + "runtime": "compose"},
        {D + "workbench_enabled": True, **{role + "state": "absent" for role in (D, F, A)}},
    ],
)
def test_a_front_with_a_name_and_users_is_well(values):
    assert problems(EVERYTHING, **{**FRONT, **values}) == []


@pytest.mark.parametrize(
    ("values", "variable", "words"),
    [
        ({D + "workbench_enabled": True, D + "runtime": "compose"}, D + "workbench_enabled", "has no workbench"),
        ({D + "workbench_enabled": True, F + "state": "absent"}, D + "workbench_enabled", "no login of its own"),
        ({D + "workbench_enabled": True, D + "port": 8501}, D + "workbench_port", D + "port has it too"),
        ({D + "workbench_enabled": True, T + "librespeed_port": 8501}, D + "workbench_port", "port has it too"),
        ({D + "workbench_enabled": True, F + "https_port": 8501}, F + "https_port", D + "workbench_port has it too"),
        ({D + "workbench_enabled": "yes"}, D + "workbench_enabled", "true or false"),
        ({F + "name": ""}, F + "name", "browsers reach the dashboard under it"),
        ({F + "name": "192.0.2.1"}, F + "name", "a host's name in lower case"),
        ({F + "name": "Speed.example.org"}, F + "name", "a host's name in lower case"),
        ({F + "name": 'x"{'}, F + "name", "a host's name in lower case"),
        ({D + "users": []}, D + "users", "whoever reaches the front would see everything"),
        ({D + "bind": "192.0.2.1"}, D + "bind", "reached beside its front, without TLS"),
        ({D + "state": "absent"}, F + "state", "it leads there: set absent here too"),
        ({F + "tls": "none"}, F + "tls", "one of internal, acme, files"),
        ({F + "tls": "acme", F + "name": "nas.local"}, F + "name", "for public names only"),
        ({F + "tls": "acme", F + "name": "nas"}, F + "name", "for public names only"),
        ({F + "tls": "acme", F + "acme_ca_file": "/nowhere/ca.pem"}, F + "acme_ca_file", "no such file"),
        ({F + "tls": "acme", F + "acme_directory": "http://x/"}, F + "acme_directory", "a URL such as https://"),
        ({F + "tls": "files", F + "key_file": "/dev/null"}, F + "certificate_file", "name a PEM file"),
        ({F + "https_port": 80}, F + "https_port", "give each a port of its own"),
        ({F + "https_port": 8000}, F + "https_port", D + "port has it too"),
        ({F + "http_port": 8989}, F + "http_port", T + "librespeed_port has it too"),
        ({T + "stock_nginx_enabled": True}, T + "stock_nginx_enabled", "which the front needs"),
        ({L + "user": "speedtest-front"}, L + "user", "the front has an account of this name"),
    ],
)
def test_a_front_that_could_not_work_or_would_show_everything_is_refused(values, variable, words):
    found = problems(EVERYTHING, **{**FRONT, **values})
    assert [line for line in found if line.startswith(f"{variable}: ") and words in line], found


def test_a_certificate_is_one_of_its_key(pems):
    own = {F + "tls": "files", F + "certificate_file": str(pems / "own.pem"), F + "key_file": str(pems / "own.key")}
    assert problems(EVERYTHING, **FRONT, **own) == []
    for change in ({F + "key_file": str(pems / "other.key")}, {F + "certificate_file": __file__}):
        (line,) = problems(EVERYTHING, **FRONT, **{**own, **change})
        assert line.startswith(F + "certificate_file: ")
        assert "name two that fit" in line


def test_a_front_is_where_the_dashboard_is():
    (line,) = problems({**GROUPS, "speedtest_front": ["h"], "speedtest_dashboard": []}, **FRONT)
    assert line == (
        "group speedtest_front: seen h; the front leads to the dashboard on its own host: put it into group "
        "speedtest_dashboard too"
    )
    (line,) = problems({**GROUPS, "speedtest_front": [], "speedtest_dashboard": ["h"]}, **FRONT)
    assert line.startswith("speedtest_front_name: seen 'speed.example.org' on h; this host is not in group")


M = "speedtest_monitoring_"
WATCHED = {**GROUPS, "speedtest_monitoring": ["h"], "speedtest_dashboard": ["h"]}
MAIL = {
    M + "mail_to": ["me@example.org"],
    M + "mail_from": "s@example.org",
    M + "mail_smarthost": "mail.example.org:25",
}
REMOTE = {M + "remote_write_url": "https://prometheus.example.org/push", M + "remote_write_username": "home"}


@pytest.mark.parametrize(
    "values",
    [
        {},
        MAIL,
        {**REMOTE, M + "remote_write_password": "of-a-provider"},
        {M + "remote_write_token": "of-a-provider"},
        {M + "mode": "files", M + "port": 9093},
        {M + "state": "absent", M + "mail_to": ["me@example.org"]},
        {M + "exporter_enabled": False, M + "port": 9100},
    ],
)
def test_monitoring_that_works_is_well(values):
    assert problems(WATCHED, **values) == []


@pytest.mark.parametrize(
    ("values", "variable", "words"),
    [
        ({**MAIL, M + "mail_from": ""}, M + "mail_from", "mail needs a sender too"),
        ({**MAIL, M + "mail_smarthost": ""}, M + "mail_smarthost", "mail needs a server too"),
        ({**MAIL, M + "mail_username": "me"}, M + "mail_password", "a login needs a password"),
        (REMOTE, M + "remote_write_password", "a login needs a password"),
        (
            {**REMOTE, M + "remote_write_password": "x", M + "remote_write_token": "y"},
            M + "remote_write_token",
            "not both",
        ),
        ({M + "remote_write_names": "up("}, M + "remote_write_names", "a regular expression"),
        ({M + "port": 9093}, M + "alertmanager_port", "give each server a port of its own"),
        ({M + "port": 8000}, M + "port", D + "port has it too"),
        ({M + "port": 9100}, M + "port", M + "exporter_port has it too"),
        ({M + "alertmanager_port": 8989}, M + "alertmanager_port", T + "librespeed_port has it too"),
        ({M + "webhooks": ["ftp://x/"]}, M + "webhooks", "a URL such as"),
        ({M + "mode": "both"}, M + "mode", "one of server, files"),
        ({M + "addresses": ["nas"]}, M + "addresses", "an IPv4 or IPv6 address"),
        ({L + "user": "prometheus"}, L + "user", "Debian's Prometheus has an account of this name"),
        ({L + "install_dir": "/etc/speedtest-monitoring/x"}, L + "install_dir", "a directory of its own"),
    ],
)
def test_monitoring_that_could_not_work_is_refused(values, variable, words):
    found = problems(WATCHED, **values)
    assert [line for line in found if line.startswith(f"{variable}: ") and words in line], found


def test_a_secret_of_monitoring_s_is_not_shown():
    (line,) = problems(WATCHED, **{M + "webhooks": "https://hunter2@example.org/"})
    assert "hunter2" not in line


def test_nodes_have_to_know_from_where_they_are_asked():
    groups = {"speedtest_nodes": ["a", "b"], "speedtest_archive": ["a"], "speedtest_monitoring": ["a"]}
    hosts = {"a": {"ansible_host": "nas.example.org"}, "b": {}}
    (line,) = check.problems(Inventory(hosts, groups, checkout=ROOT))
    assert line.startswith(M + "addresses: seen [] on a; nodes answer nobody but these, and ansible_host is a name")
    for fine in ({"ansible_host": "192.0.2.1"}, {M + "addresses": ["192.0.2.1"]}, {M + "state": "absent"}):
        assert check.problems(Inventory({"a": fine, "b": {}}, groups, checkout=ROOT)) == []
    alone = {"a": hosts["a"], "b": {M + "exporter_enabled": False}}
    assert check.problems(Inventory(alone, {**groups, "speedtest_nodes": ["a"]}, checkout=ROOT)) == []


def test_a_dashboard_on_another_host_s_loopback_cannot_be_asked():
    groups = {"speedtest_nodes": ["a"], "speedtest_archive": ["a"], "speedtest_dashboard": ["a"]}
    groups["speedtest_monitoring"] = ["b"]
    hosts = {"a": {}, "b": {"ansible_host": "192.0.2.2"}}
    (line,) = check.problems(Inventory(hosts, groups, checkout=ROOT))
    assert line.startswith(M + "dashboard_url: seen nothing on b; the dashboard on a listens on loopback")
    told = {"ansible_host": "192.0.2.2", M + "dashboard_url": "http://192.0.2.1:8000"}
    assert check.problems(Inventory({"a": {}, "b": told}, groups, checkout=ROOT)) == []


def test_an_artifact_that_lies_there_is_a_version(tmp_path):
    (tmp_path / "speedtest-logger-9.9.9.tar.gz").write_bytes(b"")
    chosen = {f"{role}_{name}": value for role in ("speedtest_logger", "speedtest_archive")
              for name, value in (("version", "9.9.9"), ("artifact_dir", str(tmp_path)))}  # fmt: skip
    assert problems(**chosen) == []


def test_many_hosts_with_one_problem_are_one_line():
    hosts = {f"n{number:03d}": {L + "interval": "7min", L + "uid": 0} for number in range(100)}
    groups = {"speedtest_nodes": sorted(hosts), "speedtest_archive": ["n000"]}
    found = check.problems(Inventory(hosts, groups, checkout=ROOT))
    assert found == sorted(found)
    assert found[0] == (
        "speedtest_logger_interval: seen '7min' on n000, n001, n002 and 97 more; 420 s does not divide a day into "
        "slots of at least 60 s: nearest is 432 s"
    )
    assert len(found) == 2


@pytest.mark.parametrize("host", ["mini_pc", "Mini_PC", "mini.pc"])
def test_names_that_inventories_have_make_names_of_nodes(host):
    assert check.problems(Inventory({host: {}}, {group: [host] for group in GROUPS}, checkout=ROOT)) == []


@pytest.mark.parametrize("host", ["büro-pc", "a123456789." * 7])
def test_a_host_name_that_makes_none_says_what_to_set_and_where(host):
    (line,) = check.problems(Inventory({host: {}}, {group: [host] for group in GROUPS}, checkout=ROOT))
    assert f"set speedtest_logger_node_name in host_vars/{host}.yml" in line


def test_a_variable_that_is_not_defined_names_itself_its_host_and_the_file(tmp_path):
    (tmp_path / "host_vars").mkdir()
    (tmp_path / "host_vars/h.yml").write_text('speedtest_archive_backup_password: "{{ vault_password }}"\n')
    values = {**BACKUP, A + "backup_password": Failure("'vault_password' is undefined")}
    (line,) = problems(folders=(tmp_path,), **values)
    assert line.startswith(f"{A}backup_password: seen a template that fails in {tmp_path}/host_vars/h.yml on h;")
    assert "'vault_password' is undefined: define it" in line
    (line,) = problems(**{**BACKUP, A + "backup_password": Failure("planted-secret is no JSON")})
    assert "planted" not in line


@pytest.mark.parametrize(
    ("attic", "porch", "seen"),
    [
        ({"line_down": {"slots": 3}}, {"line_down": False}, "line_down: False on porch; attic of the same "),
        ({"unstable": False}, {}, "nothing on porch; attic of the same location (home) has False: unstable is judged"),
        ({}, {"unstable": False}, "unstable: False on porch; attic of the same location (home) leaves it out: "),
        ({"below_plan": {"percent": 40}, "silent_node": False}, {"unstable": True}, "unstable: True on porch; "),
        ({"below_plan": {"percent": 40}, "silent_node": False, "line_down": False}, {"line_down": False}, None),
    ],
)  # fmt: skip
def test_nodes_of_a_location_that_say_different_things_of_their_line_are_named(attic, porch, seen):
    hosts = {
        "attic": {L + "location": "home", L + "alerts": attic},
        "porch": {L + "location": "home", L + "alerts": porch},
        "barn": {L + "location": "farm", L + "alerts": {"line_down": {"slots": 9}, "unstable": {"changes": 9}}},
    }
    groups = {"speedtest_nodes": list(hosts), "speedtest_archive": ["attic"]}
    lines = check.problems(Inventory(hosts, groups, checkout=ROOT))
    assert [line.startswith(f"{L}alerts: seen {seen}") for line in lines] == [True] * (seen is not None), lines


def test_nodes_that_share_a_name_or_too_full_an_uplink_are_named():
    hosts = {name: {L + "uplink": "dsl", L + "interval": "10min"} for name in ("a", "b", "c")}
    groups = {"speedtest_nodes": ["a", "b", "c"], "speedtest_archive": ["a"]}
    (line,) = check.problems(Inventory(hosts, groups, checkout=ROOT))
    assert line.startswith("speedtest_logger_uplink: seen 'dsl'; 3 nodes (a, b, c) need ")
    assert line.count("3 nodes") == 1
    assert "raise speedtest_logger_interval" in line
    fitting = int(line.partition("speedtest_logger_measure_timeout_seconds to ")[2].split()[0])
    for timeout, fits in ((fitting, True), (fitting + 1, False)):
        for values in hosts.values():
            values[L + "measure_timeout_seconds"] = timeout
        assert (check.problems(Inventory(hosts, groups, checkout=ROOT)) == []) is fits
    hosts["b"] = hosts["c"] = {L + "node_name": "cellar"}
    (line,) = check.problems(Inventory(hosts, groups, checkout=ROOT))
    assert line == "speedtest_logger_node_name: seen 'cellar' on b, c; give each a name of its own"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("speedtest_loger_interval", "speedtest_logger_interval"),
        ("speedtest_logger_intervall", "speedtest_logger_interval"),
        ("spedtest_logger_interval", "speedtest_logger_interval"),
        ("docker_host_sources", "docker_host_source"),
        ("managed_host_apt_cache", "managed_host_apt_cache_valid_seconds"),
    ],
)
def test_a_variable_that_is_almost_ours_is_named(name, meant):
    from speedtest_logger.inventory import names

    assert names.concerns_us(name)
    (line,) = problems(**{name: "1h"})
    assert f"{name}: seen a value on h; there is no such variable: did you mean {meant}?" in line


def test_other_peoples_variables_are_theirs():
    from speedtest_logger.inventory import names

    for name in (
        "ansible_user_uid",
        "nginx_port",
        "my_speed",
        "docker_host",
        "hardened",
        "__speedtest_logger_wanted",
    ):
        assert not names.concerns_us(name), name


def test_a_group_or_file_that_is_almost_ours_is_named(tmp_path):
    groups = {
        **GROUPS,
        "speedtest_node": ["x"],
        "speedtest_archives": [],
        "mine": ["h"],
        "speedtest_nodes_berlin": ["h"],
    }
    assert [line.split(":")[0] for line in problems(groups)] == ["group speedtest_archives", "group speedtest_node"]
    assert "did you mean speedtest_nodes?" in problems(groups)[1]
    for folder, names in (
        ("host_vars", ["hh.yml", "h.yml", ".x.yml", "h.yml~"]),
        ("group_vars", ["all.yml", "speedtest_node"]),
    ):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).touch()
    found = problems(folders=(tmp_path,))
    assert [line.split(":")[0] for line in found] == ["group_vars/speedtest_node", "host_vars/hh.yml"]
    assert "did you mean speedtest_nodes?" in found[0]
    assert "did you mean h?" in found[1]


def test_an_inventory_without_archive_or_nodes_says_so():
    found = check.problems(Inventory({"a": {}, "b": {}}, {"speedtest_archive": ["a", "b"]}, checkout=ROOT))
    assert found == [
        "group speedtest_archive: seen a, b; put exactly one host into it, or set "
        "speedtest_archive_shared: true for all of them",
        "group speedtest_nodes: seen none; put the machines that measure into it",
    ]
    (missing,) = check.problems(Inventory({}, {}, ("/nowhere/hosts.yml",), checkout=ROOT))
    assert "/nowhere/hosts.yml: seen no such file" in missing
    (empty,) = check.problems(Inventory({}, {}, ("/dev/null",), checkout=ROOT))
    assert "/dev/null; there is no host in it" in empty


def test_several_archive_hosts_share_one_store_and_each_has_its_key_pinned():
    store = {A + f"store_{name}": "x" for name in ("access_key", "secret_key")} | {A + "shared": True}
    right = {
        host: {**store, A + "store_address": "s3://measurements/records", "fleet_archive_host_key": HOST_KEY}
        for host in "ab"
    }

    def said(**b):
        groups = {"speedtest_archive": ["a", "b"], "speedtest_nodes": ["n"]}
        changed = {name: value for name, value in {**right["b"], **b}.items() if value is not None}
        return check.problems(Inventory({**right, "b": changed, "n": {}}, groups, checkout=ROOT))

    assert said() == []
    assert [line.split(";")[0] for line in said(fleet_archive_host_key=None)] == [
        "fleet_archive_host_key: seen nothing of b"
    ]
    assert [line.split(";")[0] for line in said(**{A + "shared": False})] == [f"{A}shared: seen False of b"]
    assert [line.split(";")[0] for line in said(**{A + "store_address": "s3://others/records"})] == [
        f"{A}store_address: seen s3://measurements/records, s3://others/records"
    ]


def test_secrets_are_never_shown():
    secret = "planted\nsecret"
    given_values = {
        **BACKUP,
        A + "backup_password": secret,
        A + "backup_environment": {"AWS_SECRET_ACCESS_KEY": secret},
        "docker_host_repository_url": "https://me:planted@example.org/ x",
        D + "users": [{"name": "ada", "password": "planted"}],
        D + "keys": [{**KEY, "sha256": "planted"}],
        D + "shares": [{**SHARE, "sha256": "planted"}],
    }
    found = "\n".join(problems(**given_values))
    assert found.count("seen a value that is not shown") == 5
    assert "planted" not in found


# --- drawn values

PLANTED = st.sampled_from(["a\nb", "x\x00", "\x1b[31m", "é\u202e", "\ud800"])
ODD = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12), PLANTED, st.just("x" * 5000),
    st.sampled_from([NAN, INFINITY, -1, 0, 2**64, "", "/", "/etc", "../x", "-x", "root", "7min", "garbage", "latest"]),
    st.lists(st.text(max_size=4) | st.integers() | PLANTED, max_size=3),
    st.dictionaries(st.text(max_size=4),
    st.text(max_size=4), max_size=2),
)  # fmt: skip
EVERY = sorted(roles.known())


@pytest.mark.parametrize("name", EVERY)
@settings(max_examples=tries(15), deadline=None, suppress_health_check=list(HealthCheck))
@given(value=ODD)
def test_a_value_outside_is_refused_and_one_inside_is_not(name, value):
    refused = roles.known()[name].domain.problem(value)
    named = [line for line in problems(**{name: value}) if line.startswith(f"{name}: seen ")]
    assert len(named) == 1 if refused else not [line for line in named if " is expected" in line]
    # what no input can be, whatever its domain says
    if (
        value is None
        or (isinstance(value, float) and math.isnan(value))
        or (isinstance(value, str) and "\x00" in value)
    ):
        assert refused


@pytest.mark.parametrize("name", EVERY)
def test_every_input_refuses_what_is_beyond_its_ends(name):
    domain = roles.known()[name].domain
    beyond = [None, NAN, INFINITY, -INFINITY, "x\ny", {"a": {"b": NAN}}, [NAN], object()]
    beyond += (
        [domain.least - 1, domain.most + 1, True]
        if hasattr(domain, "least") and domain.kind in ("int", "float")
        else []
    )
    for value in beyond:
        if isinstance(value, dict) and name in ("docker_host_daemon", "managed_host_plan", "managed_host_os"):
            assert domain.problem(value)
        assert [line for line in problems(**{name: value}) if line.startswith(f"{name}: seen ")], value


NUMBERS = {
    name: st.integers(int(i.domain.least), int(i.domain.most))
    if i.domain.kind == "int"
    else st.floats(i.domain.least, i.domain.most)
    for name, i in roles.known().items()
    if name.startswith(L) and hasattr(i.domain, "least") and i.domain.kind in ("int", "float")
}
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=8)
OTHERS = {
    L + "interval": st.sampled_from(["1min", "15min", "1h", "2h 24min", "1d"]),
    L + "push_interval": st.sampled_from(["1min", "5min", "1d"]),
    L + "engines": st.lists(st.sampled_from(list(ENGINES)), min_size=1, max_size=4, unique=True),
    L + "iperf3_servers": st.lists(st.sampled_from(["a", "b:1", "[::1]:5", "192.0.2.1:5201"]), max_size=2),
    L + "librespeed_servers": st.lists(st.sampled_from(["7", "http://a/", "https://b:1/x?y"]), max_size=2),
    L + "iperf3_extra_args": st.lists(WORDS | st.just("a b 'c' \"d\" $x `y` \\"), max_size=3),
    L + "quiet_hours": st.lists(st.sampled_from(["22:00-06:00", "00:00-23:59"]), max_size=2),
    L + "timezone": st.sampled_from(["UTC", "Europe/Berlin"]),
    L + "paused": st.booleans(), L + "archive_raw": st.booleans(), L + "isp_enabled": st.booleans(),
    L + "external_ip": st.sampled_from(["full", "shortened", "none"]), L + "ookla_licence_accepted": st.just(True),
    L + "location": st.sampled_from(["home", "a-1"]), L + "uplink": st.sampled_from(["", "dsl"]),
    L + "state_dir": st.sampled_from(["/srv/node", "/var/lib/x"]), L + "downloads": st.sampled_from([{},
    {"ookla": DOWNLOAD}]),
    L + "source_address": st.sampled_from(["", "192.0.2.1"]),
    L + "archive_address": st.sampled_from(["", "nas.example.org"]),
}  # fmt: skip


@settings(max_examples=tries(100), deadline=None, suppress_health_check=list(HealthCheck))
@given(st.fixed_dictionaries({}, optional={**NUMBERS, **OTHERS}))
def test_what_passes_here_the_node_takes_and_the_other_way_round(values):
    view = View("h", values, ("speedtest_logger",))
    try:
        read = config.load(environment.environment(view))
    except ConfigError as error:
        assert problems(**values), error.problems
    else:
        assert [line for line in problems(**values) if "divide" in line or "with speedtest_logger_start" in line] == []
        assert read.location == values.get(L + "location", "unknown-location")


# --- as Ansible has it


def preflight(*options, cwd=ROOT, **environment_):
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), *options, "playbooks/preflight.yml"],
        cwd=cwd, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", **environment_},
    )  # fmt: skip
    return done.returncode, " ".join((done.stdout + done.stderr).replace("''", "'").split())


@pytest.mark.parametrize("options", [(), ("--limit", "attic"), ("--limit", "all")])
def test_an_inventory_that_is_missing_or_empty_fails(options, tmp_path):
    code, said = preflight("-i", str(tmp_path / "missing.yml"), *options)
    assert code != 0
    assert "nothing was touched" in said
    assert "missing.yml: seen no such file" in said
    assert "cp -r inventory/homelab inventory/mine" in said
    assert "name your inventory with -i" in said


def test_ansibles_own_inventory_is_read_and_each_problem_is_told_once(tmp_path):
    inventory = {
        "speedtest_archive": {"hosts": {"nas": {"ansible_port": "ssh"}}},
        "speedtest_nodes": {
            "hosts": {"a": {}, "b": {}},
            "vars": {
                L + "interval": "7min",
                L + "location": "{{ nowhere }}",
                L + "loger": 1,
                L + "iperf3_servers": ["{{ nowhere }}"],
            },
        },
        "speedtest_node": {"hosts": {"c": {}}},
    }
    (tmp_path / "hosts.json").write_text(json.dumps(inventory))
    (tmp_path / "host_vars").mkdir()
    (tmp_path / "host_vars/aa.yml").write_text("x: 1\n")
    code, said = preflight("-i", str(tmp_path / "hosts.json"), "--limit", "b")
    assert code != 0
    for words in (
        "ansible_port: seen 'ssh' on nas",
        "speedtest_logger_interval: seen '7min' on a, b;",
        "speedtest_logger_location: seen a template that fails on a, b;",
        "speedtest_logger_iperf3_servers: seen a template that fails on a, b;",
        "speedtest_logger_loger: seen a value on a, b; there is no such variable",
        "group speedtest_node: seen c",
        "host_vars/aa.yml: seen",
    ):
        assert words in said, (words, said)


@pytest.mark.parametrize("inventory", ["inventory/homelab/hosts.yml", "lab/inventory/hosts.yml"])
def test_the_example_inventories_pass(inventory):
    code, said = preflight("-i", inventory)
    assert code == 0, said


def test_a_large_inventory_costs_one_look_at_each_value(monkeypatch):
    looked = []
    original = type(roles.known()[L + "interval"].domain).problem
    monkeypatch.setattr(
        type(roles.known()[L + "interval"].domain),
        "problem",
        lambda self, value: looked.append(value) or original(self, value),
    )
    hosts = {f"n{number:04d}": {L + "interval": "1h", L + "uplink": f"u{number // 4}"} for number in range(1000)}
    groups = {"speedtest_nodes": sorted(hosts), "speedtest_archive": ["n0000"]}
    began = time.monotonic()
    assert check.problems(Inventory(hosts, groups, checkout=ROOT)) == []
    print(f"1,000 hosts: {time.monotonic() - began:.2f} s")
    assert len(looked) <= 5 * len(hosts)


S = "speedtest_store_"
KEYS = {S + "access_key": "publisher", S + "secret_key": "3f2a9c1e77b04d5580aa91c2"}
WITH_STORE = {**GROUPS, "speedtest_store": ["h"]}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({S + "access_key": ""}, [S + "access_key: seen nothing", "vault"]),
        ({S + "secret_key": ""}, [S + "secret_key: seen nothing", "openssl rand -hex 20"]),
        ({S + "secret_key": "minioadmin"}, [S + "secret_key: seen a value that is not shown", "can be guessed"]),
        ({S + "secret_key": "a" * 40}, [S + "secret_key", "can be guessed"]),
        ({S + "secret_key": "publisher-publisher-publisher"}, [S + "secret_key", "without the id in it"]),
        ({S + "secret_key": "with a space in it, and long"}, [S + "secret_key", "letters, digits"]),
        ({S + "port": 8987}, [S + "port: seen 8987", T + "librespeed_port is one of 8987 to 8990"]),
        ({S + "port": 5200}, [S + "port: seen 5200", T + "iperf3_ports is one of"]),
        ({S + "dir": "/srv/speedtest-archive/objects"}, [S + "dir", "none inside another"]),
        ({S + "bucket": "My_Bucket"}, [S + "bucket", "lower-case"]),
        ({S + "max_gb": 1}, [S + "max_gb", "from 5"]),
        ({S + "listen": "everywhere"}, [S + "listen", "an IPv4 or IPv6 address"]),
    ],
)
def test_a_store_without_a_good_key_or_room_is_refused(values, words):
    assert problems(WITH_STORE, **KEYS) == []
    (line,) = problems(WITH_STORE, **{**KEYS, **values})
    for word in words:
        assert word in line
    assert "minioadmin" not in line


def test_what_goes_needs_no_key():
    assert problems(WITH_STORE, **{S + "state": "absent"}) == []


C = "speedtest_cluster_"
MEMBER = {C + "store_access_key": "reader", C + "store_secret_key": "3f2a9c1e77b04d5580aa91c2"}
WITH_CLUSTER = {**GROUPS, "speedtest_cluster": ["h"]}
ALL_PARTS = {**MEMBER, C + "parts": ["scheduler", "worker"]}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({C + "store_access_key": ""}, [C + "store_access_key: seen nothing", "a worker reads the object store"]),
        ({C + "parts": ["worker"]}, [C + "parts", "here it has 0 (none)"]),
        ({C + "parts": ["worker", "chief"]}, [C + "parts", "one of scheduler, worker"]),
        ({C + "worker_port": 8786}, [C + "worker_port: seen 8786", "is the same"]),
        ({C + "address": "192.0.2.9"}, [C + "scheduler_address: seen", "would look for it in vain"]),
        ({C + "version": "latest"}, [C + "version", "explicit version"]),
    ],
)
def test_a_cluster_that_does_not_fit_together_is_refused(values, words):
    assert problems(WITH_CLUSTER, **ALL_PARTS) == []
    (line,) = problems(WITH_CLUSTER, **{**ALL_PARTS, **values})
    for word in words:
        assert word in line


def test_members_of_a_cluster_are_alike():
    groups = {**GROUPS, "speedtest_cluster": ["h", "g"], "speedtest_nodes": ["h"]}
    for more, words in (
        ({}, []),
        ({C + "parts": ["scheduler"]}, ["2 (h, g)"]),
        ({C + "port": 9999}, [C + "port: seen 9999 on g", "h has another one"]),
    ):
        other = {**MEMBER, C + "parts": ["worker"], **more}
        found = check.problems(Inventory({"h": ALL_PARTS, "g": other}, groups, checkout=ROOT))
        assert [line for line in found if C in line and not all(word in line for word in words)] == []
        assert any(C in line for line in found) == bool(words), found


def over_https(**archive):
    """A node that delivers over https, and an archive host."""
    hosts = {"attic": {"speedtest_logger_transport": "https"}, "hub": archive}
    groups = {"speedtest_nodes": ["attic"], "speedtest_archive": ["hub"]}
    if "speedtest_front_name" in archive:
        groups |= {"speedtest_front": ["hub"], "speedtest_dashboard": ["hub"]}
    found = check.problems(Inventory(hosts, groups, checkout=ROOT))
    return [line for line in found if line.startswith(("speedtest_archive_https_enabled", "speedtest_archive_invita"))]


def test_deliveries_over_https_meet_a_receiver_behind_a_front():
    (line,) = over_https()
    assert "seen False on hub; attic has speedtest_logger_transport https: set true here, or ssh there" in line
    (line,) = over_https(speedtest_archive_https_enabled=True)
    assert "put this host into the groups speedtest_dashboard and speedtest_front" in line
    assert over_https(speedtest_archive_https_enabled=True, speedtest_front_name="speed.example.org") == []


def test_who_is_invited_meets_what_takes_deliveries_over_https():
    invites = {"speedtest_front_name": "speed.example.org", "speedtest_archive_invitations_enabled": True}
    assert over_https(speedtest_archive_https_enabled=True, **invites) == []
    hosts = {"attic": {}, "hub": invites}
    groups = {"speedtest_nodes": ["attic"], "speedtest_archive": ["hub"], "speedtest_front": ["hub"]}
    found = check.problems(Inventory(hosts, {**groups, "speedtest_dashboard": ["hub"]}, checkout=ROOT))
    (line,) = [each for each in found if each.startswith("speedtest_archive_invitations_enabled")]
    assert "set speedtest_archive_https_enabled true as well" in line


def test_over_https_nodes_are_told_whom_to_trust_of_several_fronts():
    def said(groups=("hub", "b"), **of_b):
        front = {"speedtest_archive_https_enabled": True, "speedtest_front_name": "speed.example.org"}
        hosts = {"attic": {"speedtest_logger_transport": "https"}, "hub": {**front, **of_b}, "b": front}
        archives = {name: list(groups) for name in ("speedtest_archive", "speedtest_front", "speedtest_dashboard")}
        found = check.problems(Inventory(hosts, {"speedtest_nodes": ["attic"], **archives}, checkout=ROOT))
        return [line.split("; set")[0] for line in found if line.startswith("fleet_archive_ca")]

    assert [line.split(";")[0] for line in said()] == ["fleet_archive_ca: seen nothing on hub, b"]
    assert said(speedtest_archive_state="absent") == []  # one is left
    assert said(groups=["hub"]) == []
    assert len(said(fleet_archive_ca="-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n")) == 1
