"""Shared by all tests: recorded engine output, and programs that replay it."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import quick_restic
import tries
from builders import VERSIONS

from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.node import config

tries.load_profile()
# files of long tests: each worker starts with its share of them, so that none is left alone with one at the end
LONGEST = [
    "test_kill",
    "test_kill_archive",
    "test_planted",
    "test_archive_properties",
    "test_damaged_months",
    "test_doubles",
    "test_backlog",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long tests to the beginnings of the parts that pytest-xdist gives its workers at first."""
    parts = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    long = [item for stem in LONGEST for item in items if item.path.stem == stem]
    short = [item for item in items if item.path.stem not in LONGEST]
    size = -(-len(items) // parts)
    for part in range(parts):
        mine = long[part::parts]
        at = part * size
        short[at:at] = mine
    items[:] = short


@pytest.fixture(autouse=True)
def environment_of_a_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the lab and these tests are told is no setting of the programs, which refuse those that they do not know."""
    for name in [name for name in os.environ if name.startswith("SPEEDTEST_")]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """Entry points that tests call set the process's umask: the next test has it as it was."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """An archive without records."""
    made = Layout(tmp_path / "archive")
    made.prepare()
    return made


@pytest.fixture(scope="session")
def restic() -> Iterator[Path]:
    """A folder with a restic whose repositories open at once; other accounts than root's can start it."""
    with tempfile.TemporaryDirectory() as folder:
        yield quick_restic.program(Path(folder))


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., str]:
    """Write a program under an engine's name that answers --version truthfully and otherwise runs a shell script."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def write(name: str, script: str, version: str | None = None) -> str:
        file = folder / name
        file.write_text(
            f"#!/bin/sh\n[ \"$1\" = --version ] && {{ echo '{version or VERSIONS[name]}'; exit 0; }}\n{script}\n"
        )
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
        return f"{folder}:{os.environ['PATH']}"

    return write


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., config.Settings]:
    """Settings of a node whose state lies in a temporary directory."""

    def load(**variables: str) -> config.Settings:
        base = {
            "SPEEDTEST_NODE": "attic",
            "SPEEDTEST_STATE_DIR": str(tmp_path / "state"),
            "SPEEDTEST_LOG_FILE": str(tmp_path / "diag.log"),
            "SPEEDTEST_ENGINES": "iperf3",
            "SPEEDTEST_IPERF3_SERVERS": "192.0.2.1:5201",
            "SPEEDTEST_DISK_MIN_FREE_MB": "0",
        }
        return config.load({**base, **{f"SPEEDTEST_{name.upper()}": value for name, value in variables.items()}})

    return load
