"""The rollups kept up to date in the background, so that no page has to wait for them."""

from __future__ import annotations

import threading

from speedtest_logger.archive.read.rollup import Rollups
from speedtest_logger.errors import NotReadyError, SpeedtestError
from speedtest_logger.log import Log

LOOK_SECONDS = 1.0


class Keeper:
    """A thread that has the rollups made again soon after the archive has changed."""

    def __init__(self, rollups: Rollups, log: Log) -> None:
        self.rollups, self.log = rollups, log
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
        while not self._ending.is_set():
            self._once()
            self._ending.wait(LOOK_SECONDS)

    def _once(self) -> None:
        try:
            self.rollups.refresh(self._progress)
        except NotReadyError:
            return
        except (SpeedtestError, OSError) as error:  # pages say it too, to whoever looks
            if str(error) != self._said:
                self.log.event("error", "rollups_failed", error=str(error))
            self._said = str(error)
        else:
            self._said = None

    def _progress(self, done: int, of: int) -> None:
        if of > 1:
            self.log.event("info", "rollups", files=done, of=of)
