"""What a node remembers of its bundles, and says of them: state.json, which everybody on it may read.

    {"accepted": the newest serial that was believed, "applied": the newest one that the node is as, "at": Unix time (s)
     of the last run, "changed": how much that run changed, "version": the release, "error": why it is not, or empty,
     "leaving": the serial of the bundle that takes the node off, once it does}

`accepted` is written before anything is done: whatever ends a run, no older bundle is taken after it. A node that was
taken off leaves it behind, with a serial above that of the bundle which did it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from plugins.converge.bundle import RefusedError
from speedtest_logger.files import read_bounded, write_durably

FOLDER = Path("/var/lib/speedtest-converge")
NAME = "state.json"
MOST_BYTES = 4_000
MOST_WORDS = 200  # of an error: it goes into a node's greeting


def read(folder: Path) -> dict[str, Any]:
    """What was remembered. Raises RefusedError for what cannot be read: with it an old bundle could come back."""
    file = folder / NAME
    try:
        found = json.loads(read_bounded(file, MOST_BYTES, only_name=True))
        if type(found["accepted"]) is not int:
            raise ValueError("no serial")
    except FileNotFoundError:
        return {"accepted": 0}
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise RefusedError(f"{file} is damaged ({error}): remove it if no old bundle is served") from error
    return dict(found)


def write(folder: Path, state: dict[str, Any]) -> None:
    """Remember, durably. Raises OSError."""
    write_durably(folder / NAME, json.dumps(state).encode() + b"\n", 0o644)


def words(error: object) -> str:
    """An error on one short line of plain characters."""
    line = " ".join(str(error).split())[:MOST_WORDS]
    return "".join(character if " " <= character <= "~" else "?" for character in line)
