"""Group commit: deliveries that are under way together share what getting them onto the disk costs.

A delivery is a generator that yields where what it has written must be on disk before it goes on. One thread takes them
all as far as that, then one call (syncfs(2)) makes durable what all of them have written, then they go on; whoever
comes meanwhile is of the next round. Threads that wait for each other's turn would take half as much again.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Generator, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, Generic, TypeVar

LIBC = ctypes.CDLL(None, use_errno=True)  # it lets other threads run while it waits for the disk
T = TypeVar("T")


@dataclass(eq=False)
class Job(Generic[T]):
    """A delivery, and who waits for what becomes of it."""

    steps: Generator[None, None, T]
    result: asyncio.Future[T]
    value: Any = None
    error: BaseException | None = None

    def goes_on(self, failure: OSError | None) -> bool:
        """Take it to its next barrier; `failure`: what became of the last one. Returns whether there is one."""
        try:
            if failure:
                self.steps.throw(failure)
            else:
                next(self.steps)
        except StopIteration as ended:
            self.value = ended.value
        except BaseException as error:  # whatever it is, others go on
            self.error = error
        else:
            return True
        return False

    def settle(self) -> None:
        """Tell who waits, in their own thread."""
        if self.result.done():  # they have gone
            return
        if self.error:
            self.result.set_exception(self.error)
        else:
            self.result.set_result(self.value)


class GroupCommit:
    """Takes deliveries of one event loop; see files.LATER for how these write."""

    def __init__(self, folders: Iterable[Path]) -> None:
        # opened before anything is written: an error of the disk's is told to who had its file system open by then
        opened = {folder.stat().st_dev: folder for folder in folders}
        self.descriptors = [os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) for folder in opened.values()]
        self.coming: SimpleQueue[Job[Any]] = SimpleQueue()
        self.rounds = 0
        Thread(target=self._work, name="group-commit", daemon=True).start()

    def take(self, steps: Generator[None, None, T]) -> asyncio.Future[T]:
        """Have a delivery taken to its end; what becomes of it."""
        job = Job(steps, asyncio.get_running_loop().create_future())
        self.coming.put(job)
        return job.result

    def _work(self) -> None:
        under_way: list[Job[Any]] = []
        failure: OSError | None = None
        while True:
            came = self._came(wait=not under_way)
            going: list[Job[Any]] = []
            over: list[Job[Any]] = []
            for job, said in [*((job, failure) for job in under_way), *((job, None) for job in came)]:
                (going if job.goes_on(said) else over).append(job)
            _tell(over)
            failure = self._synchronise() if going else None
            under_way = going

    def _came(self, *, wait: bool) -> list[Job[Any]]:
        """Who has come since, one at least where that is to be waited for."""
        found = [self.coming.get()] if wait else []
        while not self.coming.empty():
            found.append(self.coming.get())
        return found

    def _synchronise(self) -> OSError | None:
        """What was written before is on disk when this returns, or why not."""
        self.rounds += 1
        try:
            for descriptor in self.descriptors:
                syncfs(descriptor)
        except OSError as error:
            return error
        return None


def _tell(over: list[Job[Any]]) -> None:
    """Have those told who wait, with one call for all; whose loop has ended waits no more."""
    with suppress(RuntimeError):
        if over:
            over[0].result.get_loop().call_soon_threadsafe(_settle, over)


def _settle(over: list[Job[Any]]) -> None:
    for job in over:
        job.settle()


def syncfs(descriptor: int) -> None:
    """Make durable all that was written to a file system. Raises OSError."""
    if LIBC.syncfs(descriptor):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
