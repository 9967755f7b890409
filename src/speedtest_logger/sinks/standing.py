"""How publishing goes, as the archive host's timers leave it for whoever looks at the archive: store/state.json.

    {"address": …, "publish": {"at": …, "line": …, "failing": {"since": …, "why": …}}, "maintain": {…}}

`at` is when it last went well. The folder is the publishing account's; the archive's group reads it.
"""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.errors import StorageError
from speedtest_logger.files import open_lock, read_bounded, write_durably
from speedtest_logger.record import utc_text

STATE = "state.json"
PATIENCE = 900.0  # s: for the other timer's run


def remembered(layout: Layout, address: str, what: str, do: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Do something with the table at `address` while no other timer does, and remember how it went.

    Returns what it returned. Raises what it raises, and StorageError where another one does not come to its end.
    """
    with _alone(layout):
        state = _load(layout, address)
        before = state.get(what, {})
        try:
            outcome = do()
        except BaseException as error:  # what panics in Rust is no Exception
            why = str(error) or type(error).__name__
            failing = {"since": before.get("failing", {}).get("since") or utc_text(time.time()), "why": why}
            _save(layout, {**state, what: {**before, "failing": failing}})
            raise
        _save(layout, {**state, what: {**outcome, "at": utc_text(time.time())}})
    return outcome


@contextmanager
def _alone(layout: Layout, patience: float = PATIENCE) -> Iterator[None]:
    with open_lock(layout.store / "lock") as lock:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise StorageError("another publish of this archive is at work") from None
                time.sleep(0.2)
        yield


def _load(layout: Layout, address: str) -> dict[str, Any]:
    """What is known; of another address nothing is."""
    try:
        state = json.loads(read_bounded(layout.store / STATE))
        if state["address"] == address:
            return dict(state)
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        pass
    return {"address": address}


def _save(layout: Layout, state: dict[str, Any]) -> None:
    write_durably(layout.store / STATE, json.dumps(state).encode())
