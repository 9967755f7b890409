"""An archive, and a place for what is published of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.sinks.place import Place


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """An archive without rows."""
    made = Layout(tmp_path / "archive")
    made.prepare()
    return made


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A folder in the place of a bucket."""
    return Place.of(str(tmp_path / "store/records"))
