"""Puts molecule/shared on the path, and what tests of two files share."""

import base64
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "shared"))

from fleet import LAB, ROOT, lab, listens, on

HEARD = "/var/tmp/heard.jsonl"
HOST = "container"  # of archive, dashboard and front
NAME = "speed.example.org"  # of the front


def knows_front(machine: str) -> None:
    """A machine finds the front by its name."""
    address = on(HOST, "hostname -I").split()[0]
    on(machine, f"grep -q ' {NAME}$' /etc/hosts || echo '{address} {NAME}' >>/etc/hosts")


@pytest.fixture(scope="session")
def https(tmp_path_factory) -> tuple[str, ...]:
    """What site.yml is told: nodes deliver through the front, whose authority is its own."""
    front = {"speedtest_front_name": NAME, "speedtest_front_tls": "internal", "speedtest_archive_https_enabled": True}
    children = {
        "speedtest_front": {"hosts": {HOST: front}},
        "speedtest_nodes": {"vars": {"speedtest_logger_transport": "https"}},
    }
    file = tmp_path_factory.mktemp("https") / "https.yml"
    file.write_text(json.dumps({"all": {"children": children}}), encoding="utf-8")
    return "-i", str(file)


@pytest.fixture(scope="session")
def internet_away() -> Iterator[tuple[float, str]]:
    """Beyond their gateway nothing answers the nodes: since when (Unix time, s).

    And where a webhook writes what is told once a test has it judged.
    """
    program = base64.b64encode((ROOT / "molecule/shared/programs/hook.py").read_bytes()).decode()
    on("container", f"echo {program} | base64 -d >/var/tmp/hook.py")
    on("container", f"systemd-run --quiet --unit=hear-hook --collect python3 /var/tmp/hook.py 8900 {HEARD}")
    listens("container", 8900)
    on("container", "systemctl stop speedtest-alerts.timer speedtest-alerts.service")
    on("container", f"speedtest-alerts run --now; rm -f {HEARD}")
    began = time.time()
    lab("cut", LAB, "hub")
    yield began, HEARD
    lab("restore", LAB, "hub")
    on("container", "systemctl start speedtest-alerts.timer; systemctl stop hear-hook")
