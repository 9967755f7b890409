"""Reading what engines print: JSON, and values that are measurements or nothing."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from speedtest_logger.engines.contract import Output, Result
from speedtest_logger.engines.reasons import fail
from speedtest_logger.errors import EngineError
from speedtest_logger.record import without_impossible

LARGEST = 2**53  # beyond, a float no longer counts every whole number, and no line is that fast


def load_json(output: Output) -> Any:
    """The JSON on standard output. Raises EngineError: bad_output, or the reason that the text beside it gives."""
    if output.truncated:
        raise EngineError("bad_output", f"more than {len(output.stdout)} bytes of output")
    try:
        return json.loads(output.stdout)
    except (ValueError, RecursionError) as error:
        if output.returncode != 0:
            fail(output.text)
        raise EngineError("bad_output", f"no JSON ({error}): {output.stdout[:120]!r}") from error


def positive(value: Any, factor: float = 1.0) -> float | None:
    """A finite number above 0 times a factor; anything else is no measurement."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < LARGEST:
        return None
    return float(value * factor) if value * factor < LARGEST else None


def not_negative(value: Any, factor: float = 1.0) -> float | None:
    """Like positive, but 0 is a measurement (loss, jitter)."""
    if value == 0 and isinstance(value, (int, float)) and not isinstance(value, bool):
        return 0.0
    return positive(value, factor)


def whole(value: Any) -> int | None:
    """A whole number above 0, such as a count of bytes."""
    number = positive(value)
    return None if number is None else int(number)


def text_or_none(value: Any, most: int = 200) -> str | None:
    """A non-empty text of at most `most` characters without control characters."""
    if value is None or value == "" or isinstance(value, (dict, list)):
        return None
    return "".join(c for c in str(value).encode(errors="replace").decode() if c.isprintable())[:most] or None


def section(value: Any, *names: str) -> dict[str, Any]:
    """A nested object, empty where it is missing."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def family_of(address: str | None) -> int | None:
    """4 or 6 for an IP address."""
    if not address:
        return None
    return 6 if ":" in address else 4


def plausible(result: Result) -> Result:
    """A result without what cannot be. Raises EngineError where neither direction was measured."""
    if result.download_bps is None and result.upload_bps is None:
        raise EngineError("bad_output", "the engine reported no speed in either direction")
    return Result(**without_impossible(asdict(result)))
