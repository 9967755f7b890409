"""What preflight refuses of monitoring: servers that could tell nobody, or could not ask."""

from __future__ import annotations

import pytest
from builders import ROOT
from everything import GROUPS, D, L, T, problems

from speedtest_logger.inventory import check
from speedtest_logger.inventory.found import Inventory

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


B = "speedtest_database_"
SHOWN = {M + "grafana_enabled": True, B + "reader_password": "correct-horse-battery"}


def test_grafana_that_shall_show_the_database_of_its_host_needs_a_password_for_it():
    both = {**WATCHED, "speedtest_database": ["h"]}
    (line,) = problems(both, **{M + "grafana_enabled": True})
    assert line.startswith(
        f"{B}reader_password: seen nothing on h; {M}grafana_enabled is true, and Grafana on this host"
    )
    elsewhere = {B + "dsn": "postgresql://sink:hush-hush-hush-hush@db.example.org/speedtest"}
    for fine in (
        SHOWN,
        {M + "grafana_enabled": False},
        *(
            {**SHOWN, B + "reader_password": "", **more}
            for more in (
                elsewhere,
                {B + "state": "absent"},
                {M + "state": "absent"},
            )
        ),
    ):
        assert problems(both, **fine) == []
    assert problems(WATCHED, **{M + "grafana_enabled": True}) == []
