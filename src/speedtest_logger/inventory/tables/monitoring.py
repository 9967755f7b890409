"""Inputs of the role speedtest_monitoring."""

from __future__ import annotations

import re

from speedtest_logger import domains
from speedtest_logger.domains import Choice, ListOf, OrEmpty, Text, Whole
from speedtest_logger.inventory import kinds
from speedtest_logger.inventory.inputs import STATE, Input, Role
from speedtest_logger.inventory.tables.database import PASSWORD
from speedtest_logger.inventory.tables.front import ADDRESS as MAIL_ADDRESS


def is_pattern(text: str) -> bool:
    """Whether a text is a regular expression."""
    try:
        re.compile(text)
    except re.error:
        return False
    return True


URLS = ListOf(domains.URL, most=20, unique=True)
USERNAME = Text("a user's name", ".{1,128}")

INPUTS = (
    Input(
        "speedtest_monitoring_state",
        "present",
        "present: the host watches the fleet by Prometheus. absent: everything is taken off; Debian's packages stay, "
        "stopped, and what Prometheus has collected stays unless speedtest_monitoring_purge.",
        STATE,
    ),
    Input(
        "speedtest_monitoring_purge",
        False,
        "With state absent: true also deletes what Prometheus has collected. There is no way back.",
        domains.BOOLEAN,
    ),
    Input(
        "speedtest_monitoring_mode",
        "server",
        "server: Prometheus and Alertmanager run on the host. files: you have a Prometheus; targets, rules and "
        "dashboards are written into /etc/speedtest-monitoring for it, and no server is installed.",
        Choice("server", "files"),
    ),
    Input(
        "speedtest_monitoring_addresses",
        [],
        "From which addresses the host asks the nodes' exporters, which answer nobody else. []: ansible_host.",
        ListOf(domains.ADDRESS, most=20, unique=True),
    ),
    Input(
        "speedtest_monitoring_bind",
        "127.0.0.1",
        "Address that Prometheus listens on. It has no login: whoever reaches it sees everything.",
        domains.ADDRESS,
    ),
    Input("speedtest_monitoring_port", 9090, "Port that Prometheus listens on.", Whole(1024, 65_535)),
    Input(
        "speedtest_monitoring_alertmanager_port",
        9093,
        "Port of 127.0.0.1 that Alertmanager listens on.",
        Whole(1024, 65_535),
    ),
    Input(
        "speedtest_monitoring_scrape_seconds",
        30,
        "How often figures are fetched and rules are judged.",
        Whole(5, 3600),
    ),
    Input(
        "speedtest_monitoring_retention_days",
        400,
        "How long Prometheus keeps figures; the archive keeps every test for good.",
        Whole(1, 36_500),
    ),
    Input(
        "speedtest_monitoring_retention_gb",
        0,
        "How much Prometheus keeps at most (10^9 bytes); the oldest goes first. 0: as much as the days need.",
        Whole(0, 100_000),
    ),
    Input(
        "speedtest_monitoring_dashboard_url",
        "",
        "Where the host reaches the dashboard, such as https://speed.example.org. Empty: told by the inventory.",
        OrEmpty(domains.ORIGIN),
    ),
    Input(
        "speedtest_monitoring_dashboard_key",
        "",
        "A key with the scope metrics, as `speedtest-dashboard new-key` prints it. Empty: the dashboard asks for none.",
        OrEmpty(Text("a key as `speedtest-dashboard new-key` prints it", r"[!-~]{8,200}")),
        secret=True,
    ),
    Input(
        "speedtest_monitoring_webhooks",
        [],
        "URLs that alerts are posted to, in Alertmanager's JSON.",
        URLS,
        secret=True,
    ),
    Input(
        "speedtest_monitoring_watchdog_url",
        "",
        "URL that is posted to every few minutes for as long as alerts work: who watches it notices that they do not.",
        OrEmpty(domains.URL),
        secret=True,
    ),
    Input(
        "speedtest_monitoring_mail_to",
        [],
        "Who gets alerts by mail.",
        ListOf(MAIL_ADDRESS, most=20, unique=True),
    ),
    Input("speedtest_monitoring_mail_from", "", "Who sends them.", OrEmpty(MAIL_ADDRESS)),
    Input(
        "speedtest_monitoring_mail_smarthost",
        "",
        "The mail server, such as mail.example.org:587.",
        OrEmpty(domains.HOST_PORT),
    ),
    Input("speedtest_monitoring_mail_username", "", "Its login. Empty: it wants none.", OrEmpty(USERNAME)),
    Input("speedtest_monitoring_mail_password", "", "Its password.", OrEmpty(kinds.SECRET), secret=True),
    Input(
        "speedtest_monitoring_mail_tls_enabled",
        True,
        "false: mail goes to a server that has no TLS, readable on its way.",
        domains.BOOLEAN,
    ),
    Input(
        "speedtest_monitoring_repeat_hours",
        12,
        "After how many hours somebody is told again of what has not ended.",
        Whole(1, 720),
    ),
    Input(
        "speedtest_monitoring_remote_write_url",
        "",
        "Where figures are sent besides, such as Grafana Cloud or another Prometheus. Empty: nothing leaves the host.",
        OrEmpty(domains.URL),
    ),
    Input(
        "speedtest_monitoring_remote_write_names",
        "(.*:)?speedtest_.*|up|ALERTS",
        "Which metrics are sent there, a regular expression. The default leaves out the machines' own figures.",
        Text("a regular expression", accepts=is_pattern),
    ),
    Input(
        "speedtest_monitoring_remote_write_username",
        "",
        "Its login, with a password. Empty: none, or the token.",
        OrEmpty(USERNAME),
    ),
    Input(
        "speedtest_monitoring_remote_write_password",
        "",
        "The login's password.",
        OrEmpty(kinds.SECRET),
        secret=True,
    ),
    Input(
        "speedtest_monitoring_remote_write_token",
        "",
        "A bearer token in the place of login and password.",
        OrEmpty(kinds.SECRET),
        secret=True,
    ),
    Input(
        "speedtest_monitoring_grafana_enabled",
        False,
        "true: the Grafana on the host gets data sources and dashboards by its provisioning: of Prometheus, and of the "
        "database where that is on the host too.",
        domains.BOOLEAN,
    ),
    Input(
        "speedtest_monitoring_grafana_prometheus_url",
        "http://127.0.0.1:{{ speedtest_monitoring_port | default(9090) }}",
        "Where that Grafana reaches Prometheus.",
        domains.URL,
    ),
    Input(
        "speedtest_monitoring_grafana_database_password",
        "{{ speedtest_database_reader_password | default('') }}",
        "What that Grafana reads the database of the same host with, as speedtest_reader.",
        OrEmpty(PASSWORD),
        secret=True,
    ),
    Input(
        "speedtest_monitoring_exporter_enabled",
        True,
        "On a node. false: it has no node exporter, or one that is not the role's.",
        domains.BOOLEAN,
    ),
    Input(
        "speedtest_monitoring_exporter_bind",
        "",
        "On a node: the address that its exporter listens on. Empty: all of them; it answers the monitoring host only.",
        OrEmpty(domains.ADDRESS),
    ),
    Input(
        "speedtest_monitoring_exporter_port",
        9100,
        "On a node: the port that its exporter listens on.",
        Whole(1024, 65_535),
    ),
    Input(
        "speedtest_monitoring_exporter_address",
        "{{ ansible_host | default(inventory_hostname) }}",
        "On a node: where the monitoring host reaches its exporter.",
        domains.HOST,
    ),
    Input(
        "speedtest_monitoring_fleet",
        {},
        "What the rest of the inventory means for the host; monitoring.yml sets it.",
        kinds.INTERNAL,
    ),
)

ROLE = Role("speedtest_monitoring", "Prometheus, Alertmanager and the nodes' exporters", INPUTS)
