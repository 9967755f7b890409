"""Programs of this project in processes that are forked from one that has imported everything.

Hundreds are started: none imports pyarrow, DuckDB, Apprise or a module of this project anew.
"""

from __future__ import annotations

import gc
import importlib
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable
from multiprocessing import forkserver
from pathlib import Path

import dask
import killer
import pytest
from builders import ROOT

FORKS = multiprocessing.get_context("forkserver")
PARTS = [
    ".".join(file.relative_to(ROOT / "src").with_suffix("").parts)
    for package in ("alerts", "archive", "dashboard", "distributed", "engines", "node")
    for file in sorted((ROOT / "src/speedtest_logger" / package).rglob("*.py"))
    if not file.stem.startswith("__")
] + ["distributed.cli.dask_scheduler", "distributed.cli.dask_worker"]
SECONDS = 60  # for a program, on a machine that has other things to do


def start() -> None:
    """Start the process that others are forked from, once in a test run's process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(str(ROOT / name) for name in ("src", ".", "tests")))
        FORKS.set_forkserver_preload([*PARTS, __name__])
        forkserver.ensure_running()


def run(argv: list[str], environment: dict[str, str], output: Path) -> tuple[int | None, str]:
    """What killer.py does with these arguments; returns exit code (None: it did not end) and what it printed."""
    output.write_text("")
    process = FORKS.Process(target=forked, args=(killer.main, argv, environment, output, output))
    process.start()
    process.join(SECONDS)
    if process.exitcode is None:
        process.kill()
    return process.exitcode, output.read_text()


class Program:
    """`python -m MODULE ARGS…`, with what subprocess.Popen has of it."""

    def __init__(self, argv: list[str], environment: dict[str, str], printed: Path, log: Path) -> None:
        self.process = FORKS.Process(target=forked, args=(as_itself, argv, environment, printed, log))
        self.process.start()
        self.terminate, self.kill = self.process.terminate, self.process.kill

    def send_signal(self, number: int) -> None:
        assert self.process.pid
        os.kill(self.process.pid, number)

    def poll(self) -> int | None:
        return self.process.exitcode

    def wait(self, seconds: float = SECONDS) -> int | None:
        self.process.join(seconds)
        return self.process.exitcode


def as_itself(argv: list[str]) -> int:
    """A module's program with arguments."""
    sys.argv = argv
    dask.config.refresh()  # as the environment says now
    code: int = importlib.import_module(argv[0]).main()
    return code


def forked(
    act: Callable[[list[str]], int], argv: list[str], environment: dict[str, str], printed: Path, log: Path
) -> None:
    """Both outputs go to files."""
    gc.freeze()  # whoever looks for garbage among what was imported copies all of its memory
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # as TMPDIR says now
    for stream, file in ((sys.stdout, printed), (sys.stderr, log)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), stream.fileno())
    sys.exit(act(argv))
