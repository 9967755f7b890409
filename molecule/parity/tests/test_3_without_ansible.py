"""The dashboard's Compose projects for people without Ansible, for real; the front's image is made here."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from fleet import ROOT, attempt, login, on, wait_until

from speedtest_logger import __version__

# nothing here needs the internet, and probes' results of an outage take their time: test_4_probes.py wants them
pytestmark = pytest.mark.usefixtures("internet_away")
HOST = "container"
FOLDER = "/root/alone"
IMAGE = f"speedtest-dashboard:{__version__}"  # as the role has built it
PROD = f"cd {FOLDER}/docker && docker compose --file compose.dashboard.yml --project-name alone"
DEV = f"cd {FOLDER}/docker && docker compose --file compose.dashboard.dev.yml"
DEV_PORT = 8002


@pytest.fixture(scope="module", autouse=True)
def _checkout():
    """What is needed of a checkout, an .env as the how-to says, and users."""
    on(HOST, f"mkdir -p {FOLDER}")
    with subprocess.Popen(["tar", "--create", "src", "docker"], cwd=ROOT, stdout=subprocess.PIPE) as packed:
        subprocess.run([*login(HOST), f"sudo tar --extract --directory {FOLDER}"], stdin=packed.stdout, check=True)
    group = on(HOST, "stat --format %g /srv/speedtest-archive/archive").strip()
    lines = (f"DASHBOARD_ARCHIVE_GROUP={group}", f"DASHBOARD_IMAGE={IMAGE}", f"DASHBOARD_DEV_PORT={DEV_PORT}")
    on(
        HOST,
        f"cd {FOLDER}/docker && cp .env.example .env && printf '%s\\n' {' '.join(lines)} >>.env && mkdir dashboard",
    )
    on(
        HOST,
        f"cd {FOLDER}/docker && hashed=$(echo a good password | docker run --rm --interactive {IMAGE} hash-password) &&"
        ' printf \'[{"name": "ada", "password": "%s"}]\' "$hashed" >dashboard/users.json && chown -R root:472 dashboard'
        " && chmod 750 dashboard && chmod 640 dashboard/*",
    )
    yield
    on(HOST, f"{PROD} down --volumes; {DEV} down --volumes", check=False)


def test_all_compose_files_are_valid():
    for file in ("compose.yml", "compose.dashboard.yml", "compose.dashboard.dev.yml"):
        assert on(HOST, f"cd {FOLDER}/docker && docker compose --file {file} config --quiet") == "", file
    wanted = json.loads(on(HOST, f"{PROD} config --format json"))
    assert set(wanted["services"]) == {"dashboard", "front"}
    wanted = json.loads(on(HOST, f"{PROD} --profile workbench config --format json"))
    published = {name: "ports" in service for name, service in wanted["services"].items()}
    assert published == {"dashboard": False, "front": True, "workbench": False}
    assert list(wanted["services"]["workbench"]["networks"]) == ["inside"]
    assert wanted["networks"]["inside"]["internal"] is True
    assert list(wanted["services"]["dashboard"]["networks"]) == ["inside"]


def test_the_dashboard_serves_on_a_network_that_leads_nowhere():
    on(HOST, f"{PROD} up --detach --no-build --pull never dashboard")
    identity = on(HOST, f"{PROD} ps --quiet dashboard").strip()
    found = json.loads(on(HOST, f"docker container inspect {identity}"))[0]
    (network,) = found["NetworkSettings"]["Networks"].values()
    address = network["IPAddress"]
    page = f"curl --silent --include --header 'Host: localhost' http://{address}:8000"
    wait_until("it answers", lambda: "HTTP/1.1" in attempt(HOST, f"{page}/health").stdout, 60, HOST, every=0.5)
    assert re.match(r"HTTP/1.1 (303|401) ", on(HOST, f"{page}/"))
    assert found["HostConfig"]["PortBindings"] in ({}, None)
    assert network["Gateway"] == ""
    inside = f"docker exec {identity} /usr/bin/python3 -c"
    where = on(HOST, "getent hosts hub").split()[0]
    tried = attempt(HOST, f"{inside} 'import socket; socket.create_connection((\"{where}\", 5201), 3)'").stdout
    assert "unreachable" in tried
    assert "Read-only" in attempt(HOST, f'{inside} \'open("/srv/speedtest-archive/archive/x", "w")\'').stdout
    assert "healthy" in on(HOST, f"docker exec {identity} speedtest-dashboard health")


def test_the_front_is_the_way_in():
    """No registry has `caddy:2` for us: Debian's Caddy, which this machine has, in an image that is made here."""
    program = shutil.which("caddy")
    assert program
    recipe = (
        "FROM debian:trixie-slim\\nCOPY caddy /usr/bin/caddy\\nENV XDG_DATA_HOME=/data XDG_CONFIG_HOME=/config\\n"
        'CMD ["caddy", "run", "--config", "/etc/caddy/Caddyfile"]'
    )
    with Path(program).open("rb") as content:
        put = f"sudo sh -c 'mkdir {FOLDER}/front && cat >{FOLDER}/front/caddy'"
        subprocess.run([*login(HOST), put], stdin=content, check=True)
    on(HOST, f"chmod 755 {FOLDER}/front/caddy; printf '{recipe}' | tee {FOLDER}/front/Dockerfile")
    on(HOST, f"docker build --quiet --tag front:1 {FOLDER}/front")
    on(HOST, PROD.replace("docker compose", "FRONT_IMAGE=front:1 docker compose") + " up --detach --no-build front")
    ask = "curl --silent --insecure --include --max-time 20"
    wait_until(
        "it answers", lambda: attempt(HOST, f"{ask} https://localhost/health").returncode == 0, 60, HOST, every=0.5
    )
    assert re.match(r"HTTP/1.1 308 ", on(HOST, f"{ask} http://localhost/"))
    assert re.match(r"HTTP/2 303 ", on(HOST, f"{ask} --header 'Accept: text/html' https://localhost/"))
    form = "--header 'Origin: https://localhost' --data 'name=ada&password=a good password'"
    said = on(HOST, f"{ask} {form} https://localhost/login")
    (cookie,) = re.findall(r"(?i)^set-cookie: ([^;]+)", said, re.MULTILINE)
    assert re.match(r"HTTP/2 200 ", on(HOST, f"{ask} --cookie '{cookie}' https://localhost/"))
    workbench = f"{ask} https://localhost/workbench/"
    assert re.match(r"HTTP/2 401 ", on(HOST, workbench))
    assert re.match(r"HTTP/2 502 ", on(HOST, f"{workbench} --cookie '{cookie}'"))  # it is not there


def test_what_means_nothing_here_is_refused_in_words():
    for name in ("DATABASE_URL", "REDIS_URL"):
        done = attempt(HOST, f"{PROD} run --rm --no-deps --env {name}=postgres://x dashboard")
        assert (done.returncode, f"{name} means nothing here" in done.stdout) == (2, True), done.stdout
    said = attempt(HOST, f"{PROD} run --rm --no-deps --env SPEEDTEST_DASHBOARD_USERS_FILE= dashboard").stdout
    assert "without users everybody" in said


def test_for_work_the_checkout_is_served_and_started_anew_when_it_changes():
    on(HOST, f"{DEV} up --detach --no-build --pull never")
    health = f"curl --silent http://127.0.0.1:{DEV_PORT}/health"
    wait_until("it answers", lambda: "status" in attempt(HOST, health).stdout, 60, HOST, every=0.5)
    source = f"{FOLDER}/src/speedtest_logger/dashboard/health.py"
    on(HOST, f'sed -i \'s/"scheduler": self.scheduler/"scheduler": "changed"/\' {source} && grep -q changed {source}')
    wait_until("the change is served", lambda: "changed" in attempt(HOST, health).stdout, 60, HOST, every=0.5)
    assert "speedtest-dashboard-dev_dev-state" in on(HOST, "docker volume ls --quiet")
