"""Programs of this project in processes that are forked from one that has imported everything.

Hundreds are started: none imports pyarrow, DuckDB, Apprise or a module of this project anew.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import sys
import tempfile
from multiprocessing import forkserver
from pathlib import Path

import killer
import pytest
from builders import ROOT

FORKS = multiprocessing.get_context("forkserver")
PARTS = [
    ".".join(file.relative_to(ROOT / "src").with_suffix("").parts)
    for package in ("alerts", "archive", "engines", "node")
    for file in sorted((ROOT / "src/speedtest_logger" / package).rglob("*.py"))
    if not file.stem.startswith("__")
]
SECONDS = 60  # for a program, on a machine that has other things to do


def start() -> None:
    """Start the process that others are forked from, once in a test run's process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(
            "PYTHONPATH", os.pathsep.join(str(ROOT / name) for name in ("src", ".", "tests", "tests/integration"))
        )
        FORKS.set_forkserver_preload([*PARTS, __name__])
        forkserver.ensure_running()


def run(argv: list[str], environment: dict[str, str], output: Path) -> tuple[int | None, str]:
    """What killer.py does with these arguments; returns exit code (None: it did not end) and what it printed."""
    output.write_text("")
    process = FORKS.Process(target=forked, args=(argv, environment, str(output)))
    process.start()
    process.join(SECONDS)
    if process.exitcode is None:
        process.kill()
    return process.exitcode, output.read_text()


def forked(argv: list[str], environment: dict[str, str], output: str) -> None:
    """Both outputs go to a file."""
    gc.freeze()  # whoever looks for garbage among what was imported copies all of its memory
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # as TMPDIR says now
    for stream in (sys.stdout, sys.stderr):
        os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), stream.fileno())
    sys.exit(killer.main(argv))
