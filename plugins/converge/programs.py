"""Programs that a node runs to be what its bundle says, each with an end."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

SECONDS = 60
PACKAGE_SECONDS = 900


class FailedError(Exception):
    """Something of it could not be done; the next run tries again."""


def run(
    argv: list[str],
    seconds: float = SECONDS,
    expected: tuple[int, ...] = (0,),
    environment: Mapping[str, str] | None = None,
) -> str:
    """What a program printed. Raises FailedError with its last words."""
    variables = {**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive", **(environment or {})}
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=seconds, env=variables
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FailedError(f"{argv[0]}: {error}") from error
    if done.returncode not in expected:
        said = (done.stderr.strip() or done.stdout.strip()).decode(errors="replace").rpartition("\n")[2]
        raise FailedError(f"{said or 'no word'} (`{' '.join([Path(argv[0]).name, *argv[1:]])}`: {done.returncode})")
    return done.stdout.decode(errors="replace")


def install_packages(names: list[str]) -> list[str]:
    """Packages of the system's own sources; their names. Raises FailedError."""
    if names:
        apt = ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=300"]
        run([*apt, "update"], PACKAGE_SECONDS)
        run([*apt, "-y", "--no-install-recommends", "install", "--", *names], PACKAGE_SECONDS)
    return names
