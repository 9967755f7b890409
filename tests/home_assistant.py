"""Home Assistant itself shows what docs/how-to/ask-the-api.md has for it: `make home-assistant`, which needs root.

It wants a newer Python than the gate has: Debian 13's. An image of the lab is not booted, and what is written in it is
forgotten. The network is one of its own, with nothing but loopback.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
from builders import ROOT, fresh, put, slot
from dashboards import HASH, PASSWORD
from ports import free_port

from lab import images
from lab.nodes import NSPAWN_ENVIRONMENT
from speedtest_logger.dashboard import keys
from speedtest_logger.record import utc_text

PACKAGES = ROOT / ".venv-home-assistant/packages"
PAGE = (ROOT / "docs/how-to/ask-the-api.md").read_text(encoding="utf-8")
PLACE = "http://127.0.0.1:8000"  # on the page
SECRET = "speedtest_dashboard_key"
STEP = 600
START_SECONDS = 180
SHOW_SECONDS = 60 + 60  # scan_interval, and as much again for a busy machine
STOP_SECONDS = 30
NOTHING = {"status": "failed", "reason": "no_route", "download_bps": None, "upload_bps": None, "latency_ms": None}
GONE = "unavailable"
SENSORS = ("sensor.download", "sensor.latency", "sensor.line")
OURS = re.compile(r".*(?:WARNING|ERROR).*(?:rest|sensor|template)\b.*")


def at(back):
    """When a slot was, that many before the one of now."""
    return (int(time.time()) // STEP - back) * STEP


def asked(address, token, data=None, kind="application/json"):
    """What an API answers."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": kind}
    request = Request(address, data, headers)  # noqa: S310  our own address
    with urlopen(request, timeout=30) as answer:  # noqa: S310  our own address
        return json.load(answer)


@pytest.fixture
def layout(tmp_path_factory):
    """An archive of one line, without a test yet."""
    made = fresh(tmp_path_factory)
    plan = {"interval_seconds": STEP, "offset_seconds": 0, "plan_download_mbps": 100, "plan_upload_mbps": 0}
    entry = {"valid_from": utc_text(at(5)), "valid_to": None, "location": "home", **plan}
    (made.state / "schedule.json").write_text(json.dumps({"nodes": {"attic": [entry]}}))
    return made


class Dashboard:
    """One that runs, has users, and knows a key."""

    def __init__(self, address: str, key: str) -> None:
        self.address = address
        self.key = key

    @property
    def sentence(self) -> str:
        """How it says that the line stands."""
        return asked(f"{self.address}/api/v1/locations/home", self.key)["sentence"]


@pytest.fixture
def dashboard(layout, tmp_path_factory) -> Iterator[Dashboard]:
    folder = tmp_path_factory.mktemp("dashboard")
    identity, key = keys.new_key()
    entry = {"name": "home", "id": identity, "sha256": keys.sha256(key), "scopes": ["read"], "expires": None}
    files = {"users": [{"name": "eva", "password": HASH}], "keys": [entry]}
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    variables = {f"SPEEDTEST_DASHBOARD_{name.upper()}_FILE": str(folder / f"{name}.json") for name in files}
    words = ["serve", "--root", layout.root, "--state-dir", folder / "own", "--port", "0"]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(
            [sys.executable, "-m", "speedtest_logger.dashboard", *words],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, **variables, "PYTHONPATH": str(ROOT / "src")},
        ) as process,
    ):
        found = re.search(r"http://[^ ]+", process.stdout.readline())
        assert found, (folder / "log").read_text()
        running = Dashboard(found[0].rstrip("/"), key)
        try:
            until(lambda: running.sentence, START_SECONDS, folder / "log")
            yield running
        finally:
            ended(process)


class HomeAssistant:
    """One that runs, asked by its own API."""

    def __init__(self, address: str, printed: Path) -> None:
        self.address = address
        self.printed = printed
        self.token = ""

    def log_in(self) -> bool:
        """Become its first user, as a browser does."""
        client = f"{self.address}/"
        user = {"name": "Eva", "username": "eva", "password": PASSWORD, "client_id": client, "language": "en"}
        code = asked(f"{self.address}/api/onboarding/users", "", json.dumps(user).encode())["auth_code"]
        form = urlencode({"grant_type": "authorization_code", "code": code, "client_id": client}).encode()
        given = asked(f"{self.address}/auth/token", "", form, "application/x-www-form-urlencoded")
        self.token = given["access_token"]
        return True

    def sensor(self, name):
        """A sensor's state and attributes."""
        found = asked(f"{self.address}/api/states/{name}", self.token)
        return {"state": found["state"], **found["attributes"]}

    def shows(self, download, latency, line) -> None:
        """Wait until the three sensors do; a line's sentence is asked for anew each time."""
        seen = {}

        def does():
            seen["expected"] = [download, latency, line() if callable(line) else line]
            seen["shown"] = [self.sensor(name)["state"] for name in SENSORS]
            return seen["shown"] == seen["expected"]

        until(does, SHOW_SECONDS, self.printed, seen)

    def complaints(self) -> list[str]:
        """What it printed against the page's lines."""
        return OURS.findall(self.printed.read_text())


def until(holds, seconds, printed, seen=None):
    """Wait for something, whatever does not answer yet."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if holds():
                return
        except URLError:
            pass
        assert time.monotonic() < deadline, (seen, printed.read_text()[-3000:])
        time.sleep(0.5)


def ended(process):
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def home_assistant(folder: Path, dashboard: Dashboard, key: str) -> Iterator[HomeAssistant]:
    """Home Assistant with the page's lines and a key."""
    [lines] = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert PLACE in lines
    assert f"!secret {SECRET} # Bearer stk_" in lines
    port = free_port()
    own = f"http:\n  server_host: 127.0.0.1\n  server_port: {port}\n"
    (folder / "configuration.yaml").write_text(own + lines.replace(PLACE, dashboard.address))
    (folder / "secrets.yaml").write_text(f"{SECRET}: Bearer {key}\n")
    machine = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", f"--machine=home-assistant-{os.getpid()}"]
    image = [f"--directory={images.build('trixie')}", "--volatile=overlay", "--kill-signal=SIGTERM"]
    bound = [f"--bind={PACKAGES}:/packages", f"--bind={folder}:/config", "--setenv=PYTHONPATH=/packages"]
    program = ["python3", "-m", "homeassistant", "--config", "/config", "--skip-pip"]
    printed = folder / "printed"
    with (
        printed.open("w") as log,
        subprocess.Popen(
            [*machine, *image, *bound, *program],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **NSPAWN_ENVIRONMENT},
        ) as process,
    ):
        running = HomeAssistant(f"http://127.0.0.1:{port}", printed)
        try:
            until(lambda: process.poll() is not None or running.log_in(), START_SECONDS, printed)
            assert process.poll() is None, printed.read_text()[-3000:]
            yield running
        finally:
            ended(process)


def test_the_network_is_one_of_its_own():
    others = {name for _, name in socket.if_nameindex()} - {"lo"}
    assert not others, "this machine's own network is here: run `make home-assistant`"


def test_sensors_show_each_test_as_it_comes(layout, dashboard, tmp_path):
    with home_assistant(tmp_path, dashboard, dashboard.key) as running:
        running.shows(GONE, GONE, lambda: dashboard.sentence)
        put(layout, slot("attic", at(3), download_bps=1.234e8, latency_ms=9.5))
        running.shows("123.4", "9.5", lambda: dashboard.sentence)
        measured = {"state_class": "measurement"}
        assert [running.sensor(name) for name in SENSORS] == [
            {
                "state": "123.4", "unit_of_measurement": "Mbit/s", "device_class": "data_rate",
                "friendly_name": "Download", **measured,
            },
            {
                "state": "9.5", "unit_of_measurement": "ms", "device_class": "duration",
                "friendly_name": "Latency", **measured,
            },
            {"state": dashboard.sentence, "friendly_name": "Line"},
        ]  # fmt: skip
        put(layout, slot("attic", at(2), **NOTHING))
        running.shows(GONE, GONE, lambda: dashboard.sentence)
        put(layout, slot("attic", at(1), download_bps=9.87e7, latency_ms=12.0))
        running.shows("98.7", "12.0", lambda: dashboard.sentence)
        assert running.complaints() == []


def test_a_wrong_key_makes_them_unavailable(layout, dashboard, tmp_path):
    put(layout, slot("attic", at(2), download_bps=1.234e8, latency_ms=9.5))
    with home_assistant(tmp_path, dashboard, keys.new_key()[1]) as running:
        running.shows(GONE, GONE, GONE)
