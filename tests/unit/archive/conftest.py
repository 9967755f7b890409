"""Shared by the archive's tests."""

from __future__ import annotations

import io
import json
import os
import shutil
import tempfile
import time
import uuid
from pathlib import Path

import duckdb  # noqa: F401  # loaded while it may be read: tests go on as other accounts
import pytest
from builders import SERVICE

from speedtest_logger.archive.arrive import receive
from speedtest_logger.archive.format import layout
from speedtest_logger.archive.write import ingest
from speedtest_logger.record import Record, utc_text


@pytest.fixture(scope="session")
def filled(tmp_path_factory):
    """An archive with one record of a moment ago, to be copied."""
    before = os.umask(0o027)
    made = layout.Layout(tmp_path_factory.mktemp("filled") / "archive")
    made.prepare()
    now = time.time() - 100
    row = Record(
        run_id=str(uuid.uuid4()),
        node="attic",
        location="home",
        started_at=utc_text(now),
        finished_at=utc_text(now + 10),
        status="ok",
        download_bps=1e8,
        upload_bps=5e7,
    ).to_row()
    receive.receive(made, "attic", io.BytesIO(json.dumps(row).encode() + b"\n"), receive.Limits())
    ingest.ingest(made)
    os.umask(before)
    return made.root


@pytest.fixture
def archive(filled):
    """An archive as a role makes it: its root is root's, what is in it the service's."""
    parent = Path(tempfile.mkdtemp())
    parent.chmod(0o755)
    made = layout.Layout(parent / "archive")
    shutil.copytree(filled, made.root)
    for folder, _, names in os.walk(made.root):
        for place in [Path(folder), *(Path(folder, name) for name in names)]:
            os.chown(place, SERVICE.uid, SERVICE.gid)
    os.chown(made.root, 0, SERVICE.gid)
    made.root.chmod(0o750)
    os.umask(0o027)
    yield made
    shutil.rmtree(parent)
