"""What a format is, and which one a row has."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from speedtest_logger.errors import RecordError


@dataclass(frozen=True)
class Row:
    """A row's values by column (lower case, `_` for anything else), and the object that it was, where it was one."""

    values: dict[str, Any]
    raw: Any = None

    def get(self, name: str) -> Any:
        """A column's value, or None."""
        return self.values.get(name)


@dataclass(frozen=True)
class Header:
    """The columns of rows: as they are written, and in lower case with `_` for anything but letters and digits."""

    written: tuple[str, ...]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """In lower case, nested names joined by `_`."""
        return tuple(map(plain_name, self.written))

    @cached_property
    def known(self) -> frozenset[str]:
        """Both spellings."""
        return frozenset(self.names) | frozenset(self.written)


@dataclass(frozen=True)
class Format:
    """A format: how it is recognised, and where in its engine's JSON its columns belong.

    It is recognised by all columns of `base` and at least `enough` of `marks`, which no other format has together.
    `columns` are paths in the JSON that `parser` reads; with a factor where the unit is another one than there.
    """

    name: str
    versions: str
    unit: str
    source: str
    base: frozenset[str]
    marks: frozenset[str] = frozenset()
    enough: int = 2
    never: frozenset[str] = frozenset()
    parser: str = ""
    engine: str = ""
    columns: Mapping[str, str | tuple[str, float]] = field(default_factory=dict, hash=False)
    status: str = ""
    prepare: Callable[[Row], Row] | None = None  # where columns alone do not say it: such rows go one by one
    check: Callable[[Row], None] | None = None  # of rows with the same speed in both directions

    def fits(self, header: Header) -> bool:
        """Whether columns show this format."""
        there = header.known
        return self.base <= there and len(self.marks & there) >= self.enough and not self.never & there

    def could_be(self, header: Header) -> bool:
        """Whether nearly all that shows this format is there: one column more, and it would be."""
        there = header.known
        near = len(self.base - there) <= 1 and len(self.marks & there) >= self.enough - 2 and not self.never & there
        return near and self.has_speeds(header) and ("created_at" in self.base) == ("created_at" in there)

    def has_speeds(self, header: Header) -> bool:
        """Whether its two speeds are there."""
        speeds = {self.path(name)[0] for name in header.names if name in self.columns}
        return len(speeds.intersection(SPEEDS)) == 2

    @cached_property
    def paths(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(dict.fromkeys(self.path(name)[0] for name in self.columns))

    def path(self, name: str) -> tuple[str, float]:
        """Where a column belongs, and times what."""
        to = self.columns[name]
        return to if isinstance(to, tuple) else (to, 1.0)


SPEEDS = ("download", "upload", "download.bandwidth", "upload.bandwidth")


def plain_name(name: str) -> str:
    """As in `Download bandwidth`, `download.bandwidth`, `download_bandwidth`: download_bandwidth."""
    return re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_")


def flattened(content: dict[str, Any], prefix: str = "", depth: int = 0) -> dict[str, Any]:
    """A nested object's values by their names joined with `_`, in lower case."""
    flat: dict[str, Any] = {}
    for name, value in content.items():
        joined = plain_name(f"{prefix}{name}")
        if isinstance(value, dict) and depth < 8:
            flat.update(flattened(value, f"{joined}_", depth + 1))
        else:
            flat[joined] = value
    return flat


def recognise(header: Header, formats: tuple[Format, ...], wanted: str | None = None) -> Format:
    """The format that columns show. Raises RecordError where they show none, or two with different units."""
    twice = sorted({name for name in header.names if name and header.names.count(name) > 1})
    fitting = [form for form in formats if form.fits(header)]
    if wanted:
        fitting = [form for form in formats if form.name == wanted and (form.fits(header) or form.has_speeds(header))]
    if not fitting:
        raise _unknown(header, formats, wanted)
    if twice and any(name in form.columns for form in fitting for name in twice):
        raise RecordError("unknown_format", f"the column '{twice[0]}' appears twice: which one counts?")
    if len({form.unit for form in fitting}) > 1:
        raise _ambiguous(header, fitting)
    return fitting[0]


def _unknown(header: Header, formats: tuple[Format, ...], wanted: str | None) -> RecordError:
    shown = ", ".join(name or "''" for name in header.written)[:160]
    possible = [form for form in formats if form.could_be(header)]
    if wanted:
        return RecordError("unknown_format", f"its columns are not those of {wanted}: {shown}")
    if len(possible) > 1 and len({form.unit for form in possible}) > 1:
        return _ambiguous(header, possible)
    return RecordError("unknown_format", f"its columns are of no known format: {shown}")


def _ambiguous(header: Header, possible: list[Format]) -> RecordError:
    names = " or ".join(f"{form.name} ({form.unit})" for form in possible)
    shown = ", ".join(header.written)[:120]
    return RecordError("ambiguous_format", f"could be {names}; say which with --format NAME (columns: {shown})")
