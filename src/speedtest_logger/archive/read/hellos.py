"""What nodes said of themselves with their last deliveries (arrive.hello keeps it)."""

from __future__ import annotations

import json
from typing import Any

from speedtest_logger.archive.arrive.hello import FOLDER, MOST_BYTES
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.files import read_bounded


def of(layout: Layout, node: str) -> dict[str, Any]:
    """What a node said, and when it was in contact; empty where it never was."""
    try:
        content = json.loads(read_bounded(layout.state / FOLDER / f"{node}.json", MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
