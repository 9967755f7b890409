"""The rollups kept up to date in the background, so that no page has to wait for them, and memory kept small."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress

import duckdb

from speedtest_logger.dashboard import memory
from speedtest_logger.dashboard.figures.source import Source
from speedtest_logger.errors import NotReadyError, SpeedtestError
from speedtest_logger.log import Log

LOOK_SECONDS = 1.0
GIVE_BACK_SECONDS = 60.0


class Keeper:
    """A thread that has the rollups made again soon after the archive has changed."""

    def __init__(self, source: Source, log: Log, afterwards: Callable[[], None] = lambda: None) -> None:
        self.source, self.log = source, log
        self.afterwards = afterwards  # what else is made before somebody asks for it
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
        self._said: str | None = None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, when what is under way is done."""
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        self._once()
        while not self._ending.is_set():
            memory.give_back()
            memory.forget_libraries()
            until = time.monotonic() + GIVE_BACK_SECONDS
            while time.monotonic() < until and not self._ending.wait(LOOK_SECONDS):
                self._once()

    def _once(self) -> None:
        try:
            self.source.refresh(self._progress)
            self.afterwards()
        except NotReadyError:
            return
        except duckdb.Error as error:  # the disk is full, or the file damaged
            self._tell(str(error))
            self._reopen(str(error).partition("\n")[0])
        except (SpeedtestError, OSError) as error:  # pages say it too, to whoever looks
            self._tell(str(error))
        else:
            self._said = self.source.broken = None

    def _tell(self, error: str) -> None:
        if error != self._said:
            self.log.event("error", "rollups_failed", error=error)
        self._said = error

    def _reopen(self, why: str) -> None:
        """What a database says after an error may be about that error still."""
        self.source.broken = self.source.broken or why
        with suppress(SpeedtestError, OSError, duckdb.Error):
            self.source.reopen()

    def _progress(self, done: int, of: int) -> None:
        """Say how far it is. Raises NotReadyError where nobody waits for it any more."""
        if self._ending.is_set():
            raise NotReadyError("the dashboard is being stopped")
        if of > 1:
            self.log.event("info", "rollups", files=done, of=of)
