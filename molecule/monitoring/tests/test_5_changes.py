"""Monitoring that is changed by hand is put right, is the owner's Prometheus's, and goes again."""

from __future__ import annotations

import json

from calls import assert_each_role_costs_little
from fleet import attempt, on, playbook, recap

CONFIG = "/etc/speedtest-monitoring"
LINK = "/var/lib/prometheus/node-exporter/speedtest.prom"
UNITS = ("prometheus.service", "prometheus-alertmanager.service", "prometheus-node-exporter.service")
HOSTS = ("archive", "watch", "attic", "porch")


def monitoring(*options: str) -> dict[str, dict[str, int]]:
    done = playbook("playbooks/monitoring.yml", *options)
    assert done.returncode == 0, done.stdout[-3000:]
    return recap(done)


def changed(*options: str) -> int:
    """How many changes monitoring needed."""
    return sum(counts["changed"] for counts in monitoring(*options).values())


def state(node: str) -> list[str]:
    """What runs, starts with the machine, and lies there."""
    look = f"systemctl is-active {' '.join(UNITS)}; systemctl is-enabled {' '.join(UNITS)}"
    places = f"{CONFIG} {LINK} /etc/systemd/system/prometheus*.service.d /var/lib/speedtest-monitoring"
    return on(node, f"{look}; find {places} -maxdepth 2 2>/dev/null; true").split()


def test_no_role_calls_a_machine_often_where_all_is_as_it_should_be():
    assert_each_role_costs_little()


def test_what_is_changed_by_hand_is_named_and_put_right():
    harms = {
        f"archive: differs from the inventory: {CONFIG}/prometheus.yml": f"echo '# by hand' >>{CONFIG}/prometheus.yml",
        f"archive: differs from the inventory: {CONFIG}/alertmanager.yml": f"chmod 0644 {CONFIG}/alertmanager.yml",
        f"archive: differs from the inventory: {CONFIG}/targets/nodes.yml": f"rm {CONFIG}/targets/nodes.yml",
        f"archive: differs from the inventory: unit {UNITS[1]}": f"systemctl stop {UNITS[1]}",
    }
    on("archive", " && ".join(harms.values()))
    on("porch", f"rm {LINK}; systemctl disable --quiet prometheus-node-exporter")
    said = " ".join(playbook("playbooks/status.yml").stdout.split())
    assert [words for words in harms if words not in said] == []
    assert f"porch: differs from the inventory: {LINK}: no link" in said
    assert "porch: differs from the inventory: unit prometheus-node-exporter.service: not enabled" in said
    assert "archive (monitoring)" in said
    assert changed() > 0
    assert changed() == 0
    assert on("archive", f"stat -c '%U:%G %a' {CONFIG}/alertmanager.yml").strip() == "root:prometheus 640"


def test_a_configuration_that_a_server_refuses_does_not_get_there():
    before = on("archive", f"sha256sum {CONFIG}/prometheus.yml")
    # a pattern to Python, and none to Prometheus
    refused = json.dumps({"speedtest_monitoring_remote_write_names": "(?!up).*"})
    done = playbook("playbooks/monitoring.yml", "-e", refused)
    assert done.returncode != 0
    assert "is refused by `/usr/bin/promtool check config" in " ".join(done.stdout.split())
    assert on("archive", f"sha256sum {CONFIG}/prometheus.yml") == before


def test_for_a_prometheus_of_the_owners_there_are_files_and_no_server():
    on(
        "archive",
        "echo '[Unit]' >/etc/systemd/system/prometheus.service.d/own.conf",
    )
    files = ("-e", '{"speedtest_monitoring_mode": "files"}')
    assert changed(*files) > 0
    assert changed(*files) == 0
    running = [line for line in state("archive") if line == "active"]
    assert running == []
    there = on("archive", f"cd {CONFIG} && find . -type f | sort").split()
    assert {"./rules/speedtest.yml", "./scrape_configs.yml", "./targets/dashboard.yml", "./targets/nodes.yml"} <= set(
        there
    )
    assert [
        name for name in there if name.startswith("./secrets") or name in ("./prometheus.yml", "./alertmanager.yml")
    ] == []
    assert attempt("archive", f"runuser -u nobody -- cat {CONFIG}/targets/nodes.yml").returncode == 0
    # a Prometheus that reads them, with nothing else in its configuration
    on(
        "archive",
        f"promtool check config {CONFIG}/scrape_configs.yml && promtool check rules {CONFIG}/rules/*.yml",
    )
    assert on("porch", "systemctl is-active prometheus-node-exporter").strip() == "active"
    # the owner's drop-in is the owner's
    assert on("archive", "ls /etc/systemd/system/prometheus.service.d").split() == ["own.conf"]
    on("archive", "rm -r /etc/systemd/system/prometheus.service.d")


def test_it_goes_and_what_was_collected_stays_until_it_is_purged():
    assert changed() > 0  # Prometheus is there again
    absent = {"speedtest_monitoring_state": "absent"}
    assert changed("-e", json.dumps(absent)) > 0
    assert changed("-e", json.dumps(absent)) == 0
    for node in HOSTS:
        left = state(node)
        assert "active" not in left, (node, left)
        assert "enabled" not in left, (node, left)
        assert [path for path in left if path.startswith("/etc/")] == []
        assert LINK not in left
    assert "/var/lib/speedtest-monitoring/prometheus" in state("archive")
    assert changed("-e", json.dumps({**absent, "speedtest_monitoring_purge": True})) > 0
    assert attempt("archive", "test -e /var/lib/speedtest-monitoring").returncode != 0
    assert on("archive", "ls /etc/prometheus/prometheus.yml").strip()  # Debian's own, as its package left it
    assert on("archive", "dpkg --verify prometheus prometheus-alertmanager").strip() == ""
