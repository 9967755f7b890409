"""The rollups of a whole archive, made by a process of its own: the memory that this takes ends with it.

A fleet's year takes half a gigabyte for half a minute; whoever serves pages for months would hold a part of that until
it is started again. usage: python -m speedtest_logger.archive.read.first_build ARCHIVE FILE ZONE
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import duckdb

import speedtest_logger
from speedtest_logger import light
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.read import tally
from speedtest_logger.archive.read.coverage import read_schedules
from speedtest_logger.archive.read.local_time import Zone
from speedtest_logger.archive.read.rollup import Rollups
from speedtest_logger.errors import SpeedtestError, StorageError

FEW_FILES = 24  # of months: an archive that has no more is read in the time that a process takes to start


def is_large(layout: Layout) -> bool:
    """Whether a process of its own is worth it."""
    return len(layout.month_files()) > FEW_FILES


def in_a_process(layout: Layout, file: Path, zone: Zone, progress: Callable[[int, int], None]) -> None:
    """Make `file`, which nobody may have open; `progress` hears how many files of how many are done.

    Raises StorageError with what the process said, and what `progress` raises, which ends it.
    """
    argv = [sys.executable, "-m", __name__, str(layout.root.absolute()), str(file.absolute()), zone.name]
    found = [str(Path(speedtest_logger.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, found))}
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        cwd="/",  # python -m looks for modules where it is begun, and anybody may have put some into that folder
    ) as process:  # fmt: skip
        assert process.stdout
        assert process.stderr
        try:
            for line in process.stdout:
                done, of = line.split()
                progress(int(done), int(of))
        except BaseException:
            process.kill()
            raise
        said = process.stderr.read().strip().rpartition("\n")[2]
    if process.returncode:
        raise StorageError(said or f"the process that makes the figures was ended by signal {-process.returncode}")


def main(argv: list[str]) -> int:
    """Make it and say how far it is, a line for each batch."""
    light.start(*light.STORES)
    root, file, zone = argv

    def tell(done: int, of: int) -> None:
        print(done, of, flush=True)  # noqa: T201  whoever began this may be gone: then this ends too

    try:
        rollups = Rollups(Layout(Path(root)), Path(file), Zone.named(zone))
        rollups.renew(tell)
        with suppress(StorageError):  # a registry that cannot be read: pages say so, and records are shown without it
            tally.refresh(rollups, read_schedules(rollups.layout), time.time())
        rollups.close()
    except (SpeedtestError, OSError, duckdb.Error) as error:
        print(" ".join(str(error).split()), file=sys.stderr)  # noqa: T201  for whoever began this
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
