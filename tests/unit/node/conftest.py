"""A node and an archive that it delivers to."""

from __future__ import annotations

import pytest

from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.node.spool import Spool


@pytest.fixture
def archive(tmp_path):
    """An archive without records."""
    made = Layout(tmp_path / "archive")
    made.prepare()
    return made


@pytest.fixture
def node(settings):
    """The settings of a node that delivers three records at once."""
    here = settings(archive_host="archive.example.org", push_batch_records="3")
    Spool(here.state_dir).prepare()
    return here
