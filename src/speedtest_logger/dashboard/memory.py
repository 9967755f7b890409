"""Memory that a process which runs for months has no use for any more, given back to the system."""

from __future__ import annotations

import ctypes

C = ctypes.CDLL(None)  # the C library: what is not in each of them is glibc's
M_ARENA_MAX = -8  # see mallopt(3)


def share_arena() -> None:
    """Have all threads, of which most wait, get their memory from one place: each place has gaps of its own."""
    if hasattr(C, "mallopt"):
        C.mallopt(M_ARENA_MAX, 1)


def give_back() -> None:
    """Give back what the C library keeps of memory that was freed, which after much work is most of it."""
    if hasattr(C, "malloc_trim"):
        C.malloc_trim(0)
