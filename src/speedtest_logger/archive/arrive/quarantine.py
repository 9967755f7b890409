"""What was refused, kept with its reason: quarantine/NODE/. Bounded in bytes and age, so that it can fill no disk."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from speedtest_logger.archive.arrive.limits import Limits
from speedtest_logger.archive.format.layout import BLOCK, Layout, bytes_in, files_in, make_folder, ulid
from speedtest_logger.files import write_durably
from speedtest_logger.record import is_id, utc_text

KEPT_LINES = 100  # of one delivery; what is beyond is counted
KEPT_BYTES = 200  # of a line that is no record
KEPT_OF_A_RECORD = 4_000  # of one that is valid, and another one than the first of its run


def entry(reason: str, message: str, line: bytes, most: int = KEPT_BYTES) -> dict[str, Any]:
    """A refused line with its reason; the line in printable characters, three for a byte at most, others as %XX."""
    text = "".join(
        char if char.isprintable() else "".join(f"%{byte:02x}" for byte in char.encode(errors="surrogateescape"))
        for char in line[:most].decode(errors="surrogateescape")
    )
    return {"reason": reason, "message": message[:300], "line": text}


def keep(layout: Layout, node: str, entries: Iterable[dict[str, Any]], limits: Limits) -> bool:
    """Keep what was refused to a node, durably; False where there is no room for it: the first that came stay."""
    folder, now = layout.quarantine / node, time.time()
    stamped = [{"at": utc_text(now), "node": node, **each} for each in entries]
    content = "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in stamped).encode(errors="backslashreplace")
    clear_old(folder, limits, now)
    if bytes_in(folder) + max(BLOCK, len(content)) > limits.quarantine_mb * 1_000_000:
        return False
    make_folder(folder)
    write_durably(folder / f"{ulid()}.jsonl", content)
    return True


def clear_old(folder: Path, limits: Limits, now: float) -> None:
    """Remove what has been kept for long enough."""
    for file, found in files_in(folder):
        if stat.S_ISREG(found.st_mode) and found.st_mtime < now - limits.quarantine_days * 86_400:
            os.unlink(file)


def clear(layout: Layout, limits: Limits, now: float) -> None:
    """Remove what has been kept for long enough of any node, of those too that deliver no more."""
    for folder in layout.quarantine.glob("*"):
        if is_id(folder.name) and folder.is_dir() and not folder.is_symlink():  # no months that a restore replaced
            clear_old(folder, limits, now)
