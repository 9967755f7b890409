"""What a node says of itself with a delivery, and when it was heard of: state/nodes/NAME.json.

It is news, not a record: the file is replaced at each contact, and no delivery fails because it cannot be.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from typing import Any

from speedtest_logger import wire
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.errors import RecordError
from speedtest_logger.files import read_bounded
from speedtest_logger.record import LARGEST, NODE_RUNTIMES

FOLDER = "nodes"
MOST_BYTES = 16_000
MOST_WORDS = 400  # characters of a reason
VERSION = re.compile(r"[0-9A-Za-z.+-]{1,40}", re.ASCII)


def taken(row: dict[str, Any], size: int, now: float) -> dict[str, Any]:
    """What is kept of a hello that came in a line of so many bytes. Raises RecordError for what is none.

    What this version does not know is left out: a later one may say more.
    """
    said, outbox = row[wire.HELLO], None
    if isinstance(said, dict):
        outbox = said.get("outbox")
    if size > wire.MOST_HELLO or not isinstance(said, dict) or not isinstance(outbox, dict):
        raise RecordError("bad_hello", "a hello must be a short object with version, outbox, clock, disk_free, runtime")
    version, runtime = said.get("version"), said.get("runtime")
    if not isinstance(version, str) or not VERSION.fullmatch(version) or runtime not in NODE_RUNTIMES:
        raise RecordError("bad_hello", "a hello must name the node's version and runtime")
    return {
        "version": version,
        "runtime": runtime,
        "outbox": {name: int(_number(outbox.get(name))) for name in ("records", "bytes")},
        "clock_offset": round(_number(said.get("clock")) - now, 1),
        "disk_free": int(_number(said.get("disk_free"))),
        **({"converged": _converged(said["converged"])} if "converged" in said else {}),
    }


def _converged(said: object) -> dict[str, Any]:
    """How a node says that it has brought itself to its desired state."""
    if not isinstance(said, dict):
        raise RecordError("bad_hello", "what a node says of its bundles must be an object")
    version, error = said.get("version", ""), said.get("error", "")
    if not isinstance(version, str) or (version and not VERSION.fullmatch(version)):
        raise RecordError("bad_hello", "what a node says of its bundles must name a version")
    if not isinstance(error, str) or len(error) > MOST_WORDS or not error.isprintable():
        raise RecordError("bad_hello", "why a node is not as its bundle says must be one short line")
    leaving = ("leaving",) if "leaving" in said else ()
    numbers = {name: int(_number(said.get(name, 0))) for name in ("applied", "at", "changed", *leaving)}
    return {**numbers, "version": version, "error": error}


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= LARGEST:
        raise RecordError("bad_hello", "a hello's numbers must be such that there can be")
    return value


def keep(layout: Layout, node: str, said: dict[str, Any] | None, now: float, *, heard: bool) -> None:
    """Note that a node was in contact, and what it said; where nothing was `heard`, what it said before stands."""
    folder = layout.state / FOLDER
    temporary, file = folder / f".{node}.tmp", folder / f"{node}.json"
    content = dict(said or {})
    if not heard:
        with suppress(OSError, ValueError, RecursionError):
            content = dict(json.loads(read_bounded(file, MOST_BYTES)))
    with suppress(OSError):
        folder.mkdir(mode=0o750, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(temporary, flags, 0o640), "wb") as stream:
            stream.write(json.dumps({**content, "last_seen": round(now, 3)}).encode())
        os.replace(temporary, file)
