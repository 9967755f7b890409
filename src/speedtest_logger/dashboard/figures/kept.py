"""An answer that is kept for a second, or, where it takes long to make, until it has been made again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

FRESH_SECONDS = 1.0  # for so long no answer is made again
SLOW_SECONDS = 0.2  # one that takes longer is made before somebody waits for it
SHARE = 10  # and then at most this part of the time is spent on it

T = TypeVar("T")


@dataclass(frozen=True)
class Made(Generic[T]):
    """An answer, when it was made (Unix time, and monotonic, s), and how long that took (s)."""

    answer: T
    at: float
    ended: float
    took: float

    @property
    def is_slow(self) -> bool:
        """Whether nobody should have to wait for the next one."""
        return self.took > SLOW_SECONDS

    def age(self) -> float:
        """Seconds since it was made."""
        return time.monotonic() - self.ended


class Kept(Generic[T]):
    """May be asked by any thread. `ahead` is called again and again by one that has time, or by none."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: Made[T] | None = None
        self._is_made_ahead = False
        self._lock = threading.Lock()

    def get(self) -> Made[T]:
        """The answer: of this second, or, where making it takes long, of twice as long ago as `ahead` lets it be."""
        made = self._made
        if made and made.age() <= (2 * SHARE * made.took if made.is_slow and self._is_made_ahead else FRESH_SECONDS):
            return made
        with self._lock:  # who comes second has what the first one has waited for
            if self._made is made or self._made is None:
                return self._renew()
            return self._made

    def ahead(self) -> None:
        """Make it again where that takes long and is due, or was never done."""
        self._is_made_ahead, made = True, self._made
        if made is None or (made.is_slow and made.age() > SHARE * made.took):
            with self._lock:
                self._renew()

    def _renew(self) -> Made[T]:
        at, began = time.time(), time.monotonic()
        answer = self._make()
        ended = time.monotonic()
        self._made = made = Made(answer, at, ended, ended - began)
        return made
