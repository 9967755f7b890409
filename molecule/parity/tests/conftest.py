"""Puts molecule/shared on the path, and what tests of two files share."""

import base64
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "shared"))

from fleet import LAB, ROOT, lab, listens, on

HEARD = "/var/tmp/heard.jsonl"


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
