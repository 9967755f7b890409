"""Steps that root has done by other accounts: each in a process of that account's own, from which nothing leads back.

Where there is no other account to be (a plain user, the service itself, a folder of root's own) a step is just done.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

from speedtest_logger import accounts
from speedtest_logger.accounts import Owner
from speedtest_logger.errors import SpeedtestError, StorageError, UsageError

ANSWER_BYTES = 16_000_000


def run(
    owner: Owner, act: Callable[[], Any], *, to_read: bool = False, as_root: Callable[[], None] | None = None
) -> Any:
    """What `act` returns, as JSON knows it, done by an account. Raises UsageError or StorageError as `act` did.

    `as_root` is done before, in the new process only: what it knows then no other step does.
    """
    return start(owner, act, to_read=to_read, as_root=as_root).result() if accounts.is_another(owner) else act()


@dataclass
class Step:
    """A step that is under way."""

    process: int
    answer: BinaryIO

    def result(self) -> Any:
        """Wait for its end; returns or raises what it did."""
        with self.answer:
            text = self.answer.read(ANSWER_BYTES)
        os.waitpid(self.process, 0)
        said = json.loads(text or b"{}")
        if "result" in said:
            return said["result"]
        if said.get("error") == BrokenPipeError.__name__:
            raise BrokenPipeError
        kind = UsageError if said.get("error") == UsageError.__name__ else StorageError
        raise kind(str(said.get("message", "a step ended before it was done: its message is above")))


def start(
    owner: Owner, act: Callable[[], Any], *, to_read: bool = False, as_root: Callable[[], None] | None = None
) -> Step:
    """Begin a step in a process of its own, which has what this one has open."""
    sys.stdout.flush()
    sys.stderr.flush()
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        _act_as(owner, act, writing, to_read, as_root)
    os.close(writing)
    return Step(process, os.fdopen(reading, "rb"))


def _act_as(
    owner: Owner, act: Callable[[], Any], answer: int, to_read: bool, as_root: Callable[[], None] | None
) -> None:
    """The new process; it ends here."""
    try:
        if as_root:
            as_root()
        accounts.become(owner, to_read=to_read)
        said = _said(act)
        sys.stdout.flush()
        with os.fdopen(answer, "wb") as stream:
            stream.write(json.dumps(said).encode())
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(0)  # what the other process has to do at its end is not done twice


def _said(act: Callable[[], Any]) -> dict[str, Any]:
    try:
        return {"result": act()}
    except BrokenPipeError as error:
        return {"error": type(error).__name__}
    except SpeedtestError as error:
        return {"error": type(error).__name__, "message": str(error)}
    except OSError as error:
        return {"error": StorageError.__name__, "message": f"{error.filename or 'the disk'}: {error.strerror or error}"}
