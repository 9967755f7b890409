"""An archive without records, and its clock."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from deliveries import NOW

from speedtest_logger.archive.format.layout import Layout


@pytest.fixture
def archive(layout: Layout) -> Layout:
    """An archive without records, as whoever runs these tests makes it."""
    return layout


@pytest.fixture
def clock(monkeypatch) -> Callable[[float], None]:
    """The archive's clock stands, and is set with it."""

    def at(moment: float) -> None:
        monkeypatch.setattr("time.time", lambda: float(moment))

    at(NOW)
    return at
