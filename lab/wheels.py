"""Python packages for nodes, which have no way out: downloaded once by the control machine, hashes checked."""

from __future__ import annotations

import hashlib
import platform
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from packaging.markers import Marker

from lab import images
from lab.shell import run, step

PYTHONS = ("3.11", "3.13")  # of bookworm and of trixie: archive hosts are on both, images are built on trixie
REQUIREMENTS = Path(__file__).resolve().parents[1] / "requirements"
LOCKS = {part: REQUIREMENTS / f"{part}.txt" for part in ("archive", "dashboard")}
MANYLINUX = ("2_28", "2_27", "2_24", "2_17")


def directory() -> Path:
    """Where the wheels lie; every node sees it read-only as /opt/lab-wheels."""
    return images.HOME / "wheels"


def venv(part: str) -> str:
    """Where the role speedtest_archive or speedtest_dashboard has the packages of its lock."""
    lock = LOCKS[part].read_text(encoding="utf-8").rstrip()
    return f"/opt/speedtest-{part}/venvs/{hashlib.sha256(lock.encode()).hexdigest()[:12]}"


def fetch(requirements: Path, pythons: Sequence[str] = PYTHONS) -> None:
    """Download what a hashed lock names, unless it is here already. Raises LabError with pip's message."""
    lock = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    for python in pythons:
        mark = directory() / f"complete-{lock}-{python}"
        if not mark.exists():
            directory().mkdir(parents=True, exist_ok=True)
            with step(f"download the packages of {requirements} for Python {python}"):
                download(requirements, python)
            mark.touch()


def download(requirements: Path, python: str) -> None:
    """Download what a lock names for a version of Python; pip itself judges by the one that it runs by."""
    meant = "".join(entries(requirements.read_text(encoding="utf-8"), python))
    platforms = [word for tag in MANYLINUX for word in ("--platform", f"manylinux_{tag}_{platform.machine()}")]
    run(
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--require-hashes",
        "--no-deps",
        "--only-binary=:all:",
        "--python-version",
        python,
        *platforms,
        "--dest",
        str(directory()),
        "--requirement",
        "/dev/stdin",
        stdin=meant,
    )


def entries(lock: str, python: str) -> Iterator[str]:
    """The entries of a lock that are meant for a version of Python, without what says so."""
    versions = {"python_version": python, "python_full_version": f"{python}.0"}
    for entry in re.findall(r"^\S.*\n(?:[ \t]+.*\n)*", lock, re.MULTILINE):
        first, newline, hashes = entry.partition("\n")
        wanted, _, marker = first.removesuffix("\\").rstrip().partition(" ; ")
        if not marker or Marker(marker).evaluate(versions):
            yield f"{wanted} \\{newline}{hashes}"
