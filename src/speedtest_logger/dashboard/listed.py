"""Lists of people, keys and shares: JSON files that whoever runs the dashboard writes. Standard library only."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, TypeVar

from speedtest_logger.errors import ConfigError, NoAccessError
from speedtest_logger.files import STATE_BYTES

Entry = TypeVar("Entry")


def read(file: Path, entry_of: Callable[[dict[str, Any]], Entry]) -> list[Entry]:
    """A file's entries. Raises ConfigError naming each one that is wrong, by its number: it may hold a secret."""
    try:
        with file.open("rb") as stream:
            content = json.loads(stream.read(STATE_BYTES))
    except PermissionError as error:
        raise NoAccessError(file, "read") from error
    except OSError as error:
        raise ConfigError([f"{file}: {error.strerror}"]) from error
    except (ValueError, RecursionError) as error:
        raise ConfigError([f"{file} is no JSON: a list is expected"]) from error
    if not isinstance(content, list):
        raise ConfigError([f"{file}: a list is expected"])
    found, problems = [], []
    for number, each in enumerate(content, 1):
        try:
            if not isinstance(each, dict):
                raise ValueError("a mapping is expected")
            found.append(entry_of(each))
        except ValueError as error:
            problems.append(f"{file}, entry {number}: {error}")
    if problems:
        raise ConfigError(problems)
    return found


def only(entry: dict[str, Any], *names: str) -> None:
    """Raise ValueError for a field that is missing, or that there is not."""
    if missing := [name for name in names if name not in entry]:
        raise ValueError(f"{missing[0]} is missing")
    if others := sorted(set(entry) - set(names)):
        raise ValueError(f"{others[0]!r:.60}: there is no such field")


def text_of(entry: dict[str, Any], name: str, most: int) -> str:
    """A field that is text in printable characters. Raises ValueError."""
    value = entry[name]
    if not isinstance(value, str) or not 0 < len(value) <= most or not value.isprintable() or value != value.strip():
        raise ValueError(f"{name}: text of 1 to {most} printable characters is expected")
    return value


def none_twice(file: Path, what: str, values: Iterable[str]) -> None:
    """Raise ConfigError where two entries have the same."""
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise ConfigError([f"{file}: {what} {value!r:.60} is there twice"])
        seen.add(value)


def expiry_of(value: object) -> float | None:
    """When something ends (Unix time, s): with the day that is named, in UTC; None: never. Raises ValueError."""
    if value is None:
        return None
    try:
        day = date.fromisoformat(value if isinstance(value, str) and len(value) == 10 else "")
        end = datetime(day.year, day.month, day.day, tzinfo=timezone.utc) + timedelta(days=1)
    except (ValueError, OverflowError) as error:
        raise ValueError("expires: the last day on which it works, such as 2027-01-31, or null is expected") from error
    return end.timestamp()
