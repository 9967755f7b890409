"""Puts molecule/shared on the path, and builds each image once."""

import sys
from pathlib import Path

import pytest

for folder in (Path(__file__).resolve().parents[2] / "shared", Path(__file__).resolve().parents[3] / "tests"):
    sys.path.insert(0, str(folder))


@pytest.fixture(scope="session")
def podman():
    """The machine that plays pods."""
    import pods

    pods.set_up()


@pytest.fixture(scope="session")
def logger_image(podman):
    """The logger's image."""
    import pods

    return pods.build(pods.LOGGER)


@pytest.fixture(scope="session")
def dashboard_image(podman):
    """The image of dashboard and archive."""
    import pods

    return pods.build(pods.DASHBOARD)
