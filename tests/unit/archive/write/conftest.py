"""The archive that is written to."""

from __future__ import annotations

import pytest

from speedtest_logger.archive.format.layout import Layout


@pytest.fixture
def archive(layout: Layout) -> Layout:
    """An archive without records, as whoever runs these tests makes it."""
    return layout
