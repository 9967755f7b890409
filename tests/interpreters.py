"""The node side on each Python that Debian and Ubuntu bring: `make interpreters`, which needs root and their mirrors.

An image of the lab is not booted: its interpreter runs tests/node_side.py, and what it writes is forgotten.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from builders import ROOT

from lab import images
from lab.host import prepare
from lab.lab import registry_lock
from lab.nodes import NSPAWN_ENVIRONMENT
from lab.suites import Suite

NEXT = Suite("forky", script="sid")  # no node of the lab: its lists change, and expire
PYTHONS = {"jammy": "3.10", "bookworm": "3.11", "noble": "3.12", "trixie": "3.13", NEXT.name: "3.14"}


def system(suite: str) -> Path:
    """A suite's files, with its Python."""
    if suite in images.CACHED:
        return images.build(suite)
    final = images.HOME / "images" / f"{suite}-python"
    if not final.is_dir():
        partial = final.with_name(f"{final.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)  # nothing there but after a build that was cut off
        partial.mkdir(parents=True)
        NEXT.bootstrap(partial, "--include=python3", seconds=images.BOOTSTRAP_SECONDS)
        partial.rename(final)
    return final


@pytest.mark.parametrize(("suite", "version"), PYTHONS.items())
def test_the_node_side_runs(suite, version):
    prepare()
    with registry_lock(f"lock-{suite}"):
        image = system(suite)
    machine = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", f"--machine=python-{suite}-{os.getpid()}"]
    given = [f"--directory={image}", "--volatile=overlay", "--private-network", f"--bind-ro={ROOT}:/checkout"]
    done = subprocess.run(
        [*machine, *given, "python3", "/checkout/tests/node_side.py"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **NSPAWN_ENVIRONMENT},
    )
    print(f"{suite}: {done.stdout}{done.stderr}")
    assert done.returncode == 0
    assert re.search(rf"^Python {re.escape(version)}\.\d+", done.stdout, re.MULTILINE)
    assert re.search(r"^Ran [1-9]\d* tests? in", done.stdout + done.stderr, re.MULTILINE)
