"""Text for people: aligned columns, values that can move no cursor, and what a spreadsheet would run."""

from __future__ import annotations

from datetime import date, datetime, timezone
from typing import Any

from speedtest_logger.record import utc_text

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def plain(value: Any) -> Any:
    """A value as JSON knows it; times in UTC with milliseconds."""
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=timezone.utc)
        return utc_text(aware.timestamp())
    if isinstance(value, date):
        return value.isoformat()
    return value if isinstance(value, (int, float, str, bool, type(None))) else str(value)


def printable(value: Any) -> str:
    """A value for a terminal: no control characters, so that stored text cannot move the cursor."""
    if value is None:
        return ""
    text = f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(plain(value))
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def as_table(names: list[str], rows: list[tuple[Any, ...]]) -> str:
    """Aligned columns, numbers to the right."""
    names = [printable(name) for name in names]
    cells = [[printable(value) for value in row] for row in rows]
    widths = [max(len(name), *(len(row[i]) for row in cells)) if cells else len(name) for i, name in enumerate(names)]
    numeric = [
        bool(rows) and all(isinstance(row[i], (int, float, type(None))) for row in rows) for i in range(len(names))
    ]

    def line(row: list[str]) -> str:
        aligned = (c.rjust(w) if right else c.ljust(w) for c, w, right in zip(row, widths, numeric, strict=True))
        return "  ".join(aligned).rstrip()

    return "\n".join([line(names), line(["-" * width for width in widths]), *(line(row) for row in cells)])
