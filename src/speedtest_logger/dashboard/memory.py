"""Memory that a process which runs for months has no use for any more, given back to the system."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator
from pathlib import Path

C = ctypes.CDLL(None)  # the C library: what is not in each of them is glibc's
M_ARENA_MAX = -8  # see mallopt(3)
MAPPINGS = Path("/proc/self/smaps")  # not every system has it


def share_arena() -> None:
    """Have all threads, of which most wait, get their memory from one place: each place has gaps of its own."""
    if hasattr(C, "mallopt"):
        C.mallopt(M_ARENA_MAX, 1)


def give_back() -> None:
    """Give back what the C library keeps of memory that was freed, which after much work is most of it."""
    if hasattr(C, "malloc_trim"):
        C.malloc_trim(0)


def forget_libraries() -> None:
    """Have no page of libraries mapped: half of them were only needed while these were loaded, or once in an hour.

    They stay in the page cache as long as there is room. What is used again is mapped again.
    """
    for begin, end in list(_of_libraries()):
        C.madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), mmap.MADV_DONTNEED)


def _of_libraries() -> Iterator[tuple[int, int]]:
    """Where libraries lie, which stay as long as the process does, as far as nothing was or can be written there."""
    place, is_theirs = (0, 0), False
    for line in MAPPINGS.read_text().splitlines() if MAPPINGS.exists() else ():
        name, _, rest = line.partition(" ")
        if not name.endswith(":"):
            begin, end = name.split("-")
            place, is_theirs = (int(begin, 16), int(end, 16)), rest.startswith("r-") and ".so" in rest
        elif name == "Anonymous:" and is_theirs and rest.split()[0] == "0":
            yield place
