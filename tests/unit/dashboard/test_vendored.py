"""What is not ours in static/ is what its maker published, byte for byte."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from speedtest_logger import dashboard

STATIC = Path(dashboard.__file__).parent / "static"
VENDORED = json.loads((STATIC / "vendored.json").read_text())


@pytest.mark.parametrize("name", sorted(VENDORED["files"]))
def test_a_file_is_its_makers(name):
    assert hashlib.sha256((STATIC / name).read_bytes()).hexdigest() == VENDORED["files"][name]


def test_every_file_of_the_package_is_listed_with_its_licence():
    assert {file.name for file in STATIC.glob("uPlot*")} == set(VENDORED["files"])
    assert "MIT License" in (STATIC / "uPlot.LICENSE").read_text()
    assert f"/uPlot (v{VENDORED['version']}) */" in (STATIC / "uPlot.iife.min.js").read_text()[:100]
