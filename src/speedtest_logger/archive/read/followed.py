"""What is known of places that follow the archive, a database and an object store: how it went, since when it fails.

Each job has a file beside the archive, which the account that carries writes and the archive's group reads:

    {"at": …, "line": …, "failing_since": …, "why": …, "tried_at": …}

`at` is when it last went well; what else it found is beside it.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.ledger import manifest
from speedtest_logger.files import read_bounded

SYNC, DUMP, PUBLISH, MAINTAIN = "sync.json", "dump.json", "publish.json", "maintain.json"


def read(file: Path) -> dict[str, Any]:
    """One of the files; empty where there is none, or none that makes sense."""
    with suppress(OSError, ValueError, RecursionError):
        content = json.loads(read_bounded(file))
        return content if isinstance(content, dict) else {}
    return {}


def lag(layout: Layout) -> int | None:
    """How many changes of the archive the database is behind; None before the first sync. Raises StorageError."""
    line = read(layout.database / SYNC).get("line")
    return max(0, manifest.head(layout).seq - max(line, 0)) if isinstance(line, int) else None
