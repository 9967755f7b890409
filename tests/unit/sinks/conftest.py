"""An archive, and a place for what is published of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from speedtest_logger.sinks.place import Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A folder in the place of a bucket."""
    return Place.of(str(tmp_path / "store/records"))
