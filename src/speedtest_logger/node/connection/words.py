"""What comes from the archive host, bounded, and safe to show."""

from __future__ import annotations

MOST_ANSWER_BYTES = 8_000_000  # a receipt of 10,000 records that were all refused has half of it
MOST_WORDS = 300


def printable(value: object) -> str:
    """A text of somebody else for a log, a terminal and a file: one line, not long, no control characters."""
    text = value if isinstance(value, str) else repr(value)
    return "".join(letter if letter.isprintable() else " " for letter in text[:MOST_WORDS])
