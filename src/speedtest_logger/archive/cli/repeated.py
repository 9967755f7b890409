"""A verb again and again in one process, for where no timer starts it: a container."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable

from speedtest_logger.errors import EXIT_OK, SpeedtestError

LONGEST = 86_400
ENDS = {signal.SIGTERM, signal.SIGINT}


def seconds(text: str) -> int:
    """Argparse type: from the start of a run to that of the next one."""
    if not text.isascii() or not text.isdigit() or len(text) > 5 or not 1 <= int(text) <= LONGEST:
        raise argparse.ArgumentTypeError(f"'{text}': seconds are expected, a whole number from 1 to {LONGEST}")
    return int(text)


def every(interval: int, work: Callable[[], int]) -> int:
    """Work every so many seconds until told to end; a run that fails says so, and the next one tries again.

    The signals that end it are held back for good: a run is never cut in two by them, and of a container's first
    process, which ignores what it does not wait for, they are heard as well.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)
    begins = time.monotonic()
    while True:
        try:
            work()
        except (SpeedtestError, OSError) as error:
            print(f"speedtest-archive: {error}", file=sys.stderr, flush=True)
        now = time.monotonic()
        begins = max(begins + interval, now)  # one that took longer than that makes up for nothing
        if signal.sigtimedwait(ENDS, begins - now) is not None:
            return EXIT_OK
