"""What a month's file holds, in numbers that prove it."""

from __future__ import annotations

from dataclasses import dataclass

Days = dict[str, tuple[int, str]]  # of each day, such as 2026-01-31, how many rows it has and their SHA-256


@dataclass(frozen=True)
class Facts:
    """A file's SHA-256, its bytes and rows, and rows and digest of days: of all, or of those that a change touched."""

    sha256: str
    size: int
    rows: int
    days: Days
