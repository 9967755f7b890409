"""Python packages for nodes, which have no way out: downloaded once by the control machine, hashes checked."""

from __future__ import annotations

import hashlib
import platform
import sys
from pathlib import Path

from lab import images
from lab.shell import run, step

PYTHON = "3.11"  # of bookworm, the suite of the lab's archive hosts
LOCK = Path(__file__).resolve().parents[1] / "requirements/archive.txt"
MANYLINUX = ("2_28", "2_27", "2_24", "2_17")


def directory() -> Path:
    """Where the wheels lie; every node sees it read-only as /opt/lab-wheels."""
    return images.HOME / "wheels"


def venv() -> str:
    """Where the role speedtest_archive has the packages of its lock on an archive host."""
    lock = LOCK.read_text(encoding="utf-8").rstrip()
    return f"/opt/speedtest-archive/venvs/{hashlib.sha256(lock.encode()).hexdigest()[:12]}"


def fetch(requirements: Path) -> None:
    """Download what a hashed lock names, unless it is here already. Raises LabError with pip's message."""
    mark = directory() / f"complete-{hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]}"
    if mark.exists():
        return
    directory().mkdir(parents=True, exist_ok=True)
    platforms = [word for tag in MANYLINUX for word in ("--platform", f"manylinux_{tag}_{platform.machine()}")]
    with step(f"download the packages of {requirements}"):
        run(
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--require-hashes",
            "--only-binary=:all:",
            "--python-version",
            PYTHON,
            *platforms,
            "--dest",
            str(directory()),
            "--requirement",
            str(requirements),
        )
    mark.touch()
