"""Group commit: deliveries that are under way together share what getting them onto the disk costs.

Files are written and renamed as ever; at each barrier of a delivery one call (syncfs(2)) makes durable all that was
written before, by whichever delivery, and whoever came meanwhile waits for the next one.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterable
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)  # it lets other threads run while it waits for the disk


class Round:
    """Those who wait for one synchronisation, and what became of it."""

    def __init__(self) -> None:
        self.done = False
        self.failure: OSError | None = None


class GroupCommit:
    """See files.Sync: what is written becomes durable at barriers, many threads' at once."""

    def __init__(self, folders: Iterable[Path]) -> None:
        # opened before anything is written: an error of the disk's is told to who had its file system open by then
        opened = {folder.stat().st_dev: folder for folder in folders}
        self.descriptors = [os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) for folder in opened.values()]
        self.joining = threading.Lock()
        self.turn = threading.Lock()
        self.coming = Round()
        self.rounds = 0

    def content(self, descriptor: int) -> None:
        """Nothing yet: the next barrier."""

    def names(self, directory: Path) -> None:
        """Nothing yet: the next barrier."""

    def barrier(self) -> None:
        """What was written before is on disk when this returns. Raises OSError."""
        with self.joining:
            mine = self.coming
        with self.turn:
            if not mine.done:
                with self.joining:
                    self.coming = Round()  # of who comes from now on
                self._synchronise(mine)
        if mine.failure:
            raise OSError(mine.failure.errno, mine.failure.strerror)

    def _synchronise(self, mine: Round) -> None:
        try:
            for descriptor in self.descriptors:
                syncfs(descriptor)
        except OSError as error:
            mine.failure = error
        mine.done = True
        self.rounds += 1


def syncfs(descriptor: int) -> None:
    """Make durable all that was written to a file system. Raises OSError."""
    if LIBC.syncfs(descriptor):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
