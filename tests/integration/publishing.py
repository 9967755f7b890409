"""Publishing in processes of their own, which have nothing of the tests to import.

(While one waits for an answer, no other thread of it could run.)
"""

from __future__ import annotations

import gc
import multiprocessing
import sys
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
from builders import ROOT

from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.errors import SpeedtestError
from speedtest_logger.sinks import delta, tree
from speedtest_logger.sinks.place import Place

FORKS = multiprocessing.get_context("forkserver")


def prepare() -> None:
    """Dozens of processes are started: none imports Arrow anew."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", ":".join(str(ROOT / name) for name in ("src", ".", "tests", "tests/integration")))
        FORKS.set_forkserver_preload([__name__])
        forkserver.ensure_running()


def started(
    what: Callable[[Layout, Place], object], layout: Layout, place: Place, name: str = "said"
) -> tuple[ForkServerProcess, Path]:
    """A publish of a table, or of a tree, that begins, and the file in which it says what is wrong."""
    said = layout.root / name
    said.write_text("")
    process = FORKS.Process(target=_publish, args=(what, layout, place, said))
    process.start()
    return process, said


def ended(process: ForkServerProcess, said: Path) -> tuple[int | None, str]:
    """Its exit code and what it said."""
    process.join(300)
    return process.exitcode, said.read_text()


def table(layout: Layout, place: Place) -> None:
    """Publish a table, a month a commit."""
    delta.BATCH_BYTES = 1
    delta.Publisher(layout, place, 2).publish()


def plain(layout: Layout, place: Place) -> None:
    """Publish a tree, and keep what was done after each month."""
    tree.KEPT_SECONDS = 0
    tree.Tree(layout, place).publish()


def _publish(what: Callable[[Layout, Place], object], layout: Layout, place: Place, said: Path) -> None:
    gc.freeze()
    try:
        what(layout, place)
    except SpeedtestError as error:
        said.write_text(str(error))
        sys.exit(1)
