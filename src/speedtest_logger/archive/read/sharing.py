"""How a host that shares its archive with others stands: what its last turn left in state/shared.json."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.errors import StorageError
from speedtest_logger.files import read_bounded
from speedtest_logger.record import unix_time

LATE_SECONDS = 600


def state(layout: Layout) -> dict[str, Any] | None:
    """What the last turn left; None where the archive is one host's own."""
    if not (layout.fleet / "shared.env").exists():
        return None
    with suppress(OSError, ValueError, RecursionError):
        content = json.loads(read_bounded(layout.state / "shared.json"))
        return content if isinstance(content, dict) else {}
    return {}


def problems(layout: Layout, now: float) -> list[str]:
    """What is wrong with the hosts that share the archive, in words."""
    known = state(layout)
    if known is None:
        return []
    found = [f"archive host {name} is out: nodes deliver to the others" for name in _texts(known.get("out"))]
    if known.get("failing_since"):
        found.append(f"sharing the archive fails since {known['failing_since']}: {known.get('why', '')}")
    try:
        late = now - unix_time(str(known.get("at"))) > LATE_SECONDS
    except (ValueError, StorageError):
        return [*found, "this host has not taken a turn yet: see speedtest-share.service"]
    return [*found, "this host takes no turns: see speedtest-share.timer"] if late else found


def _texts(value: object) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else []
