"""What is known of the database that follows the archive, for whoever looks: where it is, and since when it fails.

`<archive>/database/state.json` is of syncs and `dumps.json` of dumps; the sink's account writes them.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.ledger import manifest
from speedtest_logger.files import read_bounded

SYNC, DUMPS = "state.json", "dumps.json"


def read(layout: Layout, name: str) -> dict[str, Any]:
    """One of the files; empty where there is none."""
    with suppress(OSError, ValueError, RecursionError):
        content = json.loads(read_bounded(layout.database / name))
        return content if isinstance(content, dict) else {}
    return {}


def lag(layout: Layout) -> int | None:
    """How many of the archive's changes are yet to be carried out; None before the first sync. Raises StorageError."""
    line = read(layout, SYNC).get("line")
    return max(0, manifest.head(layout).seq - max(line, 0)) if isinstance(line, int) else None
