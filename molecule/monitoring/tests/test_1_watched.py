"""Debian's Prometheus, Alertmanager and exporters as the role has them: who asks whom, and who reads secrets."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from itertools import product
from urllib.parse import unquote

import pytest
from fleet import ROOT, attempt, on, wait_until
from prometheus import asked, values, written
from security import MOST_EXPOSED, exposure

MONITORS = ("archive", "watch")  # as Debian 12 has it, beside the dashboard; as Debian 13 has it, on its own
NODES = {"attic": "home", "porch": "garden"}
SERVERS = ("prometheus", "prometheus-alertmanager")
EXPORTER = "prometheus-node-exporter"
PASSWORD = "not secret: of a provider"
KEY = "stk_monitors_not-a-secret-but-the-key-of-a-test-scenario"
CONFIG = "/etc/speedtest-monitoring"


@pytest.fixture(scope="module", autouse=True)
def receiver() -> None:
    """Somebody takes what Prometheus and Alertmanager send."""
    if attempt("archive", "systemctl is-active receive").returncode:
        program = ROOT / "molecule/monitoring/programs/receive.py"
        encoded = base64.b64encode(program.read_bytes()).decode()
        on("archive", f"echo {encoded} | base64 -d >/root/receive.py")
        on("archive", "systemd-run --quiet --unit=receive /usr/bin/python3 /root/receive.py")


def received(path: str) -> list[str]:
    """Files of what was posted to a path."""
    return on("archive", f"ls /run/received | grep -E '^[0-9]+ {path}' || true").splitlines()


def body(name: str) -> bytes:
    """What was posted."""
    return base64.b64decode(on("archive", f"base64 -w0 '/run/received/{name}'"))


@pytest.mark.parametrize("monitor", MONITORS)
def test_every_target_answers_under_its_name_and_location(monitor):
    wanted = {
        *(("speedtest-node", name) for name in NODES),
        ("speedtest-dashboard", "dashboard"),
        ("prometheus", "prometheus"),
        ("alertmanager", "alertmanager"),
    }

    def up() -> set[tuple[str, str]]:
        return {(labels["job"], labels["instance"]) for labels, value in values("up", monitor) if value == 1}

    wait_until("all targets are up", lambda: up() == wanted, 90)
    found = {(labels["job"], labels["instance"]): labels for labels, _ in values("up", monitor)}
    assert set(found) == wanted
    assert {name: found["speedtest-node", name]["location"] for name in NODES} == NODES


def test_exporters_show_our_units_and_no_others():
    wait_until("units are shown", lambda: bool(values("node_systemd_unit_state")), 30)
    found = values('node_systemd_unit_state{state="active"}')
    assert {labels["node"] for labels, _ in found} == set(NODES)
    assert {(labels["node"], value) for labels, value in found if labels["name"] == "speedtest-logger.timer"} == {
        (name, 1.0) for name in NODES
    }
    assert [labels["name"] for labels, _ in found if not labels["name"].startswith("speedtest-")] == []


def test_both_releases_of_debian_are_seen():
    """Each with its own version; Debian 13 has promtool in a package of its own, which comes along."""
    version = "dpkg-query --show --showformat '${source:Upstream-Version} ' "
    packages = {"archive": SERVERS, "watch": (*SERVERS, "promtool"), "attic": (EXPORTER,), "porch": (EXPORTER,)}
    found = {node: on(node, f"{version} {' '.join(names)}").split() for node, names in packages.items()}
    print(found)
    assert [found["archive"][0][:4], found["watch"][0][:4], found["watch"][2][:4]] == ["2.42", "2.53", "2.53"]
    assert found["attic"] != found["porch"]


def test_the_dashboard_gives_its_figures_to_a_key_that_prometheus_alone_can_read():
    """It is on another machine; what reads the key there is neither Alertmanager nor anybody else."""
    ask = "curl --silent --output /dev/null --write-out '%{http_code}' http://archive:8000/metrics"
    assert on("watch", ask) == "401"
    assert on("watch", f"{ask} -H 'Authorization: Bearer {KEY}x'") == "401"
    assert on("watch", f"{ask} -H 'Authorization: Bearer {KEY}'") == "200"
    place = f"{CONFIG}/secrets/dashboard-key"
    (job,) = [
        target["scrapeUrl"]
        for target in asked("http://127.0.0.1:9090/api/v1/targets", node="watch")["data"]["activeTargets"]
        if target["labels"]["job"] == "speedtest-dashboard"
    ]
    address = on("watch", "getent hosts archive").split()[0]
    assert job == f"http://{address}:8000/metrics"
    assert on("watch", f"stat -c '%U:%G %a' {place}").strip() == "root:prometheus 640"
    assert on("watch", f"runuser -u prometheus -- cat {place}") == KEY
    assert attempt("watch", f"runuser -u nobody -- cat {place}").returncode != 0
    inside = "nsenter --mount --target $(systemctl show --value --property MainPID prometheus-alertmanager)"
    assert attempt("watch", f"{inside} runuser -u prometheus -- cat {place}").returncode != 0
    assert on("watch", f"grep -rlF {KEY} /etc {CONFIG} /var/lib/speedtest-monitoring || true").split() == [place] * 2
    assert KEY not in asked("http://127.0.0.1:9090/api/v1/status/config", node="watch")["data"]["yaml"]


@pytest.mark.parametrize(("node", "name"), [*product(MONITORS, SERVERS), ("attic", EXPORTER), ("porch", EXPORTER)])
def test_a_service_is_far_less_exposed_than_as_debian_has_it(node, name):
    """Systemd's own score, lower is better; Debian's unit is looked at under another name, where no drop-in is."""
    stock = f"stock-{name}.service"
    on(node, f"cp /lib/systemd/system/{name}.service /run/systemd/system/{stock} && systemctl daemon-reload")
    before, _ = exposure(node, stock)
    after, said = exposure(node, f"{name}.service")
    on(node, f"rm /run/systemd/system/{stock} && systemctl daemon-reload")
    print(f"{node}: {name}: exposed {before} as Debian has it, {after} here")
    assert after <= MOST_EXPOSED, said
    assert after < before


@pytest.mark.parametrize("monitor", MONITORS)
def test_servers_listen_on_loopback_alone(monitor):
    listening = on(monitor, "ss -Hltnp").splitlines()
    ours = {line.split()[3] for line in listening if re.search(r'"prometheus', line)}
    assert ours == {"127.0.0.1:9090", "127.0.0.1:9093"}


def test_an_exporter_answers_the_monitoring_host_and_nobody_else():
    ask = "curl --silent --output /dev/null --max-time"
    assert [attempt(monitor, f"{ask} 60 http://porch:9100/metrics").returncode for monitor in MONITORS] == [0, 0]
    assert attempt("attic", f"{ask} 3 http://porch:9100/metrics").returncode != 0
    assert attempt("porch", f"{ask} 60 http://127.0.0.1:9100/metrics").returncode == 0


def test_secrets_are_read_by_their_service_alone():
    inside = on("archive", f"find {CONFIG}/secrets {CONFIG}/alertmanager.yml -type f -printf '%p %u:%g %m\\n'").split(
        "\n"
    )
    owned = {line.split(" ", 1)[0]: line.split(" ", 1)[1] for line in inside if line}
    assert owned == dict.fromkeys(
        [
            f"{CONFIG}/alertmanager.yml",
            f"{CONFIG}/secrets/remote-write-password",
            f"{CONFIG}/secrets/dashboard-key",
        ],
        "root:prometheus 640",
    )
    for place, secret in ((f"{CONFIG}/alertmanager.yml", "not-secret-a-tests"), (next(iter(owned)), "")):
        assert attempt("archive", f"runuser -u nobody -- cat {place}").returncode != 0
        assert secret in on("archive", f"runuser -u prometheus -- cat {place}")
    for unit, place in (
        ("prometheus", "alertmanager.yml"),
        ("prometheus-alertmanager", "secrets/remote-write-password"),
    ):
        inside = f"nsenter --mount --target $(systemctl show --value --property MainPID {unit})"
        assert attempt("archive", f"{inside} runuser -u prometheus -- cat {CONFIG}/{place}").returncode != 0
        assert attempt("archive", f"{inside} test -d {CONFIG}/rules").returncode == 0
    others = on("archive", f"grep -rlE 'not.(a-)?secret' /etc {CONFIG} /var/lib/speedtest-monitoring || true").split()
    assert set(others) == {*owned, "/etc/speedtest-archive/backup.env"}


def test_figures_are_sent_on_with_a_login_and_without_addresses():
    series = []

    def all_nodes_are_told_of() -> bool:
        series[:] = [one for name in received("write")[-6:] for one in written(body(name))]
        return {labels.get("node") for labels, _ in series if labels["__name__"] == "up"} >= set(NODES)

    wait_until("what was scraped has been sent", all_nodes_are_told_of, 60)
    login = base64.b64encode(f"home:{PASSWORD}".encode()).decode()
    assert unquote(received("write")[0]).endswith(f"write Basic {login}")
    metrics = {labels["__name__"] for labels, _ in series}
    assert "up" in metrics
    assert [name for name in metrics if not re.fullmatch(r"(.*:)?speedtest_.*|up|ALERTS", name)] == []
    ups = {labels.get("node"): samples for labels, samples in series if labels["__name__"] == "up"}
    assert ups["porch"][-1] == 1.0
    assert [s for s in series if re.search(r"\d+\.\d+\.\d+\.\d+|:\d{4}", json.dumps(s[0]))] == []


@pytest.mark.parametrize("monitor", MONITORS)
def test_the_configuration_that_runs_is_the_one_that_was_checked(monitor):
    running = asked("http://127.0.0.1:9090/api/v1/status/config", node=monitor)["data"]["yaml"]
    assert "speedtest-node" in running
    assert PASSWORD not in running
    rules = asked("http://127.0.0.1:9090/api/v1/rules", node=monitor)["data"]["groups"]
    assert {group["name"] for group in rules} == {"speedtest-figures", "speedtest-alerts"}
    assert [rule for group in rules for rule in group["rules"] if rule["health"] == "err"] == []


# What this small fleet has not: a verify, a line whose loss iperf3 measures, a root that is no overlay.
NOT_HERE = {"Packet loss", "Findings of verify", "Free on nodes", "Latency", "Jitter"}


def test_every_panel_of_grafana_s_dashboards_has_something_to_show():
    """That the numbers are right is shown with a known fleet: tests/integration/test_grafana_queries.py."""
    on("archive", "systemctl start speedtest-backup.service")
    wait_until("a backup is shown", lambda: bool(values("speedtest_archive_last_backup_timestamp_seconds")), 60)
    wait_until("tests are shown", lambda: len(values("speedtest_download_bytes_per_second")) == len(NODES), 120)
    for board in sorted((ROOT / "dashboards").glob("*.json")):
        for panel in json.loads(board.read_text(encoding="utf-8"))["panels"]:
            asked_for = [target["expr"].replace("$node", "attic") for target in panel["targets"]]
            if panel["title"] not in NOT_HERE:
                name = f"{board.stem}, {panel['title']}"
                wait_until(f"{name} has something", lambda of=asked_for: any(map(values, of)), 30)


def test_compose_takes_the_project_for_people_without_ansible_and_refuses_it_without_a_password():
    files = ("compose.monitoring.yml", "monitoring")
    packed = subprocess.run(["tar", "-C", str(ROOT / "docker"), "-cz", *files], capture_output=True, check=True).stdout
    on("porch", "apt-get -qq -y install docker-cli docker-compose >/dev/null")
    on(
        "porch",
        f"mkdir -p /root/docker && echo {base64.b64encode(packed).decode()} | base64 -d | tar -xz -C /root/docker",
    )
    config = "cd /root/docker && docker compose --file compose.monitoring.yml config --quiet"
    refused = attempt("porch", config)
    assert refused.returncode != 0
    assert "set GRAFANA_PASSWORD in .env" in refused.stdout
    on("porch", f"export GRAFANA_PASSWORD=of-ones-own-alone; {config}")
