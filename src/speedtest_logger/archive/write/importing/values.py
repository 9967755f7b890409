"""Numbers and times as other programs write them. What could mean two things is refused, never guessed."""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

from speedtest_logger.errors import RecordError
from speedtest_logger.record import utc_text

NOTHING = ("", "n/a", "na", "-", "null", "none", "nan", "\\n")  # \N is MySQL's
PLAIN_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:[eE][+-]?\d{1,3})?", re.ASCII)
COMMA_NUMBER = re.compile(r"(\d+),(\d+)", re.ASCII)
TIME = re.compile(
    r"(\d{4})([-/])(\d\d)\2(\d\d)[T ]{1,2}(\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)? ?(Z|UTC|[+-]\d\d(?::?\d\d)?)?",
    re.ASCII,
)
EPOCH_S, EPOCH_MS = (10**9, 10**10), (10**12, 10**13)  # 2001 to 2286


def is_nothing(value: Any) -> bool:
    """Whether a value says that there is none."""
    return (
        value is None
        or (isinstance(value, str) and value.strip().lower() in NOTHING)
        or (isinstance(value, float) and math.isnan(value))
    )


def number(value: Any, column: str) -> float | int | None:
    """A number from 0 on; None where there is none. Raises RecordError for what is no number, or could be two."""
    if is_nothing(value):
        return None
    found = _number_in(value.strip(), column) if isinstance(value, str) else value
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not 0 <= found < math.inf:
        raise RecordError("bad_number", f"{column} is {value!r:.60}: a number from 0 on is expected")
    return found


def _number_in(text: str, column: str) -> float | int:
    if PLAIN_NUMBER.fullmatch(text):
        return int(text) if text.isdigit() and len(text) < 19 else float(text)
    comma = COMMA_NUMBER.fullmatch(text)
    if not comma:
        raise RecordError("bad_number", f"{column} is {text!r:.60}: a number such as 94.3 is expected")
    if len(comma[2]) == 3 and len(comma[1]) <= 3 and comma[1] != "0":
        raise RecordError(
            "bad_number",
            f"{column} is {text!r:.60}: {comma[1]}.{comma[2]} or {comma[1]}{comma[2]}? Write it with a point",
        )
    return float(f"{comma[1]}.{comma[2]}")


def truth(value: Any, column: str) -> bool:
    """Yes or no. Raises RecordError for anything else."""
    word = str(value).strip().lower()
    if word in ("1", "true", "yes", "1.0"):
        return True
    if word in ("0", "false", "no", "0.0", "", "none"):
        return False
    raise RecordError("bad_status", f"{column} is {value!r:.60}: 0 or 1 is expected")


def moment(value: Any, zone: ZoneInfo | None) -> str:
    """A time as the record writes it; one without a zone is of `zone`, or UTC. Raises RecordError."""
    if isinstance(value, datetime):
        return _in_utc(value, zone)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _unix(value)
    text = str(value).strip()
    if text.isascii() and text.isdigit():
        return _unix(int(text))
    found = TIME.fullmatch(text)
    if not found:
        raise RecordError("bad_time", f"'{text:.40}' is not a time such as 2026-01-31T12:00:00Z")
    year, _, month, day, hour, minute, second, fraction, offset = found.groups()
    micro = int((fraction or "0").ljust(6, "0")[:6])
    try:
        plain = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second or 0), micro)  # noqa: DTZ001  its zone follows
    except ValueError as error:
        raise RecordError("bad_time", f"'{text:.40}' is not a time: {error}") from error
    return _in_utc(plain.replace(tzinfo=_offset(offset)) if offset else plain, zone)


def _unix(value: float) -> str:
    if EPOCH_S[0] <= value < EPOCH_S[1]:
        return utc_text(value)
    if EPOCH_MS[0] <= value < EPOCH_MS[1]:
        return utc_text(value / 1000)
    raise RecordError("bad_time", f"{value!r:.40} is not a time such as 2026-01-31T12:00:00Z, nor a Unix time")


def _offset(text: str) -> timezone:
    if text in ("Z", "UTC"):
        return timezone.utc
    hours, minutes = int(text[1:3]), int(text[-2:]) if len(text) > 3 else 0
    if hours > 14 or minutes > 59:
        raise RecordError("bad_time", f"'{text}' is no offset from UTC")
    return timezone((-1 if text[0] == "-" else 1) * timedelta(hours=hours, minutes=minutes))


def _in_utc(moment: datetime, zone: ZoneInfo | None) -> str:
    if moment.tzinfo is None and zone is not None:
        local = moment.replace(tzinfo=zone)
        if local.utcoffset() != local.replace(fold=1).utcoffset():
            raise RecordError("bad_time", f"{moment} is there twice or not at all in {zone.key}: write it in UTC")
        moment = local
    try:
        aware = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
        seconds = (aware - datetime(1970, 1, 1, tzinfo=timezone.utc)) // timedelta(microseconds=1)
        return utc_text((seconds + 500) // 1000 / 1000)
    except (OverflowError, ValueError) as error:
        raise RecordError("bad_time", f"{moment} is not a time that can be kept") from error
