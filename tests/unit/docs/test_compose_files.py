"""What is there for people without Ansible: Compose files, the .env that they read, and the front's Caddyfile."""

from __future__ import annotations

import os
import re
import subprocess

import pytest
import yaml
from builders import ROOT

from speedtest_logger.dashboard.settings import NOT_OURS

DOCKER = ROOT / "docker"
PROD, DEV = DOCKER / "compose.dashboard.yml", DOCKER / "compose.dashboard.dev.yml"
MONITORING = DOCKER / "compose.monitoring.yml"
EXAMPLE = (DOCKER / ".env.example").read_text(encoding="utf-8")


@pytest.mark.parametrize("tls", ["internal", "you@example.org"])
def test_the_fronts_configuration_is_one(tls, tmp_path):
    done = subprocess.run(
        ["caddy", "validate", "--adapter", "caddyfile", "--config", str(DOCKER / "Caddyfile")],
        env={**os.environ, "HOME": str(tmp_path), "DASHBOARD_SITE": "speed.example.org", "DASHBOARD_TLS": tls},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_both_fronts_let_the_same_into_the_workbench():
    """What asks who somebody is stands in two files: here, and in the role's template."""
    role = (ROOT / "roles/speedtest_front/templates/etc/speedtest-front/Caddyfile.j2").read_text(encoding="utf-8")
    block = role[role.index("\t@workbench path") : role.index("{% endif %}", role.index("\t@workbench path"))]
    here = block.replace("{{ dashboard }}", "dashboard:8000")
    here = here.replace("127.0.0.1:{{ speedtest_front_workbench_port }}", "workbench:8501")
    assert "forward_auth" in here
    assert here in (DOCKER / "Caddyfile").read_text(encoding="utf-8")


@pytest.mark.parametrize("file", [PROD, DEV, MONITORING])
def test_what_a_compose_file_asks_for_can_be_read_about(file):
    asked = set(re.findall(r"\$\{(\w+)", file.read_text(encoding="utf-8")))
    named = set(re.findall(r"^#?(\w+)=", EXAMPLE, re.MULTILINE))
    known_to_few = {"DASHBOARD_BASE_IMAGE", "DASHBOARD_DEV_PORT", "FRONT_IMAGE"}
    assert asked - known_to_few <= named
    assert known_to_few & named == set()


def test_what_is_refused_is_named_where_somebody_would_set_it():
    assert [name for name in NOT_OURS if name not in EXAMPLE] == []


def test_the_two_projects_share_no_data():
    prod, dev = (yaml.safe_load(file.read_text(encoding="utf-8")) for file in (PROD, DEV))
    assert prod["name"] != dev["name"]
    assert dev["services"]["dashboard"]["environment"]["ENV"] == "dev"
    assert [name for name, service in prod["services"].items() if "ports" in service] == ["front"]
    assert prod["services"]["dashboard"]["restart"] == prod["services"]["front"]["restart"] == "unless-stopped"


@pytest.mark.parametrize(
    ("password", "refused"),
    [
        ("admin", "everybody knows this one"),
        ("password", "everybody"),
        ("short", "12 characters"),
        ("", "12 characters"),
    ],
)
def test_grafana_does_not_start_with_a_password_that_is_none(password, refused):
    service = yaml.safe_load(MONITORING.read_text(encoding="utf-8"))["services"]["grafana"]
    assert service["environment"]["GF_SECURITY_ADMIN_PASSWORD"].startswith("${GRAFANA_PASSWORD:?")

    def started(text):
        script = service["entrypoint"][2].replace("$$", "$").replace("exec /run.sh", "echo started")
        environment = {**os.environ, "GF_SECURITY_ADMIN_PASSWORD": text}
        argv = [*service["entrypoint"][:2], script]
        return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)

    done = started(password)
    assert (done.returncode, done.stdout) == (64, "")
    assert refused in done.stderr
    assert started("a password of one's own").stdout == "started\n"


def test_what_watches_without_ansible_is_what_the_role_has_and_open_to_nobody():
    services = yaml.safe_load(MONITORING.read_text(encoding="utf-8"))["services"]
    assert "--web.listen-address=127.0.0.1:9090" in services["prometheus"]["command"]
    assert services["grafana"]["environment"]["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"
    assert [service for service in services.values() if "ports" in service] == []
    mounts = [mount for service in services.values() for mount in service["volumes"] if isinstance(mount, dict)]
    assert [mount["source"] for mount in mounts if not (DOCKER / mount["source"]).exists()] == []
    assert [mount for mount in mounts if not mount["read_only"]] == []
    checked = ["promtool", "check", "config", "--syntax-only", str(DOCKER / "monitoring/prometheus.yml")]
    assert subprocess.run(checked, capture_output=True, check=False).returncode == 0
    config = yaml.safe_load((DOCKER / "monitoring/prometheus.yml").read_text(encoding="utf-8"))
    assert {"speedtest-node", "speedtest-dashboard"} <= {job["job_name"] for job in config["scrape_configs"]}
    for kind in ("datasources", "dashboards"):
        own = yaml.safe_load((DOCKER / f"monitoring/provisioning/{kind}/speedtest.yaml").read_text(encoding="utf-8"))
        role = ROOT / f"roles/speedtest_monitoring/templates/etc/grafana/provisioning/{kind}/speedtest.yaml.j2"
        text = role.read_text(encoding="utf-8").replace("{{ config_dir }}", "/etc/speedtest-monitoring")
        text = text.replace("{{ speedtest_monitoring_grafana_prometheus_url }}", "http://127.0.0.1:9090")
        assert own == yaml.safe_load(text.replace("{{ speedtest_monitoring_scrape_seconds }}", "30"))
