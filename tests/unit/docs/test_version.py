"""The version stands in many files and is raised in one: the others are written by `make docs`."""

from __future__ import annotations

import subprocess
import sys

import pytest
from builders import ROOT

from speedtest_logger import __version__

sys.path.insert(0, str(ROOT / "docs"))
import version

OLD = """
    sudo apt install ./speedtest-logger_0.0.9-1_all.deb && pip install "./speedtest_telemetry-0.0.9-py3-none-any.whl"
    image: registry.example.org/speedtest-logger:0.0.9
app.kubernetes.io/version: "0.0.9"
version: 0.0.9
appVersion: 0.0.9
targetRevision: 0.0.9
"""
OTHERS = 'iperf3 3.18.0\nkubeVersion: ">=1.27.0-0"\n  version: 3.0.0\nspeedtest-cli 2.1.3\n'


def test_every_way_of_writing_it_is_known():
    assert version.raised(OLD, "0.2.0") == OLD.replace("0.0.9", "0.2.0")


def test_versions_of_others_stay():
    assert version.raised(OTHERS, "0.2.0") == OTHERS


@pytest.mark.parametrize("name", version.FILES)
def test_a_file_that_is_listed_names_it(name):
    assert version.WRITTEN.search((ROOT / name).read_text(encoding="utf-8"))


def test_no_other_file_names_another():
    listed = ["git", "ls-files", "-z", "*.md", "docker", "kubernetes", "*.yml"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    texts = {name: (ROOT / name).read_text(encoding="utf-8") for name in names if name and (ROOT / name).is_file()}
    assert [name for name, text in texts.items() if version.raised(text, __version__) != text] == []
