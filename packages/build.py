"""Everything that is built of a commit, into a folder: the same bytes each time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from packages import formats
from packages.node import ROOT
from speedtest_logger import __version__

KINDS = ("deb", "rpm", "apk")


def source_epoch() -> int:
    """The time that artefacts carry: SOURCE_DATE_EPOCH, else that of the commit."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    asked = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError("no commit tells the time of this source: set SOURCE_DATE_EPOCH to its seconds since 1970")
    return int(done.stdout)


def node_packages(folder: Path) -> list[Path]:
    """The node as .deb, .rpm and .apk."""
    epoch = source_epoch()
    return [formats.build(kind, __version__, epoch, folder) for kind in KINDS]


def distributions(folder: Path) -> list[Path]:
    """The Python package as sdist, and the wheel that is made of just that."""
    programs = Path(sys.executable).parent
    subprocess.run(
        [programs / "uv", "build", "--quiet", "--no-build-isolation", "--python", sys.executable, "--out-dir", folder],
        cwd=ROOT,
        env={**os.environ, "SOURCE_DATE_EPOCH": str(source_epoch()), "VIRTUAL_ENV": str(programs.parent)},
        check=True,
    )
    name = f"speedtest_telemetry-{__version__}"
    return [folder / f"{name}.tar.gz", folder / f"{name}-py3-none-any.whl"]


def everything(folder: Path) -> list[Path]:
    """All packages that need nothing but this checkout."""
    return [*distributions(folder), *node_packages(folder)]
