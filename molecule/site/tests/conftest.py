"""Puts molecule/shared on the path; what hears alerts is there before the first of them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "shared"))

import listeners
import pytest


@pytest.fixture(scope="session", autouse=True)
def heard():
    """All destinations of the inventory take what they are told."""
    listeners.start()
