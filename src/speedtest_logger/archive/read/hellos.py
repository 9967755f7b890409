"""What nodes said of themselves with their last deliveries (arrive.hello keeps it)."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import Any

from speedtest_logger.archive.arrive.hello import FOLDER, MOST_BYTES
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.files import read_bounded


def times(layout: Layout) -> dict[str, float]:
    """When each node was in contact last (Unix time, s): its file is replaced each time."""
    found: dict[str, float] = {}
    with suppress(FileNotFoundError), os.scandir(layout.state / FOLDER) as entries:
        for entry in entries:
            name, dot, kind = entry.name.rpartition(".")
            if dot and kind == "json" and not name.startswith("."):
                with suppress(FileNotFoundError):  # it was replaced just now
                    found[name] = entry.stat(follow_symlinks=False).st_mtime
    return found


def of(layout: Layout, node: str) -> dict[str, Any]:
    """What a node said, and when it was in contact; empty where it never was."""
    try:
        content = json.loads(read_bounded(layout.state / FOLDER / f"{node}.json", MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
