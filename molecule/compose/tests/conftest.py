"""Puts molecule/shared on the path, and what else the tests of a node with Docker need."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "shared"))

from fleet import LAB, lab, on


@pytest.fixture(scope="module")
def fast_line() -> Iterator[None]:
    """Shed's line without limits for as long as a module's tests run."""
    lab("shape", LAB, "shed", "0", "0")
    yield
    lab("shape", LAB, "shed", "60", "40")


@pytest.fixture
def docker_may_restart() -> None:
    """Systemd starts Docker three times a minute at most; the tests before do not count."""
    on("shed", "systemctl reset-failed 'docker.*'")
